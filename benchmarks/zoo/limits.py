"""From the zoo's findings to the table of what each test finds at which sizes.

    python benchmarks/zoo/limits.py

Writes src/potstill/data/trace-limits.json, which ships with potstill, from
benchmarks/results/zoo.json. A trace's plan takes from it what is about its tests
(potstill.trace.limits).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from common import RESULTS
from figures import ALPHA, KIN, Row, configurations, corrected, last_epoch, test_of

TABLE = Path(__file__).parents[2] / "src" / "potstill" / "data" / "trace-limits.json"
# What is claimed of whoever a test is to find, and so who is innocent of it.
CLAIMS = {
    "watermark-text": "outputs",
    "watermark-reading": "outputs",
    "twins": "outputs",
    "order": "descent",
    "weights": "weights",
}
DIRECT = "marked"
# Controls of tests that look for a common past, in words.
RELATIVES = {
    "base": "bases that the teacher was trained from",
    "sibling": "siblings of the teacher",
    "tuned": "tuned copies of the teacher",
    "pruned": "pruned copies of the teacher",
}


def limits_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the table's rows from zoo.json: of nano models, then of SmolLM2's copies."""
    rows = found["rows"]
    (sizes,) = (row for row in rows if row["part"] == "sizes")
    date = found["date"][:10]
    nano = [row for row in rows if row["part"] == "suspect"]
    nano = [row for row in nano if row["epoch"] == last_epoch(nano)]
    real = [row for row in rows if row["part"] == "smollm2"]
    told = _table(nano, sizes, f"potstill's zoo of {date}: nano models of a made-up language")
    if real:
        first = real[0]
        learnt = {row["served"]: row["trained"]["tokens"] for row in real if row["share"]}
        own = {
            "parameters": first["parameters"],
            "tokens": learnt,
            "schemes": sizes["schemes"],
        }
        where = f"potstill's zoo of {date}: copies of {first['teacher']}, last blocks trained"
        told += _table(real, own, where)
    return told


def _table(rows: Sequence[Row], sizes: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    planned = configurations(rows)
    names = list(dict.fromkeys(name for row in rows for name in row["tests"]))
    return [
        limit for name in names if (limit := _limit(rows, name, planned, sizes, where)) is not None
    ]


def _limit(
    rows: Sequence[Row],
    name: str,
    planned: Mapping[str, int],
    sizes: Mapping[str, Any],
    where: str,
) -> dict[str, Any] | None:
    """Return what one configuration of a test found; None where it had nobody to find."""
    test, _, configuration = name.partition(" ")
    if test not in CLAIMS:  # agreement accuses nobody, and has no false claim
        return None
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        if (group := _group(row, test, configuration)) is not None:
            groups.setdefault(group, []).append(row)
    points = [
        point
        for (what, share), members in sorted(groups.items(), key=_most_first)
        if (point := _point(members, name, planned, what, share)) is not None
    ]
    if not points:
        return None
    innocents = [row for row in rows if _innocent(row, test)]
    hit, asked, _ = _counted(innocents, name, planned)
    mark = sizes["schemes"].get(configuration)
    reads_text = CLAIMS[test] == "outputs"
    return {
        "test": test,
        "parameters": sizes["parameters"],
        "tokens": sizes["tokens"][configuration] if reads_text else None,
        "alpha": ALPHA,
        "points": points,
        "innocents_found": hit,
        "innocents": asked,
        "measured": where,
        "scheme": None if mark is None else mark["scheme"],
        "settings": {}
        if mark is None or test == "twins"
        else {key: float(value) for key, value in mark.items() if key != "scheme"},
    }


def _most_first(group: tuple[tuple[str, float | None], Any]) -> tuple[float, str]:
    (what, share), _ = group
    return -(share or 0.0), what


def _group(row: Row, test: str, configuration: str) -> tuple[str, float | None] | None:
    """Return which controls of a test a suspect is one of, in words; None of none."""
    claim = CLAIMS[test]
    if claim != "outputs":
        if claim not in row["claims"]:
            return None
        if row["kind"] in KIN:
            return RELATIVES[KIN[row["kind"]]], None
        return ("such copies", None) if row.get("trained") else None
    share = _share(row, test, configuration)
    if share is None:
        return None
    much = "all" if share == 1 else f"{share:.0%}"
    if test == "twins":
        return f"that learnt {much} of the served answers", share
    return f"with {much} of the text marked", share


def _share(row: Row, test: str, configuration: str) -> float | None:
    """Return how much of what a student learnt is of a configuration; None where it is another's.

    Of partly marked text the rest are unmarked answers of the same teacher: a share of the log
    without a mark.
    """
    direct = row["kind"].endswith(DIRECT) or row["kind"] == "unmarked answers"
    if not direct or "outputs" not in row["claims"]:
        return None
    if row["served"] == configuration and row["share"]:
        return float(row["share"])
    rest = round(1.0 - row["share"], 9)
    return rest if test == "twins" and configuration == "plain" and rest > 0 else None


def _innocent(row: Row, test: str) -> bool:
    """Tell whether a test's claim is false of a suspect."""
    claim = CLAIMS[test]
    return row["innocent"] if claim == "outputs" else claim not in row["claims"]


def _point(
    rows: Sequence[Row], name: str, planned: Mapping[str, int], what: str, share: float | None
) -> dict[str, Any] | None:
    hit, asked, scores = _counted(rows, name, planned)
    if not asked:
        return None
    return {"what": what, "share": share, "found": hit, "of": asked, "scores": scores}


def _counted(rows: Iterable[Row], name: str, planned: Mapping[str, int]) -> tuple[int, int, int]:
    """Return how many suspects a test found, of how many, and the least n that it had."""
    asked = [
        (p, row["tests"][name]["finding"]["n"])
        for row in rows
        if (p := corrected(row, name, planned[test_of(name)])) is not None
    ]
    hit = sum(10**p <= ALPHA for p, _ in asked)
    return hit, len(asked), min((n for _, n in asked), default=0)


def write_table(found: Mapping[str, Any]) -> Path:
    """Write the table that ships with potstill; returns its file."""
    TABLE.write_text(json.dumps(limits_of(found), indent=1) + "\n", encoding="utf-8")
    return TABLE


def main() -> None:
    found = json.loads((RESULTS / "zoo.json").read_text(encoding="utf-8"))
    print(write_table(found))


if __name__ == "__main__":
    main()
