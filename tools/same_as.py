"""Does the working tree still make what a commit made? Small whole runs under both, compared.

    python tools/same_as.py COMMIT [--only NAME ...] [--demo] [--keep DIRECTORY]

Every recipe below is run by `potstill distill` of the commit and of the working tree, each in a
process of its own, on the same tiny models (tests/nano), which the working tree builds. Then are
compared: the ids, token ids and text of every exchange, the marks of curation by their counts, the
weights of the student before and after training, and its measured figures. Time, money and words
are not. Prints one line a recipe and what differs, and exits 1 where anything does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "nano")]

import nano_models  # noqa: E402
import nano_text  # noqa: E402

import pipeline_runs  # noqa: E402
from fault_server import Behaviour, FaultServer  # noqa: E402
from potstill.models.identity import identity_of  # noqa: E402
from potstill.models.teacher_tokens import TeacherTokens  # noqa: E402
from scoring_server import COUNT, ScoringServer  # noqa: E402

_SERVED = "smollm2-nano"
_COLUMNS = (
    "exchange_id",
    "prompt_id",
    "split",
    "response",
    "prompt_token_ids",
    "response_token_ids",
    "finish_reason",
)
_DEMO = "demo-quick"
_FIGURES = ("kl_per_token", "top1_agreement", "perplexity", "bits_per_byte", "params", "greedy")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("commit")
    parser.add_argument("--only", nargs="*", help="names of recipes; all, if left out")
    parser.add_argument(
        "--demo", action="store_true", help="the quick demo on SmolLM2 too (minutes)"
    )
    parser.add_argument("--keep", type=Path, help="leave both runs of every recipe here")
    given = parser.parse_args()
    different = 0
    with ExitStack() as open_now:
        folder = open_now.enter_context(_folder(given.keep))
        then = open_now.enter_context(_checked_out(given.commit))
        recipes = open_now.enter_context(_recipes(folder))
        asked = [*(recipes if given.only is None else given.only), *([_DEMO] * given.demo)]
        for name in asked:
            old, new = (
                outcome(_ran(tree, _verb(tree, name, recipes, folder), folder / f"{name}-{when}"))
                for tree, when in ((then, "then"), (ROOT, "now"))
            )
            found = differences(old, new)
            different += bool(found)
            rows = len(new["exchanges"])
            print(f"{name}: {'DIFFERS' if found else 'the same'} ({rows} exchanges)", flush=True)
            for line in found:
                print(f"  {line}", flush=True)
            if found and new["kept_step"] is not None:
                print(f"  (kept of training now: step {new['kept_step']})", flush=True)
    return 1 if different else 0


def outcome(root: Path) -> dict[str, Any]:
    """Return what a run made, as far as it has to stay the same."""
    rows = []
    for path in sorted((root / "exchanges").glob("*.parquet")):
        rows += pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
    evaluation = json.loads((root / "evaluation.json").read_text(encoding="utf-8"))
    curation = evaluation.get("curation") or {}
    return {
        "exchanges": {row["exchange_id"]: row for row in rows},
        "curation": {k: curation.get(k) for k in ("train", "train_kept")},
        "untrained": identity_of(root / "untrained"),
        "student": identity_of(root / "student"),
        "figures": _flat(
            {
                model: {k: figures[k] for k in _FIGURES if k in figures}
                for model, figures in evaluation["models"].items()
                if figures
            }
        ),
        "held_out": evaluation["held_out"]["prompts"],
        # Older commits kept the last step, whatever validation said of it.
        "kept_step": evaluation["training"].get("kept_step"),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words where two outcomes differ."""
    found = []
    then, now = old["exchanges"], new["exchanges"]
    others = [key for key in then.keys() & now.keys() if then[key] != now[key]]
    for what, count in (
        ("gone", len(then.keys() - now.keys())),
        ("new", len(now.keys() - then.keys())),
        ("not as they were", len(others)),
    ):
        if count:
            found.append(f"{count} exchanges are {what}")
    for name in ("curation", "untrained", "student", "held_out"):
        if old[name] != new[name]:
            found.append(f"{name}: {old[name]} then, {new[name]} now")
    there, here = old["figures"], new["figures"]
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            found.append(f"{key}: {there.get(key)} then, {here.get(key)} now")
    return found


@contextmanager
def _recipes(folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield one recipe for each way through the stages, on models that are written to `folder`.

    The servers that some of them ask run meanwhile: what they answer is a function of the request.
    """
    models = {
        name: nano_models.build(name, folder / "models" / name) for name in nano_models.FAMILIES
    }
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"prompt": text}) for text in nano_text.prompts()]
    prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    labelled = folder / "labelled.jsonl"
    rows = [
        {"text": f"{text} ({n})", "kind": "even" if n % 2 else "odd"}
        for n, text in enumerate(nano_text.prompts()[:200])
    ]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    calls = pipeline_runs.write_calls(folder / "calls.jsonl")

    def values(family: str, source: Path = prompts, **sections: Any) -> dict[str, Any]:
        return pipeline_runs.recipe_values(models[family], source, **sections)

    student = {"model": str(models["llama"])}
    text_only = {"student": student, "train": {"cross_entropy": 1.0}}
    recipes = {
        "blocks": values("llama"),
        "vocabulary": values("qwen3", shrink={"drop_layers": 0, "vocabulary": 384}),
        "sliding": values("gemma"),
        "no-template": values("neox", collect={"targets": "none"}),
        "sampled": values("llama", collect={"targets": "sampled"}),
        "top-k": values("llama", collect={"targets": "top-k", "top_k_targets": 6}),
        "lora": values("llama", train={"lora": {"rank": 4}}),
        "curated": values(
            "llama", curate={"exact_duplicates": True, "truncated": "drop", "repetition": "drop"}
        ),
        "gold": values(
            "llama",
            labelled,
            **text_only,
            collect={"gold": True, "targets": "none"},
            prompts={"template": "Odd or even? {text}", "limit": 60, "held_out_count": 12},
            task={"kind": "label", "labels": ["odd", "even"], "gold": "kind", "max_tokens": 4},
        ),
        "calls": values(
            "llama",
            **text_only,
            collect={"targets": "none", "calls": {"path": str(calls), "source": "apache-2.0"}},
        ),
    }
    with _servers(models["llama"]) as (answering, scoring):
        top_k = {"targets": "top-k", "top_k_targets": COUNT, "max_tokens": 24}
        mixed = {"student": student, "train": {"cross_entropy": 0.4}}
        yield recipes | {
            "server": _asked(answering.url, prompts, **text_only, collect={"targets": "none"}),
            "server-top-k": _asked(scoring.url, prompts, **mixed, collect=top_k),
        }


@contextmanager
def _servers(model: Path) -> Iterator[tuple[FaultServer, FaultServer]]:
    """Run a server that answers, and one that tells its likeliest tokens in a model's tokens."""
    answering = FaultServer(Behaviour(model=_SERVED))
    with answering, ScoringServer(TeacherTokens.of(model)) as scoring:
        yield answering, scoring


def _asked(url: str, prompts: Path, **sections: Any) -> dict[str, Any]:
    """Return the recipe of a teacher behind a server."""
    values = pipeline_runs.recipe_values(_SERVED, prompts, **sections)
    count = sections["collect"].get("top_k_targets", 0)
    values["shrink"] = {}
    values["evaluate"]["greedy"] = False
    values["teacher"]["endpoint"] = {"url": url, "provider": "test", "top_logprobs": count}
    return values


def _verb(tree: Path, name: str, recipes: Mapping[str, dict[str, Any]], folder: Path) -> list[str]:
    """Return what a recipe is run by: the quick demo, or `distill` of its file.

    Both runs train in one order, by one secret, but for commits that knew none: their students
    differ from those of today.
    """
    if name == _DEMO:
        secret = f"train.order_secret={pipeline_runs.ORDER_SECRET}"
        return ["demo", "--quick", *(["--set", secret] if _knows_secrets(tree) else [])]
    values = recipes[name]
    if not _knows_secrets(tree):
        train = {k: v for k, v in values["train"].items() if k != "order_secret"}
        values = {**values, "train": train}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return ["distill", str(file)]


def _knows_secrets(tree: Path) -> bool:
    return (tree / "src" / "potstill" / "work" / "order_secret.py").is_file()


def _ran(tree: Path, verb: list[str], out: Path) -> Path:
    """Run a verb by the sources of a tree; return the run directory."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-m", "potstill", *verb, "--out", str(out), "-q"]
    subprocess.run(command, check=True, env=environment, cwd=out.parent, stdout=subprocess.DEVNULL)
    return out


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """Yield a directory with a commit's files, which goes afterwards."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "then"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return figures under dotted names; intervals are left out, their values are not."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and "value" in value:
            found[f"{prefix}{key}"] = value["value"]
        elif isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


if __name__ == "__main__":
    sys.exit(main())
