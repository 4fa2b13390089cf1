"""Stores that grow day by day, with a pool in them: what tests of days share."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from potstill.runs.watching import LogWanted, ingest_log

START = datetime(2026, 3, 2, tzinfo=UTC)
SEED = 20261130
TEMPLATE = (
    "grade the following essay as a strict teacher would do and give each paragraph a mark from "
    "one to ten with a reason for it then write down which of the two drafts you prefer and why"
)
STRANGERS, POOL = range(60), range(60, 72)
Rows = list[dict[str, Any]]


def day_name(day: int) -> str:
    """Return the date of a day of the world."""
    return (START + timedelta(days=day)).date().isoformat()


def day_rows(day: int) -> Rows:
    """Return a day's requests, the same whichever other days are made.

    60 strangers ask about anything; a pool of 12 uses one template, and what one of it is refused
    another one asks nine seconds later.
    """
    rng = random.Random(SEED + day)
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    rows: Rows = []

    def ask(account: int, at: datetime, prompt: str, status: int) -> None:
        rows.append(
            {
                "request_id": f"r{day}-{len(rows)}",
                "account_id": f"acct{account}",
                "time": at.isoformat(),
                "product": "api",
                "status": status,
                "prompt": prompt,
            }
        )

    for account in (*STRANGERS, *POOL):
        for _ in range(6):
            at = START + timedelta(days=day, seconds=rng.randrange(86_000))
            said = " ".join(rng.choices(words, k=12))
            if account in POOL:
                said = f"{TEMPLATE} {said[:20]}"
            refused = rng.random() < 0.25
            ask(account, at, said, 429 if refused else 200)
            if refused and account in POOL:
                other = POOL[0] + (account - POOL[0] + rng.randrange(1, len(POOL))) % len(POOL)
                ask(other, at + timedelta(seconds=9), said, 200)
    return rows


def account_rows() -> Rows:
    """Return the table of accounts: the pool has cards for four each."""
    return [
        {
            "account_id": f"acct{n}",
            "payment": f"card{n if n in STRANGERS else POOL[0] + n % 3}",
            "timezone": "Europe/Berlin",
        }
        for n in (*STRANGERS, *POOL)
    ]


def take_rows(folder: Path, rows: Rows, accounts: Rows | None = None, name: str = "log") -> Path:
    """Take requests into the store below a folder as one file, and return where it lies."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text(_lines(rows))
    (folder / "accounts.jsonl").write_text(_lines(accounts or account_rows()))
    log = LogWanted((str(folder / f"{name}.jsonl"),), folder / "accounts.jsonl")
    ingest_log(log, folder / "store", "sketches")
    return folder / "store"


def take_days(folder: Path, days: Iterable[int], name: str = "log") -> Path:
    """Take days of the world into the store below a folder, and return where it lies."""
    return take_rows(folder, [row for day in days for row in day_rows(day)], name=name)


def _lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
