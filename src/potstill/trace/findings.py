"""From raw logs to findings: the same pure functions after a run and when a bundle is verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.trace.chain import Chain, ChainRead, origin_of, read_chain
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.kinds import kind_of_test
from potstill.trace.plan import FixedPlan, raw_name
from potstill.trace.registry import NOTHING, Disclosed, PlannedTest, TestKind
from potstill.trace.verdict import ControlFigure, LogFacts


@dataclass(frozen=True)
class LogPlace:
    """One raw log of a plan: of the test at a place, asked of the suspect or of a control."""

    number: int
    control: int | None
    name: str


@dataclass(frozen=True)
class TraceFound:
    """What the raw logs of a plan come to."""

    findings: tuple[Finding, ...]
    controls: tuple[ControlFigure, ...]
    logs: tuple[LogFacts, ...]


def log_places(fixed: FixedPlan) -> Iterator[LogPlace]:
    """Yield the raw logs that a run of a plan has: each test's, and those of its controls."""
    for number, planned in enumerate(fixed.plan.planned):
        yield LogPlace(number, None, raw_name(planned.test, number))
        for control, facts in enumerate(fixed.plan.controls):
            if number in facts.tests:
                yield LogPlace(number, control, raw_name(planned.test, number, control))


def log_origin(fixed: FixedPlan, name: str) -> str:
    """Return what a raw log is chained to: the plan, and its place among the plan's logs."""
    return origin_of(name, fixed.digest)


def open_log(bundle: Path, fixed: FixedPlan, name: str) -> Chain:
    """Return a raw log that is open for adding to. Raises PotstillError where it was changed."""
    return Chain(bundle / name, log_origin(fixed, name))


def read_log(bundle: Path, fixed: FixedPlan, name: str) -> ChainRead:
    """Return the records of a raw log. Raises PotstillError, naming the one that was changed."""
    return read_chain(bundle / name, log_origin(fixed, name))


def found_in(bundle: Path, fixed: FixedPlan, disclosed: Disclosed = NOTHING) -> TraceFound:
    """Return what the raw logs of a bundle come to.

    With the key of an epoch the tests of that key make their scores again. Raises PotstillError
    where a log was changed or is not the plan's, with the record.
    """
    findings: list[Finding] = []
    controls: list[ControlFigure] = []
    logs: list[LogFacts] = []
    for number, planned in enumerate(fixed.plan.planned):
        places = [place for place in log_places(fixed) if place.number == number]
        reads = [read_log(bundle, fixed, place.name) for place in places]
        for place, read in zip(places, reads, strict=True):
            logs.append(LogFacts(file=place.name, records=len(read.links), head=read.head))
        own, *others = _findings(bundle, fixed, planned, places, reads, disclosed)
        for place, other in zip(places[1:], others, strict=True):
            assert place.control is not None
            controls.append(_figure(other, fixed.plan.controls[place.control].name))
        rule = kind_of_test(planned.test).with_controls
        findings.append(own if rule is None else rule(own, others))
    return TraceFound(tuple(findings), tuple(controls), tuple(logs))


def _findings(
    bundle: Path,
    fixed: FixedPlan,
    planned: PlannedTest,
    places: Sequence[LogPlace],
    reads: Sequence[ChainRead],
    disclosed: Disclosed,
) -> Iterator[Finding]:
    """Yield a test's finding on the suspect, then those on the controls."""
    kind = kind_of_test(planned.test)
    for place, read in zip(places, reads, strict=True):
        items = tuple(_items(kind, read, bundle / place.name))
        try:
            yield kind.find(planned, items, fixed.digest, _disclosed_for(kind, planned, disclosed))
        except PotstillError as error:
            raise PotstillError(f"{place.name}: {error}") from error


def _disclosed_for(kind: TestKind, planned: PlannedTest, disclosed: Disclosed) -> Disclosed:
    """Return what is disclosed of a test: a key that is not its own says nothing of it."""
    if kind.key_id is None or disclosed.key is None:
        return replace(disclosed, key=None, texts=None)
    if kind.key_id(planned) != disclosed.key.key_id:
        return replace(disclosed, key=None, texts=None)
    return disclosed


def _items(kind: TestKind, read: ChainRead, where: Path) -> Iterator[TraceRecord]:
    for link in read.links:
        try:
            yield kind.item.model_validate(dict(link.content))
        except ValidationError:
            raise PotstillError(
                f"record {link.number} of {where} is no item of the test {kind.test}; get the "
                "bundle as it was from whoever made it"
            ) from None


def _figure(finding: Finding, name: str) -> ControlFigure:
    return ControlFigure(
        test=finding.test,
        configuration=finding.configuration,
        name=name,
        effect=finding.effect,
        low=finding.effect_low,
        high=finding.effect_high,
    )
