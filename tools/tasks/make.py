"""Write the two tasks that ship with potstill.

    python tools/tasks/make.py [FOLDER]

The same files come out everywhere. A third of the held-out rows put the words of the training rows
together anew (column `wording`: known); a third use only words that no training row has, but that
rows without an answer have (unlabelled); a third use only words that no other file has (new). Rows
that resemble a held-out one are dropped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import orders
import routing
from blake3 import blake3
from wording import WORDINGS

from potstill.exchanges.overlap import overlap

TRAIN = 1680
UNLABELLED = 2100
HELD_OUT = 1050
# Held-out rows are of a draw of their own: recipes/ were settled on an earlier one.
FIRST_HELD_OUT = 1_000_000
# Rows drawn for each row kept, so that what is dropped can be made up for.
SURPLUS = 2
FOLDER = Path(__file__).parents[2] / "src" / "potstill" / "data" / "tasks"

Row = dict[str, str]
# (class, number, wording) -> row
Maker = Callable[[int, int, str], Row]


def split(make: Maker, classes: int) -> tuple[list[Row], list[Row], list[Row]]:
    """Return training, unlabelled and held-out rows, as many of each class in each."""
    each = HELD_OUT // classes
    trained = SURPLUS * TRAIN // classes
    held_out = [
        make(c, FIRST_HELD_OUT + i, WORDINGS[i % 3]) for c in range(classes) for i in range(each)
    ]
    train = _kept(
        [[make(c, each + i, "known") for i in range(trained)] for c in range(classes)],
        count=TRAIN,
        held_out=held_out,
    )
    # No number is drawn twice, and one wording is as frequent as the other.
    first, drawn = each + trained, SURPLUS * UNLABELLED // (2 * classes)
    unlabelled = _kept(
        [
            [make(c, first + at * drawn + i, wording) for i in range(drawn)]
            for c in range(classes)
            for at, wording in enumerate(("known", "unlabelled"))
        ],
        count=UNLABELLED,
        held_out=held_out,
        taken=_messages(train),
    )
    bare = [_without_answer(row) for row in unlabelled]
    return _shuffled(train), _shuffled(bare), _shuffled(held_out)


def files() -> dict[str, str]:
    """Return the content of every file, by name."""
    # Classes of orders are numbers, so that dated and undated rows have the same share in all.
    tasks = {
        "routing": split(
            lambda c, i, wording: routing.row(
                routing.QUEUES[c], f"routing:{c}:{i}", wording=wording
            ),
            len(routing.QUEUES),
        ),
        "orders": split(
            lambda c, i, wording: orders.row(
                f"orders:{c}:{i}", dated=c * 10 < orders.DATED, wording=wording
            ),
            10,
        ),
    }
    content = {"orders-schema.json": json.dumps(orders.SCHEMA, indent=2) + "\n"}
    for name, (train, unlabelled, held_out) in tasks.items():
        content[f"{name}.jsonl"] = _lines(train)
        content[f"{name}-unlabelled.jsonl"] = _lines(unlabelled)
        content[f"{name}-held-out.jsonl"] = _lines(held_out)
    return content


def _kept(
    drawn: Sequence[Sequence[Row]],
    *,
    count: int,
    held_out: Sequence[Row],
    taken: Sequence[str] = (),
) -> list[Row]:
    """Return `count` rows, as many of each pool, none of them taken or near a held-out row."""
    each = count // len(drawn)
    pools = _distinct(drawn, {*_messages(held_out), *taken})
    while True:
        rows = [row for pool in pools for row in pool[:each]]
        near = set(overlap(_messages(rows), _messages(held_out)).train_indices)
        if not near:
            break
        dropped = {rows[i]["message"] for i in near}
        pools = [[row for row in pool if row["message"] not in dropped] for pool in pools]
    if len(rows) < count:
        raise SystemExit("too few rows are left: raise SURPLUS, or add wordings")
    return rows


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


def _without_answer(row: Row) -> Row:
    return {"message": row["message"], "wording": row["wording"]}


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
