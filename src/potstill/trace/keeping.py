"""What a plan and a run leave in their teacher's chain, and in the bundle that is handed over.

A plan is noted in the chain before anything is asked; a run, when its bundle is whole. The bundle's
own copy of the chain ends with that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from potstill.canonical import canonical_json
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.trace.bundle import CHAIN_FILE, digests_in, stamps_in
from potstill.trace.chain import Chain, chain_held, custody_digest, read_chain
from potstill.trace.finding import TraceRecord
from potstill.trace.findings import found_in
from potstill.trace.plan import PLAN_FILE, ChainPlace, FixedPlan, TracePlan, Tried, read_plan
from potstill.trace.tried import (
    ChainBegun,
    KeyRetired,
    PlanFixed,
    RunFinished,
    chain_secret,
    events_of,
    fixed_record,
    teacher_origin,
    tried_in,
)
from potstill.trace.verdict import VERDICT_FILE, Custody, Verdict, verdict_of
from potstill.watermark.keys import EpochKey


def open_chain(path: Path, teacher: str, at: datetime) -> Chain:
    """Return the chain of a teacher's plans, begun where there is none.

    Raises PotstillError where a record of it was changed, and where it is another teacher's.
    """
    with chain_held(path):
        chain = Chain(path, teacher_origin(teacher))
        if not chain.links:
            _note(chain, ChainBegun(at=at, teacher=teacher))
    return chain


def tried_so_far(path: Path, teacher: str) -> Tried:
    """Return how much a teacher's chain says was tried; nothing where there is no chain yet."""
    read = read_chain(path, teacher_origin(teacher))
    return tried_in(events_of(path, read.links))


def fix_plan(bundle: Path, chain: Chain, draft: Callable[[ChainPlace], TracePlan]) -> FixedPlan:
    """Fix a plan: write it into an empty bundle, and note it in the chain; return it.

    `draft` makes it of its place in the chain.
    """
    with _held(chain):
        tried = tried_in(events_of(chain.path, chain.links))
        plan = draft(ChainPlace(records=len(chain.links), head=chain.head, tried=tried))
        write_bytes(bundle / PLAN_FILE, plan.as_bytes())
        _note(chain, fixed_record(plan, chain_secret(chain.path)))
    return read_plan(bundle / PLAN_FILE)


def require_fixed(bundle: Path, chain: Chain, digest: str) -> FixedPlan:
    """Return the plan of a bundle, whose digest was noted when it was fixed.

    Raises PotstillError where it was edited since, and where the chain does not hold it.
    """
    fixed = read_plan(bundle / PLAN_FILE)
    if fixed.digest != digest:
        raise PotstillError(
            f"{bundle / PLAN_FILE} was edited after it was fixed: its digest is {fixed.digest}, "
            f"and {digest} was noted; bring it back from a copy, or make another plan"
        )
    plans = [e for e in events_of(chain.path, chain.links) if isinstance(e, PlanFixed)]
    if digest not in {plan.plan for plan in plans}:
        raise PotstillError(
            f"the chain {chain.path} holds no record of this plan; give the chain that it was "
            "fixed in, or make another plan"
        )
    return fixed


def write_verdict(bundle: Path, fixed: FixedPlan, at: datetime, version: str) -> Verdict:
    """Work out what the raw logs of a bundle come to, and write its verdict; return it.

    Raises PotstillError where a raw log is not the plan's or not whole, and where a timestamp does
    not hold.
    """
    found = found_in(bundle, fixed)
    stamps = stamps_in(bundle, fixed)
    custody = Custody(created_at=at, potstill=version, logs=found.logs, stamps=stamps)
    verdict = verdict_of(fixed, found.findings, custody, found.controls)
    write_bytes(
        bundle / VERDICT_FILE, canonical_json(verdict.model_dump(mode="json", by_alias=True))
    )
    return verdict


def close_bundle(bundle: Path, chain: Chain, fixed: FixedPlan, at: datetime) -> None:
    """Note a run and the digests of all its files in the chain, and copy that into the bundle."""
    files = digests_in(bundle)
    with _held(chain):
        _note(chain, RunFinished(at=at, plan=fixed.digest, files=files))
        write_bytes(bundle / CHAIN_FILE, chain.path.read_bytes())


def retire_key(chain: Chain, key: EpochKey, at: datetime) -> None:
    """Note that a key is handed over: whoever has it can write its marks from now on."""
    with _held(chain):
        _note(chain, KeyRetired(at=at, key=key.key_id, epoch=key.epoch))


def bundle_digest(bundle: Path) -> str:
    """Return the digest of a bundle's verdict, by which a run knows that it is done."""
    return custody_digest((bundle / VERDICT_FILE).read_bytes())


@contextmanager
def _held(chain: Chain) -> Iterator[None]:
    """Have a teacher's chain as it is now: runs of other suspects add to it meanwhile."""
    with chain_held(chain.path):
        chain.reread()
        yield


def _note(chain: Chain, event: TraceRecord) -> None:
    chain.append(event.model_dump(mode="json"))
