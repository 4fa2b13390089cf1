"""`watch find` beside four baselines that judge one account at a time, on the same worlds.

Volume, an isolation forest over an account's figures, templates by exact hash, and MMD of one
account's window against benign traffic (arXiv 2606.05725, with an embedding that needs no network).
The worlds are those of benchmarks/watch_find.py, which has to have been run with the same --work
and the same arguments; worlds that it deleted are made again. Windows are one account's requests
of a day, and of the whole week; thresholds are the best that each baseline could have
(watched/comparing.py). A world's windows are kept in --work/windows, so that a kill costs one
world.

    python benchmarks/watch_baselines.py --worlds 8 --work DIR --out FILE.json [--held-out]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from commits import commit
from watch_find import parser, plans
from watched import worlds
from watched.baselines import BASELINES, LENGTHS, Clock, History, history_of, scored, with_truth
from watched.comparing import MMD_RATE, Windows, compared, joined, sizes_of
from watched.kernels import null_quantiles
from watched.searching import Search, row_of
from watched.windows import Length
from watched.worlds import Plan

# The seed of the world without campaigns that is the history, and its size.
HISTORY, HISTORY_REQUESTS = 900_000, 200_000
# The paper's null is drawn for windows of these sizes; a longer one is held to the last's.
_SIZES = tuple(2**k for k in range(1, 9))
Seconds = Mapping[str, float]


def timed_baselines(world: Path, history: Path | None = None) -> list[dict[str, Any]]:
    """Return a row a baseline: its seconds over a world's account days, and a million requests'.

    What is fitted on the history (the world itself, where there is none) is timed apart.
    """
    fitting, running = Clock(), Clock()
    found = history_of(history or world, ("day",), fitting)
    scored(world, found, ("day",), running)
    requests = sum(
        pq.read_metadata(path).num_rows for path in (world / "requests").glob("*.parquet")
    )
    return [
        {
            "baseline": name,
            "seconds": round(running.seconds[name], 2),
            "fit_seconds": round(fitting.seconds[name], 2),
            "requests": requests,
            "seconds_per_million": round(running.seconds[name] / requests * 1e6, 2),
        }
        for name in BASELINES
    ]


def windows_at(
    plan: Plan, work: Path, history: History, *, keep: bool
) -> tuple[dict[Length, pa.Table], Seconds]:
    """Return a world's windows with scores and truth, and each baseline's seconds."""
    folder = work / "windows"
    files = {length: folder / f"{plan.name}-{length}.parquet" for length in LENGTHS}
    clock_file = folder / f"{plan.name}.json"
    if not clock_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        there = (work / plan.name / "world.json").exists()
        world, clock = worlds.made(plan, work), Clock()
        for length, table in scored(world, history, clock=clock).items():
            pq.write_table(with_truth(world, length, table), files[length])
        clock_file.write_text(json.dumps(clock.seconds), encoding="utf-8")
        if not (there or keep):
            worlds.forgotten(world, work / f"{plan.name}-none")
    seconds: Seconds = json.loads(clock_file.read_text(encoding="utf-8"))
    return {length: pq.read_table(path) for length, path in files.items()}, seconds


def published(windows: Windows, history: History) -> float:
    """Return which share of innocent windows passes the paper's own threshold, at MMD_RATE.

    Its null windows are drawn from everybody's requests. One account's are not like that.
    """
    limits = null_quantiles(history.reference, history.vectors_ND, _SIZES, MMD_RATE)
    size = np.minimum(2 ** sizes_of(windows), _SIZES[-1])
    limit = np.array([limits[int(one)] for one in size])
    over = np.asarray(windows.table["mmd"], np.float64) > limit
    return float(over[windows.benign_N].mean())


def claims(day: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is claimed, over account days: recall where cases with an E of so much are taken
    that a hundredth of MMD's share of innocent windows is flagged, less MMD's recall; and the share
    of innocent windows in any case, as a part of MMD's."""
    ours = day["ours"]
    mmd = next(point for point in day["baselines"]["mmd"]["roc"] if point["asked for"] == MMD_RATE)
    least = next(point for point in ours["roc"] if point["asked for"] == MMD_RATE / 100)
    windows = day["benign windows"]
    found = {}
    for name, people in (
        ("recall_vs_mmd", "headline"),
        ("recall_vs_mmd_any", "headline, any mix and families"),
    ):
        mine, theirs = least["recall"][people], mmd["recall"][people]
        found[name] = {
            "value": None if mine is None or theirs is None else mine - theirs,
            "unit": "recall by requests of campaigns of 26 a day at 0.003%, less MMD's at 0.3%",
            "runs": day["campaigns"][people],
            "ours": mine,
            "ours_all_cases": ours["recall"][people],
            "mmd": theirs,
        }
    found["fpr_vs_mmd"] = {
        "value": least["rate"] / mmd["rate"] if mmd["rate"] else None,
        "unit": "of MMD's share of innocent account days, at that threshold",
        "runs": windows,
    }
    found["fpr_all_cases_vs_mmd"] = {
        "value": ours["rate"] / mmd["rate"] if mmd["rate"] else None,
        "unit": "of MMD's share of innocent account days, all cases",
        "runs": windows,
        "false_positives": ours["false positives"],
        "upper_95": ours["rate, upper 95%"] / mmd["rate"] if mmd["rate"] else None,
    }
    return found


def told(plans_: Sequence[Plan], given: argparse.Namespace, history: History) -> dict[str, Any]:
    """Return what --out holds."""
    search = Search(given.work, given.level, given.privacy)
    rows = [row_of(plan, search) for plan in plans_]
    each = [windows_at(plan, given.work, history, keep=given.keep) for plan in plans_]
    requests = sum(one["day"]["requests"].to_numpy().sum() for one, _ in each)
    figures = {}
    for length in LENGTHS:
        windows = joined([tables[length] for tables, _ in each], rows)
        figures[length] = compared(windows, rows) | {
            "innocent windows above MMD's threshold as published": published(windows, history)
        }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "worlds": [plan.name for plan in plans_],
        "claims": claims(figures["day"]),
        "figures": figures,
        "seconds a million requests, both windows": {
            name: round(sum(s[name] for _, s in each) / requests * 1e6, 2) for name in BASELINES
        },
    }


def main() -> None:
    given = parser().parse_args()
    wanted = plans(given)
    search = Search(given.work, given.level, given.privacy)
    missing = [plan.name for plan in wanted if not search.row_file(plan).exists()]
    if missing:
        sys.exit(f"no row of {', '.join(missing)}: run benchmarks/watch_find.py with the same")
    quiet = worlds.made(Plan(HISTORY, HISTORY_REQUESTS, quiet=True), given.work)
    history = history_of(quiet)
    for plan in wanted:
        _, seconds = windows_at(plan, given.work, history, keep=given.keep)
        print(plan.name, {name: round(s, 1) for name, s in seconds.items()}, flush=True)
    found = told(wanted, given, history)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["claims"], indent=1))


if __name__ == "__main__":
    main()
