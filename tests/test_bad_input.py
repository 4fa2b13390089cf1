"""Bad input is refused in one sentence that names what is wrong and the way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import pipeline_runs
from potstill.cli.app import app
from potstill.durable import is_leftover
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.lineage import manifest
from potstill.models.load import load_conversation
from potstill.runs import distill as pipeline
from potstill.train import step_loss as step_loss_module
from potstill.work.workdir import read_metrics


def refused(values: dict[str, Any], tmp_path: Path) -> str:
    """Run a recipe through the command line; return its error after checking the exit code."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(
        app, ["distill", str(recipe), "--out", str(tmp_path / "run"), "--quiet"]
    )
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_a_missing_file(nano_llama: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.jsonl"
    error = refused(pipeline_runs.recipe_values(nano_llama, missing), tmp_path)
    assert "nowhere.jsonl does not exist; check prompts.source" in error


def test_a_missing_teacher(nano_prompts: Path, tmp_path: Path) -> None:
    error = refused(pipeline_runs.recipe_values(tmp_path / "no-model", nano_prompts), tmp_path)
    assert "no-model does not exist" in error


def test_an_empty_prompt_set(nano_llama: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    error = refused(pipeline_runs.recipe_values(nano_llama, empty), tmp_path)
    assert "empty.jsonl is empty; give it at least one prompt" in error


def test_a_malformed_line(nano_llama: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "one"}\n{"prompt": "tw\n')
    error = refused(pipeline_runs.recipe_values(nano_llama, broken), tmp_path)
    assert "broken.jsonl, line 2, is not valid JSON" in error


def test_a_prompt_longer_than_the_context(nano_llama: Path, tmp_path: Path) -> None:
    """A prompt that is read but leaves no room for what is asked is refused; a longer one is left
    out (tests/test_pipeline_speaking.py)."""
    spoken, secret = load_conversation(str(nano_llama)), ""
    # 256 positions, of which 24 are for the answer.
    while len(spoken.prompt_ids([{"role": "user", "content": secret}])) <= 256 - 24:
        secret += " zebra"
    prompts = tmp_path / "long.jsonl"
    rows = [{"prompt": f"Tell me about number {i} and the cat {i}."} for i in range(40)]
    prompts.write_text("\n".join(json.dumps(r) for r in [*rows, {"prompt": secret}]))
    values = pipeline_runs.recipe_values(nano_llama, prompts, prompts={"limit": None})
    error = refused(values, tmp_path)
    assert "the teacher reads 256" in error
    assert "zebra" not in error


def test_a_student_with_another_tokenizer(
    nano_llama: Path, nano_neox: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, student={"model": str(nano_neox)}, shrink={"drop_layers": 0}
    )
    assert "has another tokenizer than the teacher" in refused(values, tmp_path)


def test_an_unknown_licence_stops_until_an_authorisation_is_named(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    teacher = tmp_path / "unlicensed"
    shutil.copytree(nano_llama, teacher)
    (teacher / "README.md").unlink()
    values = pipeline_runs.recipe_values(teacher, nano_prompts)
    assert "teacher.terms.authorisation" in refused(values, tmp_path)
    store = ExchangeStore(tmp_path / "run")
    assert store.ids() == set()
    store.close()
    permission = tmp_path / "permission.txt"
    permission.write_text("You may distil this model.")
    values["teacher"]["terms"] = {"authorisation": str(permission)}
    run, _ = pipeline_runs.run(values, tmp_path / "permitted", until="collect")
    store = ExchangeStore(run.root)
    assert all("authorisation blake3:" in row.terms_decision for row in store.read())
    store.close()


def test_a_run_directory_of_another_recipe(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    values["collect"]["temperature"] = 0.5
    error = refused(values, tmp_path)
    assert "collect.temperature is 1.0 there and 0.5 in this recipe" in error
    assert "--fresh" in error


@pytest.mark.parametrize("table", ["exchanges", "targets"])
def test_a_damaged_shard_is_named_and_its_rows_are_collected_again(
    table: str, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    store = ExchangeStore(run.root)
    ids = store.ids()
    store.compact()
    store.close()
    shard = next((run.root / table).glob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(bytes(data))
    run, notes = pipeline_runs.run(values, tmp_path / "run", until="train")
    assert any(shard.name in note for note in notes)
    store = ExchangeStore(run.root)
    assert store.ids() == ids
    assert len(store.read()) == len(ids)
    store.close()


def test_lost_rows_come_back_although_their_collection_was_killed(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    store = ExchangeStore(run.root)
    ids = store.ids()
    store.compact()
    store.close()
    shard = next((run.root / "exchanges").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])

    def killed(job: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(pipeline.STAGES, "collect", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline_runs.run(values, tmp_path / "run", until="collect")
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    store = ExchangeStore(run.root)
    assert store.ids() == ids
    store.close()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: what a full disk is to whoever writes."""
    resource = pytest.importorskip("resource", reason="this system has no limit on file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The first file that each stage cannot write: the journal, the untrained student (safetensors),
# a checkpoint's model (safetensors) or its optimiser (torch), a shard or the page.
@pytest.mark.parametrize(
    ("before", "until", "size", "absent"),
    [
        (None, "collect", 40_000, "state/collect.json"),
        pytest.param("collect", "shrink", 60_000, "untrained", marks=pytest.mark.slow),
        ("shrink", "train", 60_000, "student"),
        pytest.param("shrink", "train", 1_200_000, "student", marks=pytest.mark.slow),
        pytest.param("evaluate", None, 20_000, "manifest.json", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_leaves_nothing_half_written(
    before: str | None,
    until: str | None,
    size: int,
    absent: str,
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, shrink={"blocks": [3], "vocabulary": 400}
    )
    root = tmp_path / "run"
    if before is not None:
        pipeline_runs.run(values, root, until=before)
    full = "the disk is full or a size limit is reached; free some space"
    with files_up_to(size), pytest.raises(PotstillError, match=full):
        pipeline_runs.run(values, root, until=until)
    assert not (root / absent).exists()
    assert not [path for path in root.rglob("*") if is_leftover(path.name)]
    run, _ = pipeline_runs.run(values, root)
    assert manifest.verify(run.root) == []


def test_a_loss_that_is_no_number_stops_and_says_where(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, prompts={"limit": 40}, train={"checkpoint_every": 1}
    )
    pipeline_runs.run(values, tmp_path / "run", until="shrink")
    plain = step_loss_module.distillation_loss
    calls = 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        loss, sums = plain(*args, **kwargs)
        return (loss * float("nan") if calls > 2 else loss), sums

    with monkeypatch.context() as patched:
        patched.setattr(step_loss_module, "distillation_loss", broken)
        error = refused(values, tmp_path)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert f"at step {int(kept[-1].removeprefix('step-')) + 1}; checkpoint {kept[-1]} is kept" in (
        error
    )
    before = len(read_metrics(tmp_path / "run"))
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    went_on = [entry["step"] for entry in run.metrics()[before:]]
    assert went_on[0] == int(kept[-1].removeprefix("step-")) + 1
    assert (run.student / "config.json").is_file()
