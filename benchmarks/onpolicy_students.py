"""What learning from its own answers makes of a student, beside learning from its teacher's.

SmolLM2-135M-Instruct and the student that `potstill demo` makes of it, healed and not yet trained:
one run up to there, the same for all. Each training ("arm") begins from that student and differs in
what it learns from; arms that are compared are trained on equally many response tokens. Order
secrets are the seeds. Settings were chosen on the validation prompts at a seed of their own
(`tried:NAME`), and what is said is measured on held-out prompts at three others.

    own text    KL(student || teacher) a token at temperature 1 over the whole vocabulary, on what
                that student itself draws for held-out prompts (64 tokens at most, 2 answers each,
                by the same random numbers for every student)
    teacher text  KL(teacher || student) a token, on the teacher's held-out answers

A part is ARM:SEED; each is written into benchmarks/results/onpolicy.json as it is done, beside what
other benchmarks wrote there, and is left out by the next call.

    python benchmarks/onpolicy_students.py [--only ARM[:SEED] ...] [--base RUN] [--seconds S]

    reverse_kl_vs_off_policy       own text, `on` over `off`; _high the upper end of its 95%
                                   interval over prompts and seeds (wanted below 0.95)
    teacher_text_vs_off_policy     teacher text, the same (wanted at most 1.05)
    crossing_minutes               from when on the curve of `on` stays below that of `off`
    refresh_N_vs_1                 own text with answers N steps at a time, over a step at a time
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS
from onpolicy_arms import (
    ARMS,
    AT_POINTS,
    CHOOSING,
    HELD_OUT,
    MEASURED,
    OWN,
    POINTS,
    SLOTS,
    STEPS,
    TOKENS,
    TRAIN,
    TRIED,
    TRIED_STEPS,
    Row,
)
from onpolicy_curve import CurveClock
from onpolicy_figures import claims_of, coverage
from result_parts import write_part

from potstill.cli.common import progress_for
from potstill.evaluate.fidelity import compare
from potstill.exchanges.exchange import Split
from potstill.models.generate import Completion, Request, decode
from potstill.models.load import context_length, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.models.vocabulary import teacher_ids_of
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.recipe.io import packaged_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.train.live_teacher import LiveTeacher
from potstill.train.loop import train_steps
from potstill.train.rollouts import Rollouts
from potstill.train.stage import learnt_from
from potstill.train.step_source import Planned
from potstill.train.target_sources import Scorer, StoredTargets, WithOwn
from potstill.work.corpus import Text, fitting
from potstill.work.order_secret import OrderSecret
from potstill.work.own_divergence import own_reverse_kl
from potstill.work.rundir import RunDir
from potstill.work.stage_records import ShrinkRecord
from potstill.work.step_plan import SecretOrder

PART = "students"


def main() -> None:
    arguments = _arguments()
    if arguments.coverage:
        print(json.dumps(coverage(known())))
        return
    ends = time.monotonic() + arguments.seconds
    rows = known()
    with tempfile.TemporaryDirectory() as temporary:
        base = base_run(arguments.base, Path(temporary))
        with RunDir.reading(base) as run:
            trials = Trials(Parts(run, run.recipe, progress_for(False)))
            for part in wanted(arguments.only, rows):
                if time.monotonic() > ends:
                    print("stopped by the clock; the same call goes on")
                    break
                row = trials.row(*part)
                # Another call may have written meanwhile.
                rows = [r for r in known() if (r["arm"], r["seed"]) != part] + [row]
                shown = {k: v for k, v in row.items() if not k.startswith(("prompts_", "losses"))}
                print(json.dumps(shown), flush=True)
                write_part("onpolicy", PART, claims_of(rows), rows, trials.teacher.compute_dtype)
            trials.parts.store.close()
    for name, claim in claims_of(rows).items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")


def known() -> list[Row]:
    """Return the rows of parts that were measured already."""
    path = RESULTS / "onpolicy.json"
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return [row for row in found if row.get("part") == PART]


def wanted(only: Sequence[str], rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return the (arm, seed) to measure: those asked for that nobody has."""
    every = [(arm, seed) for seed in MEASURED for arm in ("on", "off")]
    every += [(arm, MEASURED[0]) for arm in ("refresh1", "refresh16")]
    every += [(f"tried:{name}", CHOOSING) for name in TRIED]
    every += [("untrained", CHOOSING)]
    done = {(row["arm"], row["seed"]) for row in rows}
    return [
        part
        for part in every
        if part not in done and (not only or part[0] in only or f"{part[0]}:{part[1]}" in only)
    ]


def base_run(given: Path | None, folder: Path) -> Path:
    """Return a run that has answers and an untrained student: the given one, or a new one."""
    if given is not None and (given / "untrained").is_dir():
        return given
    base = given or folder / "base"
    recipe = packaged_recipe("demo", ["precision=bf16"])
    pipeline.distill(recipe, base, until="shrink", progress=progress_for(False))
    return base


class Trials:
    """Trains a run's student in one way after another, and measures what comes out."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.vocabulary = parts, parts.vocabulary
        self.teacher = parts.opened.teacher
        corpus = parts.corpus
        self.student = parts.opened.student(parts.untrained, trainable=True)
        self.dtype = self.student.compute_dtype
        self.starts = {"healed": _copied(self.student.network)}
        self.live = LiveTeacher.of(self.teacher, self.vocabulary, self.dtype)
        config = TrainConfig(micro_batch_tokens=TRAIN["micro_batch_tokens"])
        rows = corpus.exchanges("train")
        self.learnt = learnt_from(self.student, corpus, rows, self.vocabulary, config)
        scorer = Scorer(
            corpus.scorer_identity,
            head_of(self.teacher),
            self.vocabulary,
            self.teacher,
            partial(teacher_ids_of, self.vocabulary),
        )
        assert corpus.spec is not None
        self.targets = StoredTargets(
            parts.store, corpus.spec, self.learnt.stored, scorer, self.dtype
        )
        self.targets.prepare(self.learnt.examples, Silent())
        self.texts = {"held_out": self._texts("held_out")[:HELD_OUT]}
        self.texts["validation"] = self._texts("validation")
        self.read = {s: self.live.hidden(_ids(texts)) for s, texts in self.texts.items()}

    def _texts(self, split: Split) -> list[Text]:
        """Return a split's drawn answers, in the student's tokens."""
        corpus = self.parts.corpus
        drawn = [row for row in corpus.exchanges(split) if row.sampling["temperature"] > 0]
        texts, _ = fitting(corpus.texts(drawn, self.student, self.vocabulary), self.student)
        return texts

    def row(self, arm: str, seed: int) -> Row:
        """Return how one training went, and what its student is like."""
        began = time.monotonic()
        self._begin("healed")
        found: Row = {"arm": arm, "seed": seed}
        split = "held_out" if seed in MEASURED or arm == "untrained" else "validation"
        if arm != "untrained":
            settings = TRIED[arm.removeprefix("tried:")] if arm not in ARMS else ARMS[arm]
            found |= self._trained(*settings, seed, curve=split == "held_out")
        self.student.network.eval()
        found |= self.measured(split)
        found["seconds_in_all"] = time.monotonic() - began
        return found

    def _begin(self, start: str) -> None:
        """Put the student back to where trainings begin."""
        if start not in self.starts:
            shrunk = self.parts.run.done(ShrinkRecord)
            assert shrunk is not None
            plain, _ = pruned(self.teacher, Cut.of(shrunk))
            self.starts[start] = _copied(plain.network)
        self.student.network.load_state_dict(self.starts[start])

    def _trained(self, other: Row, own: Row | None, seed: int, *, curve: bool) -> Row:
        """Train the student in place; return figures, with the curve on its own text."""
        order = SecretOrder(OrderSecret(sha256(f"onpolicy_students {seed}".encode()).digest()))
        settings = TRAIN | other | ({} if own is None else {"on_policy": OWN | own})
        count = TRIED_STEPS if seed == CHOOSING else STEPS
        self._begin(settings["start"])
        taken = {k: v for k, v in settings.items() if k not in ("answers", "start")}
        config = TrainConfig.model_validate(taken | {"steps": count})
        examples = self.learnt.examples[: settings["answers"]]
        planned = Planned(examples, config, order)
        if own is None:
            steps = _steps_for(planned, self._tokens_of(seed), count)
            config = config.model_copy(update={"steps": steps})
        points = [round(share * (config.steps or 0)) for share in POINTS] if curve else []
        source, targets = self._source(planned, config, order)
        clock = CurveClock(points, lambda: self.own_text("held_out", AT_POINTS, 1))
        logged: list[Mapping[str, Any]] = []

        def log(entry: Mapping[str, Any]) -> None:
            logged.append(entry)
            clock.stepped(entry["step"])

        with tempfile.TemporaryDirectory() as folder:
            result = train_steps(
                self.student,
                source,
                config=config,
                seed=seed,
                targets=targets,
                checkpoints=Path(folder),
                validate=None,
                log=log,
                progress=Silent(),
            )
        return {
            "train": settings | {"steps": config.steps},
            "response_tokens": result.response_tokens,
            "tokens": result.tokens,
            "seconds": result.seconds,
            "threads": torch.get_num_threads(),
            "losses": _packed([entry["loss"] for entry in logged]),
            **({"on_policy": own_record(source)} if isinstance(source, Rollouts) else {}),
            **({"curve": clock.curve} if curve else {}),
        }

    def _source(
        self, planned: Planned, config: TrainConfig, order: SecretOrder
    ) -> tuple[Planned | Rollouts, StoredTargets | WithOwn]:
        if config.on_policy is None:
            return planned, self.targets
        prompts = [e.prompt_ids for e in planned.examples]
        room = context_length(self.student)
        own = Rollouts(
            planned, config.on_policy, order, prompts, self.live, room, steps=config.steps
        )
        return own, WithOwn(self.targets, own)

    def _tokens_of(self, seed: int) -> int:
        """Return how many response tokens the on-policy arm of a seed learnt from."""
        arms = ("on", "tried:on")
        known_rows = [r for r in known() if r["seed"] == seed and r["arm"] in arms]
        return max((int(row["response_tokens"]) for row in known_rows), default=0)

    def measured(self, split: str) -> Row:
        """Return a student's divergences in sum, and by prompt where they are of held-out ones."""
        copies = 2 if split == "held_out" else 8
        own = self.own_text(split, None, copies)
        text_kl, text_tokens = self._teacher_text(split)
        found: Row = {
            "split": split,
            "own_kl": own["kl"],
            "own_kl_at_points": own["at_points"],
            "own_tokens": own["tokens"],
            "own_cut": own["cut"],
            "text_kl": float(text_kl.sum() / text_tokens.sum()),
        }
        if split == "held_out":
            found |= {
                "prompts_own_kl": _packed(own["sums"]),
                "prompts_own_tokens": _packed(own["counts"]),
                "prompts_text_kl": _packed(text_kl),
                "prompts_text_tokens": _packed(text_tokens),
            }
        return found

    @torch.inference_mode()
    def own_text(self, split: str, prompts: int | None, copies: int) -> Row:
        """Return KL(student || teacher) on what the student draws, by prompt and a token."""
        asked = self.texts[split][:prompts]
        student = self._as_used()
        requests = [
            Request(f"onpolicy_students/{t.exchange.prompt_id}/{n}", t.prompt_ids)
            for t in asked
            for n in range(copies)
        ]
        sampling = Sampling(temperature=1.0, max_tokens=TOKENS)
        done: dict[str, Completion] = {}
        for group in decode(student, requests, sampling, slots=SLOTS, keep_hidden=True):
            done |= {one.key: one for one in group}
        written = [done[r.key] for r in requests]
        texts = [(r.prompt_ids, w.token_ids) for r, w in zip(requests, written, strict=True)]
        sums = own_reverse_kl(
            [w.hidden_RD for w in written if w.hidden_RD is not None],
            head_of(student),
            self.live.hidden(texts),
            self.live.head,
            [w.token_ids for w in written],
            precise=False,
        ).reshape(len(asked), copies)
        counts = np.array([len(w.token_ids) for w in written]).reshape(sums.shape)
        first = (slice(AT_POINTS), 0)
        return {
            "at_points": float(sums[first].sum() / counts[first].sum()),
            "kl": float(sums.sum() / counts.sum()),
            "tokens": int(counts.sum()),
            "cut": sum(w.finish_reason == "length" for w in written) / len(written),
            "sums": sums.sum(1),
            "counts": counts.sum(1),
        }

    def _teacher_text(self, split: str) -> tuple[Any, Any]:
        pairs = _ids(self.texts[split])
        student = self._as_used()
        sums = compare(
            self.read[split],
            head_of(self.teacher),
            response_hidden(student, pairs),
            head_of(student),
            [response for _, response in pairs],
            self.vocabulary,
            precise=False,
        )
        return sums.kl, sums.tokens

    def _as_used(self) -> LoadedModel:
        """Return the student as it would be loaded to be asked: in the compute dtype."""
        network = copy.deepcopy(self.student.network).requires_grad_(False)
        return replace(self.student, network=network.to(self.dtype).eval())


def _steps_for(planned: Planned, tokens: int, otherwise: int) -> int:
    """Return after how many stored steps at least so many response tokens were learnt from.

    Without tokens to be equal to it is `otherwise`.
    """
    seen = 0
    for number, step in enumerate(planned.stored_steps()):
        if tokens and seen >= tokens:
            return number
        if not tokens and number == otherwise:
            return otherwise
        seen += sum(len(example.response_ids) for example in step)
    raise SystemExit(f"the plan holds {seen} response tokens, and {tokens} are wanted")


def own_record(source: Rollouts) -> Row:
    """Return what a training says of its own answers, without their lengths."""
    return source.record().model_dump(mode="json", exclude={"lengths", "served"})


def _copied(network: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _ids(texts: Sequence[Text]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(text.prompt_ids, text.response_ids) for text in texts]


def _packed(values: Any) -> str:
    """Return a prompt's figures each, in a line: a list takes a line a figure."""
    return " ".join(f"{float(value):.5g}" for value in values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="ARM[:SEED]")
    parser.add_argument(
        "--base", type=Path, help="a run with an untrained student; made where there is none"
    )
    parser.add_argument(
        "--coverage", action="store_true", help="simulate how often such intervals hold the truth"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no part after these")
    return parser.parse_args()


if __name__ == "__main__":
    main()
