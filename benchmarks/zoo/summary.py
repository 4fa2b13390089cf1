"""What the zoo comes to: benchmarks/results/zoo.json from the rows and raw logs of a run.

    python benchmarks/zoo/summary.py FOLDER [--peers OUT] [--dry FILE]

FOLDER is the one of `run.py`, OUT that of `peers.py`. Every raw log is hashed again, and the
findings that have curves are computed again from it. `--dry` writes to another file, and copies no
logs. The teacher's own share of answers that end by themselves is measured where it is not known
yet.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import smollm2_summary
import torch
from checked import FIVE, READING, TWINS, check_logs, curves_of, shortened
from common import RESULTS, write_results
from curves import read_log, stop_rate
from figures import (
    Row,
    ancestry,
    configurations,
    counted,
    degraded,
    greatest,
    learnt_all,
    marked,
    power,
    resembling,
    zero_of,
)
from files import file_of, log_of
from limits import write_table

from potstill.trace.verdict import ACCUSING

# The target of the claim about text; curves go further.
TEXT = 1e-3
# Tests whose raw logs are kept, and how many bytes all may take together.
KEPT = ("watermark-reading", "twins", "watermark-text")
MOST_KEPT = 2_300_000


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that there are, in the order of the zoo's list of suspects.

    Raises SystemExit where two of them answered different plans.
    """
    rows = [json.loads(path.read_text()) for path in sorted((folder / "found").glob("*.json"))]
    if len({row["plan"] for row in rows}) != 1:
        raise SystemExit("the rows are of no plan or of several; run them again under one")
    order = {name: i for i, name in enumerate(_names())}
    return sorted(rows, key=lambda row: order.get(row["name"], len(order)))


def _names() -> list[str]:
    from suspects import everybody

    return [suspect.name for suspect in everybody()]


def stops(folder: Path, row: Row, end: int) -> float | None:
    """Return the share of a suspect's answers that ended by themselves.

    None for one with another tokenizer, whose end is not among the teacher's ids.
    """
    name = "watermark-text green"
    if "finding" not in row["tests"].get("watermark-reading green", {}):
        return None
    return stop_rate(read_log(log_of(folder, row["name"], name)), end)


def teacher_stops(folder: Path) -> tuple[float, int]:
    """Return the teacher's share of answers that end, asked as suspects are, and its end's id."""
    from plans import SAMPLES, Owner, in_text
    from world import World

    owner = Owner(World(folder))
    end = int(owner.teacher.tokenizer.eos_token_id)
    log = [item.model_dump() for item in in_text(owner, owner.teacher, "green", SAMPLES).items]
    return stop_rate(log, end), end


def peer_rows(out: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what the peers say, each beside what is true of the suspect.

    Raises SystemExit where a peer was given other weights than the tests were.
    """
    known, found = {row["name"]: row for row in rows}, []
    for path in sorted((out / "found").glob("*/*.json")):
        said = json.loads(path.read_text())
        row = known.get(said["name"])
        if row is None:
            continue
        if said["weights"] != row["weights"]:
            raise SystemExit(f"{said['peer']} was given other weights of {said['name']}")
        about = {key: row[key] for key in ("kind", "claims", "innocent", "indirect")}
        found.append({"part": "peer", **said, **about})
    return found


def falsely_derived(row: Row) -> bool:
    """Tell whether a peer calls a model derived that neither learnt from the teacher nor is kin."""
    return bool(row["derived"] and not row["claims"] and not row["indirect"])


def peer_claims(said: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return the claims about peers, each as it comes and all of them together."""
    claims = {}
    strangers = [row for row in said if not row["claims"] and not row["indirect"]]
    for peer in dict.fromkeys(row["peer"] for row in said):
        asked = [row for row in strangers if row["peer"] == peer]
        claims[f"peer_innocents_accused: {peer}"] = _peer_claim(asked)
    as_it_comes = [row for row in strangers if "prompts of the zoo" not in row["peer"]]
    return {"peer_innocents_accused": _peer_claim(as_it_comes)} | claims


def _peer_claim(asked: Sequence[Row]) -> dict[str, Any]:
    names = {row["name"] for row in asked}
    wrong = {row["name"] for row in asked if falsely_derived(row)}
    methods: Counter[str] = Counter()
    for row in asked:
        methods.update(name for name, one in row["methods"].items() if one["derived"])
    return {
        "value": len(wrong),
        "unit": f"innocents called derived, of {len(names)} that are no kin of the teacher",
        "runs": len(names),
        "by_method": dict(methods),
    }


def claims_of(rows: Sequence[Row], said: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return every claim of the zoo."""
    planned = configurations(rows)
    innocents = [row for row in rows if row["innocent"]]
    full = marked(rows, 1.0)
    reading = [(row, f"watermark-reading {row['served']}") for row in full]
    text = [(row, f"watermark-text {row['served']}") for row in full]
    five = [(row, f"watermark-reading {row['served']}") for row in marked(rows, 0.05)]
    ranked = [(row, f"twins {log}") for log in ("plain", "green") for row in learnt_all(rows, log)]
    pruned = [one for one in ancestry(rows) if one["kind"] == "pruned"]
    claims: dict[str, dict[str, Any]] = {
        "innocents": {
            "value": len(innocents),
            "unit": "models",
            "runs": 1,
            "by_kind": dict(Counter(row["kind"] for row in innocents)),
        },
        "innocents_accused": counted(rows, ACCUSING),
    }
    for test in sorted(ACCUSING):
        name = f"innocents_accused_{test.replace('-', '_')}"
        claims[name] = counted(rows, frozenset((test,)))
    return {
        **claims,
        "innocents_like_the_teacher": resembling(rows),
        "zero_of_innocents_upper_95": {
            "value": zero_of(len(innocents)) if innocents else 1.0,
            "unit": "chance, where none of these innocents is accused",
            "runs": len(innocents),
        },
        "marked_full_reading_p_max": greatest(reading, planned, READING),
        "marked_full_text_p_max": greatest(text, planned, TEXT),
        "marked_5pct_p": greatest(five, planned, FIVE),
        "twins_p_max": greatest(ranked, planned, TWINS),
        "pruned_called_derived_weights": {
            "value": int(bool(pruned) and all(_weights_alone(one["called"]) for one in pruned)),
            "unit": "1 if derived weights and never distilled outputs",
            "runs": len(pruned),
            "called": [one["called"] for one in pruned],
        },
        **(peer_claims(said) if said else {}),
    }


def _weights_alone(said: Sequence[str]) -> bool:
    return "derived weights" in said and "distilled outputs" not in said


def tables(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what is told by kind, of relatives, and of degraded models."""
    return [
        *({"part": "power", **one} for one in power(rows)),
        *({"part": "ancestry", **one} for one in ancestry(rows)),
    ]


def to_keep(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return whose raw logs of which tests are committed, the most wanted first.

    They are those of the headline and of students of the unmarked log, each in its own scheme or
    log, and two innocents'.
    """
    own = [*(row for row in rows if row["headline"]), *learnt_all(rows, "plain")]
    strangers = [row for row in rows if row["innocent"] and not row["claims"]]
    wanted = [
        *((row, f"{test} {row['served']}") for test in KEPT for row in own),
        *((row, name) for row in strangers[:: max(1, len(strangers) - 1)] for name in row["tests"]),
    ]
    return [(row, name) for row, name in wanted if "raw" in row["tests"].get(name, {})]


def kept_as(folder: Path, wanted: Sequence[tuple[Row, str]], of: str = "") -> dict[str, Path]:
    """Return raw logs by the file that each is kept as; `of` stands before a suspect's name."""
    return {
        f"{of}{file_of(row['name'])}/{name.replace(' ', '-')}.jsonl.xz": log_of(
            folder, row["name"], name
        )
        for row, name in wanted
    }


def keep_logs(logs: Mapping[str, Path], target: Path) -> list[str]:
    """Copy raw logs, compressed, as far as they fit; returns their files."""
    if target.exists():
        shutil.rmtree(target)
    kept: list[str] = []
    left = MOST_KEPT
    for file, log in logs.items():
        packed = lzma.compress(log.read_bytes(), preset=9)
        if len(packed) <= left:
            left -= len(packed)
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_bytes(packed)
            kept.append(file)
    return kept


def whole_rows(folder: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the suspects' rows with curves and stop rates; each raw log is checked on the way."""
    from world import SCHEMES

    teacher, end = teacher_stops(folder)
    found: list[dict[str, Any]] = []
    for row in rows:
        check_logs(folder, row)
        rate = stops(folder, row, end)
        own = row["headline"] or row["kind"] == "unmarked answers" or row["share"] == 0.05
        facts = {
            "part": "suspect",
            **row,
            "tests": shortened(row["tests"]),
            "stops": rate,
            "teacher_stops": teacher,
            "degraded": degraded(rate, teacher),
        }
        found.append(facts | ({"curves": curves_of(folder, row, SCHEMES)} if own else {}))
    return found


def sizes(folder: Path) -> dict[str, Any]:
    """Return how large the zoo's models are, and how many tokens each served log has."""
    from plans import POSITIONS, Owner
    from suspects import EPOCHS, GUILTY_BASES, everybody
    from world import NATS, SCHEMES, World

    world = World(folder)
    owner = Owner(world)
    logs = ("plain", *SCHEMES)
    served = {log: owner.served(None if log == "plain" else log) for log in logs}
    return {
        "part": "sizes",
        "teacher": f"nano, {NATS:g} nats",
        "parameters": world.base(GUILTY_BASES[0]).parameters,
        "tokens": {log: sum(len(row.ids[1]) for row in rows) for log, rows in served.items()},
        "distinct_tokens": {
            log: len({token for row in rows for token in row.ids[1]})
            for log, rows in served.items()
            if log in SCHEMES
        },
        "texts": {log: len(rows) for log, rows in served.items()},
        "epochs": EPOCHS,
        "schemes": SCHEMES,
        "planned": dict(Counter(str(suspect.epoch) for suspect in everybody())),
        "positions": POSITIONS,
    }


def _asked(rows: Sequence[Row]) -> list[int]:
    """Return how many tokens each of the headline's suspects was asked for."""
    curves = [one for row in rows if row.get("headline") for one in row["curves"].values()]
    return [one["tokens_asked"] for one in curves if "tokens_asked" in one]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--dry", type=Path, help="Write to this file instead.")
    given = parser.parse_args()
    rows = read_rows(given.folder)
    said = peer_rows(given.peers, rows) if given.peers else []
    real = smollm2_summary.rows_of(given.folder)
    claims = claims_of(rows, said) | smollm2_summary.claims_of(real)
    every = [
        *whole_rows(given.folder, rows),
        *tables(rows),
        *said,
        *real,
        *smollm2_summary.fresh_rows(given.folder),
        sizes(given.folder),
    ]
    claims["marked_full_text_p_max"]["tokens_asked_max"] = max(_asked(every), default=0)
    if given.dry:
        found = json.dumps({"claims": claims, "rows": every}, indent=1)
        given.dry.write_text(found + "\n", encoding="utf-8")
    else:
        logs = smollm2_summary.to_keep(real)
        own = kept_as(given.folder / smollm2_summary.FOLDER, logs, f"{smollm2_summary.FOLDER}-")
        kept = keep_logs(own | kept_as(given.folder, to_keep(rows)), RESULTS / "zoo")
        claims["innocents"]["raw_logs_kept"] = kept
        path = write_results("zoo", claims, every, torch.float32)
        write_table(json.loads(path.read_text(encoding="utf-8")))
    for name, claim in claims.items():
        print(f"{name}: {claim['value']} ({claim['unit']})")


if __name__ == "__main__":
    main()
