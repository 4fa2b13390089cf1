"""Put what watch_find.py and watch_baselines.py measured on record, and write the pages.

    python benchmarks/watch_results.py --open OPEN.json --held-out HELD.json --baselines BASE.json

Writes benchmarks/results/watch_find.json and watch_baselines.json; then
benchmarks/readme_results.py writes the tables of docs/methods/watch-measured.md and the README.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import write_results

Found = Mapping[str, Any]
# Claims about a part: name, figure, unit, and the figure that says over how many.
CLAIMS = (
    ("recall_weighted", "recall by requests", "of the campaigns' requests", "to be found"),
    ("recall_by_campaign", "recall by campaign", "mean share of a campaign's requests",
     "to be found"),
    ("named", "named", "of the campaigns that are to be found", "to be found"),
    ("false_cases_per_million", "false cases a million, upper 95%",
     "benign requests, upper 95% Poisson bound", "benign requests"),
    ("false_cases_per_million_awkward", "awkward false cases a million, upper 95%",
     "requests of awkward innocents, upper 95% Poisson bound", "awkward requests"),
    ("false_cases_per_million_worst", "worst kind a million, upper 95%",
     "requests of the worst kind, upper 95% Poisson bound", "worst kind's requests"),
    ("b_cubed_precision", "B-cubed precision", "over accounts in cases", "accounts in true cases"),
    ("innocents_swept", "innocents in true cases", "accounts", "accounts in true cases"),
    ("leaked", "share of them", "of an alerted campaign's requests, before the first alert",
     "alerted"),
)  # fmt: skip
_DETAILS = {
    "false_cases_per_million": {"false_cases": "false cases"},
    "false_cases_per_million_awkward": {"false_cases": "awkward false cases"},
    "false_cases_per_million_worst": {"kind": "worst kind"},
}
_OF_WORLD = ("world", "made_s", "ingest_s", "find_s", "peak_gb", "candidates", "benign")


def claims_of(part: str, figures: Found) -> dict[str, dict[str, Any]]:
    """Return the claims of a part; a figure that was not measured makes none."""
    return {
        f"{name}_{part}": {"value": figures[key], "unit": unit, "runs": figures[runs]}
        | {detail: figures[of] for detail, of in _DETAILS.get(name, {}).items()}
        for name, key, unit, runs in CLAIMS
        if figures.get(key) is not None
    }


def rows_of(part: str, found: Found) -> Iterator[dict[str, Any]]:
    """Return the rows of a part: its figures, then its worlds."""
    sort = sorted({world["sort"] for world in found["worlds"]})
    yield {
        "part": part,
        "ran": found["date"],
        "commit": found["commit"],
        "sort": sort,
        "figures": found["figures"],
    }
    for world in found["worlds"]:
        yield {"part": f"{part}: world"} | {name: world[name] for name in _OF_WORLD}


def commits_of(files: Sequence[Found]) -> str:
    """Return the commit that was measured, or all of them."""
    return ", ".join(sorted({found["commit"] for found in files}))


def record_daily(found: Found) -> None:
    """Put on record what following worlds day by day named, beside one search of the whole."""
    figures = found["figures"]
    units = {
        "named": "campaigns that are to be found",
        "named_by_find": "of them by one search of all days",
        "false": "false cases",
    }
    claims = {
        f"{name}_daily": {"value": figures[name], "unit": unit, "runs": figures["campaigns"]}
        for name, unit in units.items()
    }
    rows = [{"part": "all", "figures": figures}, *found["worlds"]]
    print(write_results("watch_daily", claims, rows, torch.float32, ran_at=found["commit"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--open", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--baselines", type=Path, help="of the open mechanisms' worlds")
    parser.add_argument("--baselines-held-out", type=Path)
    parser.add_argument("--daily", type=Path, help="what watch_daily.py wrote")
    given = parser.parse_args()
    parts = {"open": given.open, "held_out": given.held_out}
    found = {part: json.loads(path.read_text("utf-8")) for part, path in parts.items() if path}
    if found:
        claims = {
            k: v for part, one in found.items() for k, v in claims_of(part, one["figures"]).items()
        }
        rows = [row for part, one in found.items() for row in rows_of(part, one)]
        at = commits_of(list(found.values()))
        print(write_results("watch_find", claims, rows, torch.float32, ran_at=at))
    if given.daily:
        record_daily(json.loads(given.daily.read_text("utf-8")))
    parts = {"open": given.baselines, "held_out": given.baselines_held_out}
    beside = {part: json.loads(path.read_text("utf-8")) for part, path in parts.items() if path}
    if beside:
        claims = {
            f"{k}_{part}": v for part, one in beside.items() for k, v in one["claims"].items()
        }
        rows = [
            {"part": part} | {k: v for k, v in one.items() if k != "claims"}
            for part, one in beside.items()
        ]
        at = commits_of(list(beside.values()))
        print(write_results("watch_baselines", claims, rows, torch.float32, ran_at=at))


if __name__ == "__main__":
    main()
