"""How many simulated campaigns `watch find` names, and whom it names falsely.

Worlds of the simulator (potstill.simulator) are made, taken in and searched one at a time, each
with a row file in --work/rows, so that a kill costs one world. A row that the same sources made is
taken up again. Worlds that a run made are deleted after it unless --keep; one that was there stays.

Each world has campaigns of two small cells, or with --grid of the whole grid, by the mechanisms
that are open, or with --held-out by those that nothing was tuned on. A case is false if fewer than
half of its accounts belong to one campaign. Of each open campaign the group that has most of it is
told with what every signal said, so that a miss can be understood; of a held-out one only how far
it came. In the first --by-day worlds the first day is searched as well, the first two and so on.

    python benchmarks/watch_find.py --worlds 8 --work DIR --out FILE.json [--held-out] [--by-day 2]
    python benchmarks/watch_find.py --worlds 10 --requests 1000000 --grid --work DIR --out FILE.json
    python benchmarks/watch_find.py --worlds 4 --work DIR --out FILE.json --innocents hackathon
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commits import commit
from watched.figures import Links, summed
from watched.judging import WorldRow
from watched.searching import Search, searched
from watched.worlds import Plan, linked_by

from potstill.simulator.spec import AWKWARD


def plans(given: argparse.Namespace) -> list[Plan]:
    """Return the worlds that the arguments ask for."""
    return [
        Plan(
            number,
            given.requests,
            days=given.days,
            held_out=given.held_out,
            grid=given.grid,
            innocents=tuple(given.innocents),
            awkward=given.awkward,
        )
        for number in range(given.first, given.first + given.worlds)
    ]


def told(rows: Sequence[WorldRow], links: Links) -> dict[str, Any]:
    """Return what --out holds: figures, worlds, campaigns and cases; no account's name.

    `links` says what joins each campaign's accounts, by world and campaign.
    """
    left_out = {"hits", "cases", "named", "members"}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "figures": summed(rows, links),
        "worlds": [row.model_dump(mode="json", exclude=left_out) for row in rows],
        "campaigns": [hit.model_dump(mode="json") for row in rows for hit in row.hits],
        "cases": [case.model_dump(mode="json") for row in rows for case in row.cases],
    }


def parser() -> argparse.ArgumentParser:
    """Return the arguments that say which worlds there are."""
    found = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    found.add_argument("--worlds", type=int, default=8)
    found.add_argument("--first", type=int, default=0, help="the first world's seed")
    found.add_argument("--requests", type=int, default=200_000)
    found.add_argument("--days", type=int, default=7)
    found.add_argument("--grid", action="store_true", help="campaigns over the whole grid")
    found.add_argument("--held-out", action="store_true")
    found.add_argument(
        "--innocents", action="append", default=[], choices=AWKWARD,
        help="no campaigns, and --awkward of the requests of these awkward kinds",
    )  # fmt: skip
    found.add_argument("--awkward", type=float, default=0.5, metavar="SHARE")
    found.add_argument("--level", type=float, default=0.05)
    found.add_argument("--privacy", default="full")
    found.add_argument("--keep", action="store_true", help="delete no world that was made")
    found.add_argument("--work", type=Path, required=True)
    found.add_argument("--out", type=Path, required=True)
    return found


def main() -> None:
    arguments = parser()
    arguments.add_argument("--by-day", type=int, default=0, metavar="WORLDS")
    given = arguments.parse_args()
    rows: list[WorldRow] = []
    made = plans(given)
    links = {(plan.number, name): by for plan in made for name, by in linked_by(plan).items()}
    for number, plan in enumerate(made):
        daily = number < given.by_day
        row = searched(plan, Search(given.work, given.level, given.privacy, daily, given.keep))
        rows.append(row)
        caught, false = sum(h.cases > 0 for h in row.hits), sum(one.false for one in row.cases)
        said = f"{caught} of {len(row.hits)} campaigns, {false} false, {row.find_s} s"
        print(f"world {plan.number}: {said}", flush=True)
        given.out.write_text(
            json.dumps(told(rows, plans(given)), indent=1) + "\n", encoding="utf-8"
        )
    figures = told(rows, links)["figures"]
    print(json.dumps({k: v for k, v in figures.items() if k != "surface"}, indent=1))


if __name__ == "__main__":
    main()
