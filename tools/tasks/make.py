"""Write the two tasks that ship with potstill.

    python tools/tasks/make.py [FOLDER]

The same files come out everywhere. Half of the held-out rows use only wordings, things, places
and names that no training row has (column `wording`: new), half combine known ones anew. Training
rows that resemble a held-out one are dropped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import orders
import routing
from blake3 import blake3

from potstill.exchanges.overlap import overlap

TRAIN = 1680
HELD_OUT = 1050
# Rows drawn for each row kept, so that what is dropped can be made up for.
SURPLUS = 2
FOLDER = Path(__file__).parents[2] / "src" / "potstill" / "data" / "tasks"

Row = dict[str, str]
# (class, number, new wording?) -> row
Maker = Callable[[int, int, bool], Row]


def split(make: Maker, classes: int) -> tuple[list[Row], list[Row]]:
    """Return training and held-out rows, as many of each class."""
    each = HELD_OUT // classes
    held_out = [make(c, i, i % 2 == 0) for c in range(classes) for i in range(each)]
    drawn = [
        [make(c, each + i, False) for i in range(SURPLUS * TRAIN // classes)]
        for c in range(classes)
    ]
    pools = _distinct(drawn, {row["message"] for row in held_out})
    while True:
        train = [row for pool in pools for row in pool[: TRAIN // classes]]
        near = set(overlap(_messages(train), _messages(held_out)).train_indices)
        if not near:
            break
        dropped = {train[i]["message"] for i in near}
        pools = [[row for row in pool if row["message"] not in dropped] for pool in pools]
    if len(train) < TRAIN:
        raise SystemExit("too few rows are left: raise SURPLUS, or add wordings")
    return _shuffled(train), _shuffled(held_out)


def files() -> dict[str, str]:
    """Return the content of every file, by name."""
    routed = split(
        lambda c, i, new: routing.row(routing.QUEUES[c], f"routing:{c}:{i}", new=new),
        len(routing.QUEUES),
    )
    # Classes of orders are numbers, so that dated and undated rows have the same share in both.
    ordered = split(
        lambda c, i, new: orders.row(f"orders:{c}:{i}", dated=c * 10 < orders.DATED, new=new), 10
    )
    return {
        "routing.jsonl": _lines(routed[0]),
        "routing-held-out.jsonl": _lines(routed[1]),
        "orders.jsonl": _lines(ordered[0]),
        "orders-held-out.jsonl": _lines(ordered[1]),
        "orders-schema.json": json.dumps(orders.SCHEMA, indent=2) + "\n",
    }


def _distinct(pools: Sequence[Sequence[Row]], taken: set[str]) -> list[list[Row]]:
    seen = set(taken)
    kept = []
    for pool in pools:
        rows = []
        for row in pool:
            if row["message"] not in seen:
                seen.add(row["message"])
                rows.append(row)
        kept.append(rows)
    return kept


def _messages(rows: Sequence[Row]) -> list[str]:
    return [row["message"] for row in rows]


def _shuffled(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: blake3(row["message"].encode()).digest())


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in files().items():
        (folder / name).write_bytes(text.encode())


if __name__ == "__main__":
    main()
