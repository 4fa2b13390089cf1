"""What the suspects of SmolLM2 come to: rows and claims of zoo.json, beside the nano models'."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from checked import READING, TWINS, check_logs, curves_of, shortened
from figures import Row, configurations, counted, greatest
from world import SCHEMES

from potstill.trace.verdict import ACCUSING

FOLDER = "smollm2"
TEXT = 1e-3


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that there are, in the order of the list of suspects, with their curves.

    Raises SystemExit where a raw log is another's, or findings are of several plans.
    """
    from smollm2 import TEXT_DIGEST, suspects

    order = [suspect.name for suspect in suspects()]
    found = [json.loads(path.read_text()) for path in (folder / FOLDER / "found").glob("*.json")]
    if len({row["plan"] for row in found}) > 1:
        raise SystemExit("the rows of SmolLM2 are of several plans; run them again under one")
    # Whoever learnt no mark may have been asked under the first plan of text alone.
    if {row["text_plan"] for row in found if "text_plan" in row or row["served"]} - {TEXT_DIGEST}:
        raise SystemExit("text was asked for under another plan; run smollm2.py --text-again")
    told = []
    for row in sorted(found, key=lambda row: order.index(row["name"])):
        check_logs(folder / FOLDER, row)
        curves = curves_of(folder / FOLDER, row, SCHEMES)
        told.append({"part": FOLDER, **row, "tests": shortened(row["tests"]), "curves": curves})
    return told


def fresh_rows(folder: Path) -> list[dict[str, Any]]:
    """Return what the teacher came to under each fresh key."""
    paths = sorted((folder / FOLDER).glob("fresh-*/found.json"))
    return [json.loads(path.read_text()) for path in paths]


def claims_of(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return the claims about SmolLM2's suspects; none where none was run."""
    if not rows:
        return {}
    planned = configurations(rows)
    full = [row for row in rows if row["share"] == 1.0]
    own = {
        "reading": ([(row, f"watermark-reading {row['served']}") for row in full], READING),
        "text": ([(row, f"watermark-text {row['served']}") for row in full], TEXT),
        "twins": ([(row, "twins green") for row in full if row["served"] == "green"], TWINS),
    }
    return {
        "smollm2_innocents_accused": counted(rows, ACCUSING),
        **{
            f"smollm2_{name}_p_max": greatest(pairs, planned, target)
            for name, (pairs, target) in own.items()
        },
    }


def to_keep(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return whose raw logs of which tests are committed: of the marked ones, of their own mark."""
    return [
        (row, name)
        for row in rows
        if row["share"] == 1.0
        for name in row["tests"]
        if name.partition(" ")[2] == row["served"]
    ]
