"""A world made, taken in, searched and judged: one row file, which a later run takes up."""

from __future__ import annotations

import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from potstill.durable import write_bytes
from potstill.runs.watch_finding import find_in
from potstill.runs.watching import LogWanted, ingest_log
from watched import worlds
from watched.judging import Hit, WorldRow, case_of, hits_of, named_in, true_of
from watched.truth import Truth, truth_of
from watched.worlds import Plan


@dataclass(frozen=True)
class Search:
    """How worlds are searched. Those that a search made are deleted after it unless `keep`."""

    work: Path
    level: float = 0.05
    privacy: str = "full"
    by_day: bool = False
    keep: bool = False

    def row_file(self, plan: Plan) -> Path:
        """Where a world's row stands."""
        return self.work / "rows" / f"{plan.name}-{self.privacy}.json"


def searched(plan: Plan, search: Search) -> WorldRow:
    """Return a world's row: the one that there is, where the same code made it, or a new one."""
    path = search.row_file(plan)
    code = worlds.code_digest()
    if path.exists():
        row = WorldRow.model_validate_json(path.read_text(encoding="utf-8"))
        daily = row.by_day or not search.by_day
        if daily and (row.code, row.level) == (code, search.level):
            return row
    row = _searched(plan, search, code)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, row.model_dump_json(indent=1).encode() + b"\n")
    return row


def row_of(plan: Plan, search: Search) -> WorldRow:
    """Return the row that there is. Raises FileNotFoundError where there is none."""
    return WorldRow.model_validate_json(search.row_file(plan).read_text(encoding="utf-8"))


def _searched(plan: Plan, search: Search, code: str) -> WorldRow:
    store = search.work / f"{plan.name}-{search.privacy}"
    there = (search.work / plan.name / "world.json").exists()
    begun = time.perf_counter()
    world = worlds.made(plan, search.work)
    made = time.perf_counter()
    worlds.taken(world, store, search.privacy)
    taken = time.perf_counter()
    found = find_in(store, search.level)
    ended = time.perf_counter()
    truth = truth_of(world)
    hits = hits_of(plan.number, found, truth, told=not plan.held_out)
    if search.by_day:
        hits = _with_leaks(hits, _alerts(world, search, truth), truth)
    row = WorldRow(
        world=plan.number,
        sort=plan.sort,
        code=code,
        level=search.level,
        privacy=search.privacy,
        by_day=search.by_day,
        made_s=round(made - begun, 1),
        ingest_s=round(taken - made, 1),
        find_s=round(ended - taken, 1),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        candidates=len(found.candidates),
        benign=truth.benign,
        benign_kinds=dict(sorted(truth.benign_kinds.items())),
        members={one.campaign_id: one.accounts for one in truth.campaigns},
        hits=tuple(hits),
        cases=tuple(case_of(plan.number, one, truth) for one in found.campaigns),
        named=named_in(found, truth),
    )
    if not (there or search.keep):
        worlds.forgotten(world, store)
    return row


def _alerts(world: Path, search: Search, truth: Truth) -> dict[str, int]:
    """Return after how many days of the world each campaign is first named.

    A store grows by a day and is searched; the whole week was searched already by another store.
    """
    store = search.work / f"{world.name}-days"
    shutil.rmtree(store, ignore_errors=True)
    first: dict[str, int] = {}
    days = sorted((world / "requests").glob("*.parquet"))
    for number, day in enumerate(days, 1):
        ingest_log(LogWanted((str(day),), world / "accounts.parquet"), store, search.privacy)
        for name in true_of(find_in(store, search.level), truth):
            first.setdefault(name, number)
    shutil.rmtree(store, ignore_errors=True)
    return first


def _with_leaks(hits: list[Hit], alerts: dict[str, int], truth: Truth) -> list[Hit]:
    found = []
    for hit in hits:
        if hit.campaign in alerts:
            day, asked = alerts[hit.campaign], truth.by_day[hit.campaign]
            begun = next(number for number, n in enumerate(asked) if n)
            hit = hit.model_copy(update={"leaked": (day - begun, sum(asked[:day]))})
        found.append(hit)
    return found
