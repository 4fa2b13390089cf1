"""From an evaluation and metrics.jsonl to what the page shows.

Pure functions: typed figures in, small tables of text and charts out. Whatever was not measured
is left out of the page or shown as such; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.report import words
from potstill.report.frame import fitting
from potstill.report.run.calls import CallSection, tool_calls
from potstill.report.run.cost import CostSection, cost
from potstill.report.run.fidelity import FidelitySection, fidelity, speed, tiles
from potstill.report.run.headline import caution, sentences
from potstill.report.run.limits import limits
from potstill.report.run.minutes import minutes
from potstill.report.run.names import by_gold
from potstill.report.run.process import (
    FactSection,
    ShrinkSection,
    collection,
    curation,
    shrink,
    training,
)
from potstill.report.run.task import TaskSection, task
from potstill.report.tables import FactList, Table, Tile, clean, cut, provenance
from potstill.text.tool_calls import message_text
from potstill.work.evaluation import Evaluation, SamplePair

SAMPLE_CHARACTERS = 1_200  # of one response
SAMPLES_BYTES = 100_000  # of all pairs, as they stand in the page
RECIPE_CHARACTERS = 20_000
_ROLES = {
    "user": "Prompt",
    "system": "System message",
    "assistant": "Earlier answer",
    "tool": "Tool's result",
}


@dataclass(frozen=True)
class ShownPair:
    """A sample pair as text: turns are (who, what)."""

    turns: list[tuple[str, str]]
    teacher: str
    student: str


@dataclass(frozen=True)
class Samples:
    """The sample pairs that are shown, and how many are not."""

    pairs: list[ShownPair]
    left_out: int


@dataclass(frozen=True)
class RunView:
    """Everything that the page of a run shows; the template knows it by these names."""

    headline: list[str]
    caution: str | None
    tiles: list[Tile]
    task: TaskSection | None
    tool_calls: CallSection | None
    fidelity: FidelitySection
    authors: tuple[str, str]
    samples: Samples
    speed: Table | None
    cost: CostSection
    shrink: ShrinkSection | None
    training: FactSection
    collection: FactSection
    curation: FactSection | None
    minutes: FactSection | None
    limits: list[str]
    origin: FactList
    packages: FactList
    recipe: str


def view(
    evaluation: Evaluation,
    metrics: Sequence[Mapping[str, Any]],
    recipe: str,
    origin: Mapping[str, Any],
) -> RunView:
    """Return everything the template needs."""
    warning = caution(evaluation)
    return RunView(
        # The caution has a box of its own.
        headline=[sentence for sentence in sentences(evaluation) if sentence != warning],
        caution=warning,
        tiles=tiles(evaluation),
        task=task(evaluation),
        tool_calls=tool_calls(evaluation.tool_calls),
        fidelity=fidelity(evaluation),
        authors=("Right answer" if by_gold(evaluation) else "Teacher", "Student"),
        samples=samples(evaluation.samples),
        speed=speed(evaluation),
        cost=cost(evaluation),
        shrink=shrink(evaluation),
        training=training(evaluation, metrics),
        collection=collection(evaluation),
        curation=curation(evaluation.curation),
        minutes=minutes(evaluation),
        limits=limits(evaluation),
        origin=origin_facts(evaluation, origin),
        packages=sorted(evaluation.machine.packages.items()),
        recipe=cut(recipe, RECIPE_CHARACTERS),
    )


def samples(pairs: Sequence[SamplePair]) -> Samples:
    """Return sample pairs as clean text, within the page's budget."""
    shown = fitting(list(map(_shown, pairs)), _texts, SAMPLES_BYTES)
    return Samples(shown, len(pairs) - len(shown))


def _shown(pair: SamplePair) -> ShownPair:
    turns = [
        (_role(message.get("role")), _response(message_text(message))) for message in pair.messages
    ]
    return ShownPair(turns, _response(pair.teacher), _response(pair.student))


def _texts(pair: ShownPair) -> Iterator[str]:
    yield from (pair.teacher, pair.student)
    yield from (text for _, text in pair.turns)


def origin_facts(evaluation: Evaluation, origin: Mapping[str, Any]) -> FactList:
    """Return where everything came from: the caller's facts, then the machine's."""
    machine, memory = evaluation.machine, words.significant(evaluation.machine.memory_gb)
    facts = provenance(origin)
    if machine.cpu:
        facts.append(("Processor", f"{machine.cpu}, {machine.cores} cores"))
    if memory != words.NOTHING:
        facts.append(("Memory", f"{memory} GB"))
    facts.append(("Accelerator", machine.accelerator or "none"))
    if machine.compute_dtype:
        facts.append(("Precision of products", machine.compute_dtype))
    facts.append(("Peak memory", words.size(evaluation.peak_memory_bytes)))
    facts.append(("Schema", evaluation.schema_name))
    return facts


def _role(role: Any) -> str:
    return _ROLES.get(str(role), str(role or ""))


def _response(text: str) -> str:
    return clean(cut(text, SAMPLE_CHARACTERS))
