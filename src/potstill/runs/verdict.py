"""The order of a trace: fix a plan, ask, come to a verdict, hand it over.

Whatever was asked is in a raw log before the next question; a run that was killed goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.durable import temporary_folder, write_bytes
from potstill.errors import PotstillError
from potstill.machine import versions_of
from potstill.progress import Progress, Silent
from potstill.recipe.trace import TraceConfig
from potstill.report.verdict.pages import verdict_pages
from potstill.stats.multiple import bonferroni_log10
from potstill.trace import keeping
from potstill.trace.bundle import DISCLOSED, add_tokens, read_verdict
from potstill.trace.chain import Chain
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.findings import LogPlace, log_places, open_log
from potstill.trace.kinds import kind_of_test, tier_of
from potstill.trace.limits import DetectionLimit, limits_for, limits_of, packaged_limits
from potstill.trace.plan import (
    ChainPlace,
    Computing,
    FixedPlan,
    TracePlan,
    Tried,
    read_plan,
)
from potstill.trace.registry import NOTHING, PlannedTest
from potstill.trace.spending import times_for
from potstill.trace.suspect import require
from potstill.trace.verdict import Verdict
from potstill.trace.wording import limit_sentence, test_name
from potstill.watermark.keys import EpochKey, write_key
from potstill.work.tracedir import TraceDir, TracePlanned, TraceRun

if TYPE_CHECKING:
    from potstill.runs.trace_parts import TraceParts

_NOWHERE = ChainPlace(records=0, head="", tried=Tried())
_PACKAGES = (
    "potstill",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "blake3",
    "pydantic",
)


@dataclass(frozen=True)
class TraceFixed:
    """A trace whose plan is fixed; `new` tells that it was fixed by this call."""

    root: Path
    plan: FixedPlan
    new: bool


def plan_trace(
    config: TraceConfig,
    out: Path | None = None,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> TraceFixed:
    """Fix the plan of a trace in its directory, and note it in the teacher's chain.

    Where it is fixed already it stays as it is. `fresh` empties the directory first; the earlier
    plan stays in the chain, and counts as tried. What it takes and may find is told before. Raises
    PotstillError where a test needs what the suspect cannot give, before anything is asked.
    """
    root = out or Path("runs") / config.name
    with TraceDir.open(root, config, fresh=fresh) as work:
        if (done := work.done(TracePlanned)) is not None:
            return TraceFixed(root, _fixed(work, done)[0], new=False)
        draft, _ = _drafted(config, work.own, progress or Silent())
        path = _chain_path(config)
        # What the draft says of its teacher does not depend on its place.
        teacher = draft(_NOWHERE).teacher.identity
        chain = keeping.open_chain(path, teacher, _now())
        fixed = keeping.fix_plan(work.bundle, chain, draft)
        work.finish(TracePlanned(plan=fixed.digest, chain=str(path)))
    return TraceFixed(root, fixed, new=True)


def preview_trace(config: TraceConfig, progress: Progress | None = None) -> list[str]:
    """Return in sentences what a plan would take and may find; nothing is fixed or noted.

    Raises PotstillError as `plan_trace` does.
    """
    with temporary_folder() as own:
        return _drafted(config, own, progress or Silent())[1]


def _drafted(
    config: TraceConfig, own: Path, progress: Progress
) -> tuple[Callable[[ChainPlace], TracePlan], list[str]]:
    """Return what makes the plan of its place in the chain, and what it takes and may find."""
    # They stand on torch, and a plan that is fixed needs none.
    from potstill.runs.trace_outlay import told_of
    from potstill.runs.trace_parts import TraceParts
    from potstill.runs.trace_planning import (
        control_facts,
        draft_tests,
        suspect_facts,
        teacher_facts,
    )

    parts = TraceParts(config, own, progress)
    drafted = draft_tests(parts)
    planned = [one for one in drafted.tests if isinstance(one, PlannedTest)]
    require(parts.suspect, planned)
    at, teacher, suspect = _now(), teacher_facts(parts), suspect_facts(parts)
    controls, computing = control_facts(parts, drafted.tests), _computing(parts)
    limits = limits_for(planned, packaged_limits())

    def draft(place: ChainPlace) -> TracePlan:
        return TracePlan(
            name=config.name,
            created_at=at,
            teacher=teacher,
            suspect=suspect,
            alpha=config.alpha,
            tests=tuple(drafted.tests),
            controls=controls,
            sources=tuple(drafted.sources),
            limits=limits,
            computing=computing,
            packages=versions_of(_PACKAGES),
            chain=place,
        )

    tried = keeping.tried_so_far(_chain_path(config), teacher.identity)
    accusing = max(1, draft(_NOWHERE).count("proof"))
    told = told_of(parts, drafted.tests, config.alpha / times_for(accusing, tried.proof))
    told += _told_of_limits(planned, limits, suspect.parameters)
    for line in told:
        progress.note(line)
    return draft, told


def _told_of_limits(
    planned: Sequence[PlannedTest], limits: Sequence[DetectionLimit], parameters: int | None
) -> list[str]:
    """Return of each planned test what it found in controls of stated sizes."""
    return [
        limit_sentence(
            test_name(one.test, one.configuration),
            limits_of(limits, one.test, one.configuration),
            parameters,
        )
        for one in planned
    ]


def _chain_path(config: TraceConfig) -> Path:
    return Path(config.chain).expanduser()


def run_trace(
    root: Path,
    *,
    tokens: tuple[Path, ...] = (),
    authorities: tuple[Path, ...] = (),
    progress: Progress | None = None,
) -> Verdict:
    """Ask what a plan asks and was not asked yet, and return the verdict.

    `tokens` are timestamps, put into the bundle with the certificates of their `authorities`. A
    run that came to its verdict already is not asked again; new timestamps make the verdict anew.
    Raises PotstillError where the plan was edited, and as the tests do.
    """
    progress = progress or Silent()
    with TraceDir.open(root, TraceDir.reading(root).config) as work:
        done = work.done(TracePlanned)
        if done is None:
            raise PotstillError(
                f"{root} holds no plan yet; fix it with potstill trace plan before it is run"
            )
        fixed, chain = _fixed(work, done)
        finished = _finished(work)
        if finished is not None and not (tokens or authorities):
            return finished
        add_tokens(work.bundle, fixed, tokens, authorities)
        if finished is None:
            _ask(work, fixed, progress)
        verdict = keeping.write_verdict(work.bundle, fixed, _now(), version("potstill"))
        write_pages(work.bundle, fixed, verdict)
        keeping.close_bundle(work.bundle, chain, fixed, _now())
        work.finish(TraceRun(verdict=keeping.bundle_digest(work.bundle)))
    return verdict


def disclose_key(root: Path, key: EpochKey) -> Path:
    """Put a retired epoch's key into a trace's bundle, note that in the chain; return its file.

    Raises PotstillError for a key that the plan is not about.
    """
    with TraceDir.open(root, TraceDir.reading(root).config) as work:
        done = work.done(TracePlanned)
        if done is None or _finished(work) is None:
            raise PotstillError(f"{root} has not come to a verdict; run potstill trace run first")
        fixed, chain = _fixed(work, done)
        if key.key_id not in {s.digest for s in fixed.plan.sources if s.kind == "key"}:
            raise PotstillError(
                f"this is the key of another epoch: its digest is {key.key_id}, and the plan is "
                "not about it; give the key that it names"
            )
        path = work.bundle / DISCLOSED / f"{key.epoch}.key"
        if path.is_file():
            return path
        keeping.retire_key(chain, key, _now())
        write_key(path, key)
        keeping.close_bundle(work.bundle, chain, fixed, _now())
    return path


def write_pages(bundle: Path, fixed: FixedPlan, verdict: Verdict) -> None:
    """Write the page and the notices of a verdict into its bundle."""
    for name, content in verdict_pages(fixed, verdict):
        write_bytes(bundle / name, content)


def _fixed(work: TraceDir, done: TracePlanned) -> tuple[FixedPlan, Chain]:
    """Return the plan as it was fixed, and the teacher's chain.

    Raises PotstillError where the plan was edited since.
    """
    bundle = work.bundle
    teacher = read_plan(bundle / "plan.json").plan.teacher.identity
    chain = keeping.open_chain(Path(done.chain), teacher, _now())
    return keeping.require_fixed(bundle, chain, done.plan), chain


def _finished(work: TraceDir) -> Verdict | None:
    """Return the verdict of a run that came to one, and whose file is as it was left."""
    done = work.done(TraceRun)
    if done is None or not (work.bundle / "verdict.json").is_file():
        return None
    if keeping.bundle_digest(work.bundle) != done.verdict:
        return None
    return read_verdict(work.bundle)


def _ask(work: TraceDir, fixed: FixedPlan, progress: Progress) -> None:
    """Have every raw log of the plan filled."""
    # They stand on torch, and a verdict from whole logs needs none.
    from potstill.runs.trace_parts import TraceParts

    parts = TraceParts(work.config, work.own, progress, fixed.plan)
    for place in log_places(fixed):
        log = open_log(work.bundle, fixed, place.name)
        if log.torn:
            progress.note(f"{place.name}: half a record, left by a kill, was dropped")
        _ask_one(parts, fixed, place, log)


def _ask_one(parts: TraceParts, fixed: FixedPlan, place: LogPlace, log: Chain) -> None:
    from potstill.runs.trace_asking import GATHERERS, Questions

    planned = fixed.plan.planned[place.number]
    kind = kind_of_test(planned.test)
    items = [kind.item.model_validate(dict(link.content)) for link in log.links]
    gatherer = GATHERERS.get(planned.test)
    if gatherer is None:
        raise PotstillError(
            f"the test {planned.test} is not asked by this version from settings; have its raw log "
            "written in Python (docs/how-to/trace.md), and run the trace again"
        )

    def append(item: TraceRecord) -> None:
        log.append(item.model_dump(mode="json"))
        items.append(item)

    def enough() -> bool:
        if not getattr(planned, "sequential", False) or not items or place.control is not None:
            return False
        found = kind.find(planned, tuple(items), fixed.digest, NOTHING)
        return _holds(fixed, planned, found)

    with parts.progress.step(place.name) as step:
        gatherer(
            parts,
            planned,
            Questions(
                number=place.number,
                control=place.control,
                digest=fixed.digest,
                done=tuple(items),
                append=append,
                enough=enough,
                step=step,
            ),
        )


def _holds(fixed: FixedPlan, planned: PlannedTest, found: Finding) -> bool:
    """Tell whether a finding is enough for its claim at the plan's level."""
    plan, tier = fixed.plan, tier_of(planned)
    times = times_for(plan.count(tier), plan.chain.tried.of(tier))
    return found.void is None and 10 ** bonferroni_log10(found.log10_p, times) <= plan.alpha


def _computing(parts: TraceParts) -> Computing:
    from potstill.models.precision import resolve_device, resolve_dtype

    device = resolve_device(parts.config.device)
    dtype = resolve_dtype(parts.config.precision, device)
    return Computing(
        dtype=str(dtype).removeprefix("torch."), device=device.type, slots=parts.config.slots
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
