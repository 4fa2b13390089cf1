"""Bundles of a few answers in a second, guilty or not, without a model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from authority import Authority

from potstill.trace import keeping
from potstill.trace.bundle import add_tokens
from potstill.trace.findings import open_log
from potstill.trace.marks import planned_mark
from potstill.trace.marks_in_text import AnswerItem, MarksInTextPlanned, answer_scores
from potstill.trace.plan import (
    ChainPlace,
    Computing,
    FixedPlan,
    PlanSource,
    SuspectFacts,
    TeacherFacts,
    TracePlan,
    raw_name,
)
from potstill.trace.verdict import Verdict
from potstill.watermark.keys import EpochKey
from potstill.watermark.schemes import GreenList

VOCABULARY = 500
WHEN = datetime(2026, 12, 1, 12, tzinfo=UTC)
KEY = EpochKey("2026-12", bytes(range(32)))
TEACHER = TeacherFacts(name="our model", identity="blake3:11")


@dataclass(frozen=True)
class Trace:
    """A trace of a test: its bundle, its chain, its plan and its verdict."""

    bundle: Path
    chain: Path
    fixed: FixedPlan
    verdict: Verdict


def scheme(key: EpochKey = KEY) -> GreenList:
    return GreenList(key, 1, 0.5, 2.0)


def suspect(name: str = "their model", **more: object) -> SuspectFacts:
    return SuspectFacts.model_validate({"kind": "endpoint", "name": name, **more})


def planned(
    key: EpochKey = KEY, configuration: str = "2026-12", **more: object
) -> MarksInTextPlanned:
    values = {
        "configuration": configuration,
        "mark": planned_mark(scheme(key), tokenizer="blake3:22", vocabulary=VOCABULARY),
        "prompts": ("first", "second"),
        "samples": 5,
        "temperature": 1.0,
    }
    return MarksInTextPlanned.model_validate({**values, **more})


def plan(place: ChainPlace, tests: Sequence[MarksInTextPlanned], **more: object) -> TracePlan:
    key = PlanSource(kind="key", name="2026-12", digest=KEY.key_id)
    values = {
        "name": "test",
        "created_at": WHEN,
        "teacher": TEACHER,
        "suspect": suspect(),
        "alpha": 1e-4,
        "tests": tuple(tests),
        "sources": (key,),
        "computing": Computing(dtype="float32"),
        "packages": {"potstill": "0"},
        "chain": place,
    }
    return TracePlan.model_validate({**values, **more})


def answers(
    planned: MarksInTextPlanned, *, marked: float, tokens: int = 60, seed: int = 0
) -> list[AnswerItem]:
    """Return one item a question; a token is drawn until it is green at a chance of `marked`."""
    draw = random.Random(seed)
    own = scheme()
    items = []
    for index in range(planned.questions):
        ids = [draw.randrange(VOCABULARY)]
        while len(ids) < tokens:
            token = draw.randrange(VOCABULARY)
            insists = draw.random() < marked
            while insists and not answer_scores(own, (ids[-1], token))[0]:
                token = draw.randrange(VOCABULARY)
            ids.append(token)
        sample, prompt = divmod(index, len(planned.prompts))
        items.append(
            AnswerItem(
                index=index,
                outcome="answered",
                prompt=prompt,
                sample=sample,
                text="…",
                ids=tuple(ids),
                scores=answer_scores(own, ids),
            )
        )
    return items


def fixed(folder: Path, tests: Sequence[MarksInTextPlanned] | None = None, **more: object) -> Trace:
    """Fix a plan in a folder; its verdict is missing yet."""
    bundle, path = folder / "bundle", folder.parent / "our.chain.jsonl"
    chain = keeping.open_chain(path, TEACHER.identity, WHEN)
    found = keeping.fix_plan(bundle, chain, lambda place: plan(place, tests or [planned()], **more))
    return Trace(bundle, path, found, None)  # type: ignore[arg-type]


def finished(
    folder: Path,
    tests: Sequence[MarksInTextPlanned] | None = None,
    *,
    marked: float = 0.0,
    tokens: Sequence[tuple[str, bytes]] = (),
    version: str = "0",
    **more: object,
) -> Trace:
    """Fix a plan, answer it and come to a verdict."""
    begun = fixed(folder, tests, **more)
    for name, content in tokens:
        (begun.bundle / "tokens").mkdir(exist_ok=True)
        (begun.bundle / "tokens" / name).write_bytes(content)
    return answered(begun, marked=marked, version=version)


def stamped(begun: Trace, own: Authority, token: bytes) -> Trace:
    """Add an authority's token, answer the plan as a guilty suspect does, and come to a verdict."""
    folder = begun.bundle.parent
    (folder / "t.tsr").write_bytes(token)
    (folder / "a.pem").write_bytes(own.certificates)
    add_tokens(begun.bundle, begun.fixed, [folder / "t.tsr"], [folder / "a.pem"])
    return answered(begun, marked=0.9)


def answered(begun: Trace, *, marked: float, version: str = "0") -> Trace:
    """Answer a fixed plan and come to a verdict."""
    for number, one in enumerate(begun.fixed.plan.planned):
        assert isinstance(one, MarksInTextPlanned)
        log = open_log(begun.bundle, begun.fixed, raw_name(one.test, number))
        items = answers(one, marked=marked, seed=number)
        log.extend([item.model_dump(mode="json") for item in items])
    verdict = keeping.write_verdict(begun.bundle, begun.fixed, WHEN, version)
    chain = keeping.open_chain(begun.chain, TEACHER.identity, WHEN)
    keeping.close_bundle(begun.bundle, chain, begun.fixed, WHEN)
    return Trace(begun.bundle, begun.chain, begun.fixed, verdict)
