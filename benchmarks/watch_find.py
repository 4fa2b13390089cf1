"""How many simulated campaigns `watch find` names, and whom it names falsely.

Small worlds of the simulator (potstill.simulator) are made, taken in and searched. Each world has
campaigns of the cells given, by the mechanisms that are open, or with --held-out by those that
nothing was tuned on. A case is false if fewer than half of its accounts belong to one campaign. Of
each campaign the group that has most of it is told with what every signal said, so that a miss can
be understood. Worlds are kept in --work and made once.

    python benchmarks/watch_find.py --worlds 8 --work DIR --out FILE.json [--held-out]
    python benchmarks/watch_find.py --worlds 4 --work DIR --out FILE.json --innocents hackathon
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).resolve().parent))
from traffic.make import write

from potstill.runs.watch_finding import find_in
from potstill.runs.watching import LogWanted, ingest_log
from potstill.simulator.grid import drawn_spec
from potstill.simulator.spec import AWKWARD
from potstill.watch.evidence import Campaign, CampaignsFound, Candidate

CELLS = tuple((a, r, m) for a, r in ((20, 26.0), (273, 6.0)) for m in (0.0, 0.25, 0.5))
_INNOCENT = ""


@dataclass(frozen=True)
class Truth:
    """Each account's kind, party and campaign ("" for none), and its requests."""

    kind: Mapping[str, str]
    party: Mapping[str, str]
    campaign: Mapping[str, str]
    asked: Mapping[str, int]
    campaigns: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Hit:
    """What became of one campaign; `best` is the group that holds most of it."""

    world: int
    campaign: str
    mechanism: str
    cover: str
    cell: str
    families: tuple[str, ...]
    requests: int
    share: float
    cases: int
    best: str


@dataclass(frozen=True)
class Case:
    """One named case: how many of its accounts are of the campaign that it has most of."""

    world: int
    accounts: int
    guilty: int
    kind: str
    false: bool
    said: str


def truth_of(world: Path) -> Truth:
    """Return what is true of a world."""
    accounts = pq.read_table(world / "truth" / "accounts.parquet").to_pylist()
    requests = pq.read_table(world / "truth" / "requests", columns=["account_id"])
    asked = {
        row["values"]: row["counts"] for row in requests["account_id"].value_counts().to_pylist()
    }
    known = pq.read_table(world / "accounts.parquet", columns=["account_id", "tenant"])
    return Truth(
        party={
            one["account_id"]: f"t:{one['tenant']}" if one["tenant"] else f"a:{one['account_id']}"
            for one in known.to_pylist()
        },
        kind={one["account_id"]: one["kind"] for one in accounts},
        campaign={one["account_id"]: one["campaign_id"] or _INNOCENT for one in accounts},
        asked=asked,
        campaigns=tuple(pq.read_table(world / "truth" / "campaigns.parquet").to_pylist()),
    )


def case_of(world: int, found: Campaign, truth: Truth) -> Case:
    """Return what a named case is in truth."""
    names = Counter(truth.campaign[one] for one in found.accounts)
    guilty = max((n for name, n in names.items() if name != _INNOCENT), default=0)
    kinds = Counter(truth.kind[one] for one in found.accounts)
    return Case(
        world=world,
        accounts=len(found.accounts),
        guilty=guilty,
        kind=kinds.most_common(1)[0][0],
        false=2 * guilty < len(found.accounts),
        said=" | ".join(_said(one) for one in found.candidates),
    )


def hits_of(world: int, found: CampaignsFound, truth: Truth) -> list[Hit]:
    """Return what became of each campaign of a world: only true cases count."""
    caught: dict[str, set[str]] = defaultdict(set)
    cases: Counter[str] = Counter()
    for one in found.campaigns:
        names = Counter(truth.campaign[account] for account in one.accounts)
        name, guilty = max(names.items(), key=_guiltier)
        if name != _INNOCENT and 2 * guilty >= len(one.accounts):
            caught[name] |= {a for a in one.accounts if truth.campaign[a] == name}
            cases[name] += 1
    hits = []
    for known in truth.campaigns:
        name: str = known["campaign_id"]
        members = {a for a, of in truth.campaign.items() if of == name}
        whole = sum(truth.asked.get(a, 0) for a in members)
        mine = sum(truth.asked.get(a, 0) for a in caught[name])
        cell = f"{known['accounts']}x{known['rate']:g}x{known['mix']:g}x{known['days']}d"
        best = _best(found.candidates, {truth.party[a] for a in members})
        hits.append(
            Hit(
                world, name, known["mechanism"], known["cover"], cell, tuple(known["families"]),
                whole, mine / max(whole, 1), cases[name], best,
            )
        )  # fmt: skip
    return hits


def _guiltier(item: tuple[str, int]) -> tuple[bool, int]:
    return item[0] != _INNOCENT, item[1]


def _best(candidates: Sequence[Candidate], members: set[str]) -> str:
    """Say of each way to choose which group has most of a campaign, and what was said of it."""
    best: dict[str, tuple[int, str]] = {}
    for one in candidates:
        inside = sum(party in members for party in one.parties)
        if inside > best.get(one.chosen_by, (0, ""))[0]:
            best[one.chosen_by] = (inside, f"{inside} of {_said(one)}")
    return " | ".join(text for _, text in best.values())


def _said(one: Candidate) -> str:
    signals = ", ".join(
        f"{s.signal} {s.observed:g}/{s.expected:g}"
        + ("" if s.log10_e is None else f" e{s.log10_e:.1f}")
        for s in one.signals
    )
    return f"{len(one.parties)} by {one.chosen_by}, e{one.log10_e:.1f}: {signals}"


def searched(
    number: int, given: argparse.Namespace
) -> tuple[list[Hit], list[Case], dict[str, Any]]:
    """Make, take in and search a world."""
    sort = "held" if given.held_out else "open"
    if given.innocents:
        sort = f"{'+'.join(given.innocents)}-{given.awkward:g}"
    world = given.work / f"{sort}-{given.requests}-{number}"
    if not (world / "world.json").exists():
        spec = drawn_spec(
            number, given.requests, days=given.days, held_out=given.held_out, cells=CELLS
        )
        if given.innocents:
            spec = dataclasses.replace(
                spec, campaigns=(), kinds=tuple(given.innocents), awkward_share=given.awkward
            )
        write(spec, world)
    store = given.work / f"{world.name}-{given.privacy}"
    if not store.exists():
        log = LogWanted((str(world / "requests"),), world / "accounts.parquet")
        ingest_log(log, store, given.privacy)
    truth = truth_of(world)
    begun = time.perf_counter()
    found = find_in(store, given.level)
    seconds = time.perf_counter() - begun
    of_world = {
        "world": number,
        "seconds": round(seconds, 1),
        "candidates": len(found.candidates),
        "benign": sum(n for a, n in truth.asked.items() if truth.campaign[a] == _INNOCENT),
    }
    cases = [case_of(number, one, truth) for one in found.campaigns]
    return hits_of(number, found, truth), cases, of_world


def summed(
    hits: Sequence[Hit], cases: Sequence[Case], worlds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the figures: recall of those that two families or more can tell, and false cases."""
    fair = [h for h in hits if len(h.families) >= 2]
    benign = sum(int(one["benign"]) for one in worlds)
    false = [one for one in cases if one.false]
    true = [one for one in cases if not one.false]
    return {
        "campaigns": len(hits),
        "of two families": len(fair),
        "recall by requests": _ratio((h.share * h.requests, h.requests) for h in fair),
        "recall by campaign": _ratio((h.share, 1.0) for h in fair),
        "named": _ratio((float(h.cases > 0), 1.0) for h in fair),
        "cases a named campaign": _ratio((h.cases, 1.0) for h in hits if h.cases),
        "false cases": len(false),
        "false kinds": dict(Counter(one.kind for one in false)),
        "benign requests": benign,
        "false cases a million, upper 95%": chi2.ppf(0.95, 2 * len(false) + 2) / 2 * 1e6 / benign,
        "innocents in true cases": sum(one.accounts - one.guilty for one in true),
        "accounts in true cases": sum(one.accounts for one in true),
        "named by mechanism": _by(fair, lambda h: h.mechanism),
        "named by cell": _by(fair, lambda h: h.cell.rsplit("x", 1)[0]),
        "named by families": _by(fair, lambda h: " ".join(h.families)),
        "seconds": sum(float(one["seconds"]) for one in worlds),
    }


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    both = list(pairs)
    whole = sum(b for _, b in both)
    return round(sum(a for a, _ in both) / whole, 3) if whole else None


def _by(hits: Iterable[Hit], key: Callable[[Hit], str]) -> dict[str, str]:
    found: dict[str, list[bool]] = defaultdict(list)
    for hit in hits:
        found[key(hit)].append(hit.cases > 0)
    return {name: f"{sum(each)} of {len(each)}" for name, each in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first world's seed")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--privacy", default="full")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument(
        "--innocents", action="append", default=[], choices=AWKWARD,
        help="no campaigns, and --awkward of the requests of these awkward kinds",
    )  # fmt: skip
    parser.add_argument("--awkward", type=float, default=0.5, metavar="SHARE")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    hits: list[Hit] = []
    cases: list[Case] = []
    worlds: list[dict[str, Any]] = []
    for number in range(given.first, given.first + given.worlds):
        some, named, world = searched(number, given)
        hits, cases, worlds = hits + some, cases + named, [*worlds, world]
        caught, false = sum(h.cases > 0 for h in some), sum(one.false for one in named)
        said = f"{caught} of {len(some)} campaigns, {false} false, {world['seconds']} s"
        print(f"world {number}: {said}", flush=True)
        found = {
            "figures": summed(hits, cases, worlds),
            "worlds": worlds,
            "campaigns": [dataclasses.asdict(one) for one in hits],
            "cases": [dataclasses.asdict(one) for one in cases],
        }
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["figures"], indent=1))


if __name__ == "__main__":
    main()
