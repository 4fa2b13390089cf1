"""A bundle checked by whoever gets it: digests, chain, order, arithmetic, and the bits with a key.

Nothing is asked and no model is loaded. Level 1 needs the bundle alone; level 2 needs the key of
the epoch, and makes every score again. What differs is a PotstillError that names the record or
the file; what could not be checked is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import canonical_json
from potstill.errors import PotstillError
from potstill.text.counts import many
from potstill.trace.bundle import (
    CHAIN_FILE,
    certificates_in,
    digests_in,
    files_in,
    read_verdict,
    require_plain_files,
    same_digest,
    subjects_of,
)
from potstill.trace.chain import ChainRead, read_chain, require_head
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.findings import TraceFound, found_in, log_origin, log_places
from potstill.trace.kinds import kind_of_test
from potstill.trace.plan import PLAN_FILE, FixedPlan, read_plan
from potstill.trace.registry import NOTHING, Disclosed
from potstill.trace.timestamps import can_check, check_token
from potstill.trace.tried import (
    ChainBegun,
    PlanFixed,
    RunFinished,
    events_of,
    teacher_origin,
    tried_in,
)
from potstill.trace.verdict import (
    VERDICT_FILE,
    ControlFigure,
    Custody,
    Verdict,
    verdict_of,
)
from potstill.work.check_result import CheckResult

_Compared = Finding | ControlFigure
# Figures that another version of a library computes may differ by so much, as a share.
_ROUNDING = 1e-6
_REMEDY = "get the bundle as it was from whoever made it"


@dataclass(frozen=True)
class Trust:
    """What a verifier has of their own: what is disclosed, and certificates that they trust."""

    disclosed: Disclosed = NOTHING
    certificates: Sequence[bytes] | None = None


def checks_of(bundle: Path, trust: Trust | None = None) -> Iterator[CheckResult]:
    """Yield what was checked of a bundle, one by one.

    Raises PotstillError, naming the record or the file, at the first thing that differs.
    """
    trust = trust or Trust()
    require_plain_files(bundle)
    fixed = read_plan(bundle / PLAN_FILE)
    verdict = read_verdict(bundle)
    yield _plan(fixed, verdict)
    # An empty chain is one that nobody has begun, and in a bundle there is none such.
    if not (bundle / CHAIN_FILE).exists():
        raise PotstillError(f"{CHAIN_FILE} does not exist in the bundle; {_REMEDY}")
    chain = read_chain(bundle / CHAIN_FILE, teacher_origin(fixed.plan.teacher.identity))
    finished = _finished(bundle, fixed, chain)
    yield CheckResult("chain of plans", "holds", _chain_words(fixed, chain))
    yield from _logs(bundle, fixed, verdict)
    _require_own_key(fixed, trust.disclosed)
    # With what is disclosed scores and steps are made again on the way, to the same figures.
    found = found_in(bundle, fixed, trust.disclosed)
    _same_findings(verdict, found)
    yield CheckResult("arithmetic", "holds", _findings_words(found))
    yield from _bits(fixed, trust.disclosed)
    yield from _steps(fixed, trust.disclosed)
    _same_verdict(fixed, verdict)
    yield CheckResult("verdict", "holds", "its words and levels follow from plan and findings")
    yield from _files(bundle, finished)
    yield from _stamps(bundle, fixed, verdict, trust.certificates)


def _plan(fixed: FixedPlan, verdict: Verdict) -> CheckResult:
    if verdict.plan != fixed.digest:
        raise PotstillError(
            f"{PLAN_FILE} is not the plan that the verdict is about: it was edited after the run "
            f"(its digest is {fixed.digest}, the verdict's {verdict.plan}); {_REMEDY}"
        )
    return CheckResult("plan", "holds", f"digest {fixed.digest}")


def _finished(bundle: Path, fixed: FixedPlan, chain: ChainRead) -> RunFinished:
    """Return the record of the run; the plan has to stand in the chain as it says that it does."""
    path, place = bundle / CHAIN_FILE, fixed.plan.chain
    events = events_of(path, chain.links)
    own = [at for at, e in enumerate(events) if isinstance(e, PlanFixed) and e.plan == fixed.digest]
    if not own:
        raise PotstillError(
            f"{CHAIN_FILE} holds no record of this plan, so that nobody fixed it before the run; "
            f"{_REMEDY}"
        )
    before = events[: own[0]]
    head = chain.links[own[0] - 1].digest if own[0] else chain.origin
    begun = events[0]
    if (
        not isinstance(begun, ChainBegun)
        or begun.teacher != fixed.plan.teacher.identity
        or (place.records, place.head) != (own[0], head)
        or place.tried != tried_in(before)
    ):
        raise PotstillError(
            f"record {own[0]} of {CHAIN_FILE} is not where the plan says that it stands, or what "
            f"was tried before was not as the plan counts it; {_REMEDY}"
        )
    runs = [e for e in events if isinstance(e, RunFinished) and e.plan == fixed.digest]
    if not runs:
        raise PotstillError(
            f"{CHAIN_FILE} holds no record of this plan's run after record {len(events) - 1}: it "
            f"has not finished, or records are missing at the end; {_REMEDY}"
        )
    return runs[-1]


def _chain_words(fixed: FixedPlan, chain: ChainRead) -> str:
    tried = fixed.plan.chain.tried
    return (
        f"{many(len(chain.links), 'record')}; before this plan were tried: "
        f"{many(tried.plans, 'plan')}, {many(tried.suspects, 'suspect')}, "
        f"{many(tried.checkpoints, 'checkpoint')} and {many(tried.keys, 'key')}"
    )


def _logs(bundle: Path, fixed: FixedPlan, verdict: Verdict) -> Iterator[CheckResult]:
    # Files are read by the plan's names alone, and by none that a verdict makes up.
    if [log.file for log in verdict.logs] != [place.name for place in log_places(fixed)]:
        raise PotstillError(f"{VERDICT_FILE} names other raw logs than the plan has; {_REMEDY}")
    for log in verdict.logs:
        read = read_chain(bundle / log.file, log_origin(fixed, log.file))
        require_head(bundle / log.file, read, log.head, log.records)
        detail = f"{many(log.records, 'record')}, each chained to the one before"
        yield CheckResult(log.file, "holds", detail)


def _require_own_key(fixed: FixedPlan, disclosed: Disclosed) -> None:
    """Raise PotstillError for a key or a secret that no test of the plan is about."""
    if disclosed.secret is not None and all(one.test != "order" for one in fixed.plan.planned):
        raise PotstillError(
            "no test of the plan is about a training's order, and its secret checks nothing; leave "
            "--order-secret out"
        )
    if disclosed.key is None:
        return
    planned = [key for one in fixed.plan.planned if (key := _key_of(one)) is not None]
    if disclosed.key.key_id not in planned:
        about = f"it is about {', '.join(sorted(set(planned)))}" if planned else "it has no marks"
        raise PotstillError(
            f"this is the key of another epoch: its digest is {disclosed.key.key_id}, and no test "
            f"of the plan is about it ({about}); give that key's file and epoch"
        )


def _key_of(planned: object) -> str | None:
    kind = kind_of_test(str(getattr(planned, "test", "")))
    return None if kind.key_id is None else kind.key_id(planned)


def _same_findings(verdict: Verdict, found: TraceFound) -> None:
    if found.logs != verdict.logs:
        raise PotstillError(f"{VERDICT_FILE} names other raw logs than the plan has; {_REMEDY}")
    if len(found.findings) != len(verdict.findings):
        raise PotstillError(f"{VERDICT_FILE} holds other findings than the plan has; {_REMEDY}")
    if len(found.controls) != len(verdict.controls):
        raise PotstillError(f"{VERDICT_FILE} names other controls than the plan has; {_REMEDY}")
    pairs: list[tuple[_Compared, _Compared]] = [
        *zip(verdict.findings, found.findings, strict=True),
        *zip(verdict.controls, found.controls, strict=True),
    ]
    for stored, made in pairs:
        field = _differs(stored, made)
        if field is not None:
            raise PotstillError(
                f"the raw log of {made.test} ({made.configuration}) does not come to what "
                f"{VERDICT_FILE} says (its {field}); {_REMEDY}"
            )


def _differs(stored: TraceRecord, made: TraceRecord) -> str | None:
    """Return the name of a field that differs by more than rounding."""
    mine, theirs = made.model_dump(), stored.model_dump()
    for name, value in mine.items():
        other = theirs.get(name)
        if isinstance(value, float) and isinstance(other, float):
            if not math.isclose(value, other, rel_tol=_ROUNDING, abs_tol=1e-300):
                return name
        elif value != other:
            return name
    return None


def _findings_words(found: TraceFound) -> str:
    tests = many(len(found.findings), "test")
    return f"{tests} computed again from the raw logs, to the figures of the verdict"


def _bits(fixed: FixedPlan, disclosed: Disclosed) -> Iterator[CheckResult]:
    """Yield of which marks the scores were made again with the key."""
    keyed = [one for one in fixed.plan.planned if _key_of(one) is not None]
    if not keyed:
        return
    if disclosed.key is None:
        yield CheckResult(
            "scores of the marks",
            "not checked",
            "they are taken as they are stored; the key of the epoch makes them again (--key)",
        )
        return
    for one in keyed:
        own = _key_of(one) == disclosed.key.key_id
        whole = one.configuration in (disclosed.texts or {}) or one.test == "watermark-text"
        detail = "every score made again with the key"
        if not own:
            detail = "they are of another epoch's key"
        elif not whole:
            detail = "the marked texts are not disclosed, behind whose windows they stand (--texts)"
        yield CheckResult(
            f"scores of {one.test} ({one.configuration})",
            "holds" if own and whole else "not checked",
            detail,
        )


def _steps(fixed: FixedPlan, disclosed: Disclosed) -> Iterator[CheckResult]:
    """Yield of which trainings' orders the steps were planned again with the secret."""
    for one in (one for one in fixed.plan.planned if one.test == "order"):
        what = f"steps of {one.test} ({one.configuration})"
        if disclosed.secret is None:
            detail = (
                "they are taken as they are stored; the run's secret gives them (--order-secret)"
            )
            yield CheckResult(what, "not checked", detail)
            continue
        yield CheckResult(what, "holds", "every step planned again with the run's secret")


def _same_verdict(fixed: FixedPlan, verdict: Verdict) -> None:
    custody = Custody(
        created_at=verdict.created_at,
        potstill=verdict.potstill,
        logs=verdict.logs,
        stamps=verdict.stamps,
    )
    made = verdict_of(fixed, verdict.findings, custody, verdict.controls)
    if _spelt(made) != _spelt(verdict):
        field = _differs(verdict, made) or "spelling"
        raise PotstillError(
            f"{VERDICT_FILE} does not follow from the plan and its findings (its {field}); "
            f"{_REMEDY}, and verify with potstill {verdict.potstill}, which made it"
        )


def _spelt(verdict: Verdict) -> bytes:
    return canonical_json(verdict.model_dump(mode="json", by_alias=True))


def _files(bundle: Path, finished: RunFinished) -> Iterator[CheckResult]:
    found = digests_in(bundle)
    changed = same_digest(finished.files, found)
    if changed is not None:
        state = "missing" if changed not in found else "not as the run left it"
        raise PotstillError(
            f"{changed} is {state}, or the run's record in {CHAIN_FILE} was changed; {_REMEDY}"
        )
    count = len(finished.files)
    yield CheckResult("files", "holds", f"{count} files are as the run left them")
    for extra in (name for name in files_in(bundle) if name not in finished.files):
        yield CheckResult(extra, "not checked", "it was put into the bundle after the run")


def _stamps(
    bundle: Path, fixed: FixedPlan, verdict: Verdict, certificates: Sequence[bytes] | None
) -> Iterator[CheckResult]:
    if not verdict.stamps:
        yield CheckResult(
            "order of events", "not checked", "no timestamp is attached: it is the owner's word"
        )
    trusted = certificates_in(bundle) if certificates is None else certificates
    whose = "that came with the bundle" if certificates is None else "that were given"
    there = files_in(bundle)
    for stamp in verdict.stamps:
        if stamp.file not in there:
            raise PotstillError(f"{stamp.file[:200]} is missing; {_REMEDY}")
        if not can_check():
            detail = "token not checked: that needs `pip install potstill[trace]`"
            yield CheckResult(stamp.file, "not checked", detail)
            continue
        path = bundle / stamp.file
        found = check_token(path, path.read_bytes(), trusted, subjects_of(fixed))
        if stamp.checked and found.time != stamp.time:
            raise PotstillError(f"{stamp.file} has another time than the verdict says; {_REMEDY}")
        yield CheckResult(
            stamp.file,
            "holds",
            f"{found.subject} was seen by {found.authority} by {found.time.isoformat()}, under the "
            f"certificates {whose} (root SHA-256 {found.root_sha256}); whether that is an "
            "authority is yours to judge",
        )
