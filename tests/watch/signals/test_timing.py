"""Requests of groups are counted one by one, whatever a log calls them."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from case_worlds import SEED, START, Rows, store_of

from potstill.runs.watching import open_store, traffic_engine
from potstill.watch.campaigns import Grouping
from potstill.watch.signals.content import asked_with, slot_values
from potstill.watch.signals.timing import HANDED_S, REFUSED, hand_offs, moments
from potstill.watch.signals.traffic import members_table, traffic_of

GROUPS = (tuple(f"a:a{n}" for n in range(4)), ("t:one", "a:a1", "a:a5"))


def party(account: str) -> str:
    return "t:one" if account in ("a6", "a7") else f"a:{account}"


def world(rng: random.Random) -> tuple[Rows, Rows]:
    """Return requests whose ids begin anew for each account and day, and accounts."""
    prompts = [f"tell me about the subject of number {chr(97 + n)} at once" for n in range(5)]
    requests: Rows = []
    for day in range(2):
        for account in range(8):
            for number in range(30):
                at = START + timedelta(days=day, seconds=rng.randrange(3_600))
                requests.append(
                    {
                        "request_id": str(number),
                        "account_id": f"a{account}",
                        "time": at.isoformat(),
                        "status": rng.choice((200, 200, 429, 401, 500)),
                        "prompt": rng.choice(prompts),
                    }
                )
    tenant = [{"account_id": f"a{n}", "tenant": "one" if n > 5 else None} for n in range(8)]
    return requests, tenant


def handed(requests: Rows, group: tuple[str, ...]) -> Counter[tuple[bool, bool]]:
    """Return how many requests of a group were refused, and taken up by another party."""
    mine = [
        (party(r["account_id"]), datetime.fromisoformat(r["time"]), r["prompt"], r["status"])
        for r in requests
        if party(r["account_id"]) in group
    ]
    found: Counter[tuple[bool, bool]] = Counter()
    for who, at, prompt, status in mine:
        taken = any(
            other != who and said == prompt and 0 < (then - at).total_seconds() <= HANDED_S
            for other, then, said, _ in mine
        )
        found[status in REFUSED, taken] += 1
    return found


def test_ids_that_begin_anew_mix_no_requests_up(tmp_path: Path) -> None:
    requests, accounts = world(random.Random(SEED))
    store = store_of(tmp_path, (requests, accounts))
    with traffic_engine("UTC") as backend, open_store(store, None, there=True) as held:
        traffic = traffic_of(held, backend)
        members = members_table(traffic, GROUPS, "ps_members")
        over = traffic.rows(hand_offs(traffic, members)).to_pylist()
        asked = asked_with(traffic, [Grouping(group) for group in GROUPS], "ps_asked")
        acts = traffic.rows(moments(traffic, asked))
        answered = traffic.rows(slot_values(traffic, asked))
    for number, group in enumerate(GROUPS):
        expected = handed(requests, group)
        assert {row["refused"]: (row["n"], row["followed"]) for row in over
                if row["group"] == number} == {
            refused: (expected[refused, True] + expected[refused, False], expected[refused, True])
            for refused in (False, True)
        }  # fmt: skip
        mine = [row for row in requests if party(row["account_id"]) in group]
        assert _count(acts, number) == len(mine)
        assert _count(answered, number) == sum(row["status"] < 400 for row in mine)


def _count(rows: pa.Table, group: int) -> Any:
    return rows["group"].to_pylist().count(group)
