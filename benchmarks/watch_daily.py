"""What `watch daily` names in simulated worlds as days come, when, and what a day costs.

Worlds of the simulator (potstill.simulator, open mechanisms) are taken in whole and followed day by
day, each day a run of its own as cron would start it. A campaign is named when a case has most of
its accounts from it; a case is false if fewer than half of its accounts belong to one campaign. The
last day is followed again from the beginning, which has to give the same file. Worlds that are
there are used, others are made; `find_s` is `watch find` over the whole store beside it.

    python benchmarks/watch_daily.py --worlds 4 --work DIR --out FILE.json [--requests 200000]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commits import commit
from watched import worlds
from watched.judging import is_fair, true_name
from watched.truth import truth_of
from watched.worlds import Plan

from potstill.runs.watch_daily import DailyWanted, follow_store
from potstill.runs.watch_finding import find_in
from potstill.watch.days.daylog import DAYS_FOLDER, log_path
from potstill.watch.days.report import DailyReport


def followed(plan: Plan, work: Path, privacy: str) -> dict[str, Any]:
    """Return what came of a world: its days with their seconds and cases, and its campaigns."""
    store = work / f"{plan.name}-{privacy}"
    world = worlds.made(plan, work)
    worlds.taken(world, store, privacy)
    shutil.rmtree(store / DAYS_FOLDER, ignore_errors=True)
    truth, days, alerts = truth_of(world), [], dict[str, str]()
    names = sorted(path.name.removeprefix("day=") for path in (store / "requests").glob("day=*"))
    for name in names:
        begun = time.perf_counter()
        report = follow_store(DailyWanted(store, name))
        seconds = time.perf_counter() - begun
        cases = [true_name(case.accounts, truth) for case in report.cases]
        for campaign in cases:
            if campaign is not None:
                alerts.setdefault(campaign, name)
        days.append(_day(name, seconds, report, cases))
    lines = log_path(store).read_bytes()
    shutil.rmtree(store / DAYS_FOLDER)
    begun = time.perf_counter()
    follow_store(DailyWanted(store, names[-1]))
    fresh_s = time.perf_counter() - begun
    same = log_path(store).read_bytes() == lines
    begun = time.perf_counter()
    found = find_in(store, 0.05)
    find_s = time.perf_counter() - begun
    by_find = [true_name(one.accounts, truth) for one in found.campaigns]
    return {
        "world": plan.number,
        "benign": truth.benign,
        "days": days,
        "fresh_s": round(fresh_s, 1),
        "find_s": round(find_s, 1),
        "same_as_fresh": same,
        "bytes_of_days": len(lines),
        "campaigns": [
            {
                "campaign": one.campaign_id,
                "accounts": one.accounts,
                "rate": one.rate,
                "mix": one.mix,
                "families": one.families,
                "named_on": alerts.get(one.campaign_id),
                "named_by_find": one.campaign_id in by_find,
            }
            for one in truth.campaigns
        ],
        "false_by_find": by_find.count(None),
    }


def _day(name: str, seconds: float, report: DailyReport, cases: list[str | None]) -> dict[str, Any]:
    return {
        "day": name,
        "seconds": round(seconds, 1),
        "candidates": report.followed,
        "stand": report.stand,
        "undeclared": report.undeclared,
        "cases": len(cases),
        "false": cases.count(None),
    }


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all worlds come to."""
    fair = [
        one
        for row in rows
        for one in row["campaigns"]
        if is_fair(one["families"], one["accounts"], one["mix"])
    ]
    return {
        "worlds": len(rows),
        "benign_requests": sum(row["benign"] for row in rows),
        "campaigns": len(fair),
        "named": sum(one["named_on"] is not None for one in fair),
        "named_by_find": sum(one["named_by_find"] for one in fair),
        "false": sum(row["days"][-1]["false"] for row in rows),
        "false_by_find": sum(row["false_by_find"] for row in rows),
        "seconds_of_last_day": [row["days"][-1]["seconds"] for row in rows],
        "find_s": [row["find_s"] for row in rows],
        "all_same_as_fresh": all(row["same_as_fresh"] for row in rows),
    }


def main() -> None:
    """Follow the worlds, and write what came of them after each."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("--worlds", type=int, default=4)
    arguments.add_argument("--first", type=int, default=0, help="the first world's seed")
    arguments.add_argument("--requests", type=int, default=200_000)
    arguments.add_argument("--days", type=int, default=7)
    arguments.add_argument("--privacy", default="full")
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    for number in range(given.first, given.first + given.worlds):
        plan = Plan(number, given.requests, days=given.days)
        rows.append(followed(plan, given.work, given.privacy))
        said = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "figures": summed(rows),
            "worlds": rows,
        }
        given.out.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        print(f"world {number}: {json.dumps(said['figures'])}", flush=True)


if __name__ == "__main__":
    main()
