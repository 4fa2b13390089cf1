"""What rows of a zoo are checked against, and cut short from: their raw logs."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from curves import again, curve, least_of, read_log, scores_for, share_for
from figures import Row
from files import log_of

from potstill.canonical import digest_of_bytes

# Targets of the curves' sizes; of reading and of twins they are those of the claims.
READING, TEXT_FURTHER, FIVE, TWINS = 1e-12, 1e-6, 1e-3, 1e-4
TARGETS = {"watermark-reading": READING, "watermark-text": TEXT_FURTHER, "twins": TWINS}


def check_logs(folder: Path, row: Row) -> None:
    """Raise SystemExit where a raw log is not the one that a row's findings come from."""
    for name, test in row["tests"].items():
        if "raw" in test:
            path = log_of(folder, row["name"], name)
            if digest_of_bytes(path.read_bytes(), 32) != test["raw"]:
                raise SystemExit(f"the raw log {path.name} of {row['name']} is another one's")


def curves_of(
    folder: Path, row: Row, schemes: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the curves of a suspect's own configurations, with the size to reach the target.

    Raises SystemExit where a finding computed again differs from the row's.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, test in row["tests"].items():
        kind, _, configuration = name.partition(" ")
        if "finding" not in test or configuration != row["served"] or kind not in TARGETS:
            continue
        mark = schemes.get(configuration, {})
        log = read_log(log_of(folder, row["name"], name))
        # Text of SmolLM2's suspects was asked for once more, under a plan of its own.
        plan = row.get("text_plan", row["plan"]) if kind == "watermark-text" else row["plan"]
        whole = again(name, log, mark, plan, least=least_of(row))
        if whole is None or abs(whole.log10_p - test["finding"]["log10_p"]) > 1e-6:
            raise SystemExit(f"{name} of {row['name']} does not come from its raw log")
        points = curve(name, log, mark, plan, least_of(row))
        # The claim about a small share has a target of its own, after two schemes.
        target = FIVE / len(schemes) if row["share"] == 0.05 else TARGETS[kind]
        reach = share_for(points, math.log10(target))
        found[name] = {"points": points, "target": target, "times_this_size": reach}
        if kind == "watermark-reading":
            found[name]["scores_for_target"] = scores_for(mark, test["finding"]["effect"], target)
        if kind == "watermark-text":
            found[name]["tokens_asked"] = sum(len(one["ids"]) for one in log)
    return found


def shortened(tests: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's tests without the sentences that a reader has to grant: those of trace.md."""
    return {
        name: test | {"finding": {k: v for k, v in test["finding"].items() if k != "assumes"}}
        if "finding" in test
        else test
        for name, test in tests.items()
    }
