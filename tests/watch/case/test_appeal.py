"""A packet for one account holds nothing of any other, and no figure made of others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from case_worlds import (
    POOL,
    SEED,
    campaign_of,
    cases_by_hand,
    found_of,
    group_of,
    store_of,
    wide_world,
)

from potstill.watch.case.appeal import appeals_of
from potstill.watch.case.models import Appeal

MINE = "acct44"


def packets(folder: Path, world: Any, accounts: list[str], **changes: Any) -> list[Appeal]:
    store = store_of(folder, world)
    campaign = campaign_of(accounts, **changes)
    (case,) = cases_by_hand(store, found_of([campaign]), folder / "cases")
    return appeals_of(case.case_id, case.facts, case.inference, statuses=True)


def test_a_packet_names_one_account_alone(tmp_path: Path) -> None:
    names = [f"acct{who}" for who in POOL if who > 41]
    found = packets(tmp_path, wide_world(random.Random(SEED)), names)
    assert [one.account for one in found] == sorted(names)
    for one in found:
        text = one.model_dump_json(by_alias=True)
        assert not [name for name in names if name != one.account and name in text]
        assert TEMPLATE_WORD not in text and "card" not in text and one.refused is not None
        assert one.requests and one.signs and one.asks and one.held_by


TEMPLATE_WORD = "teacher"


def test_a_packet_is_the_same_whoever_the_others_are_and_however_many(tmp_path: Path) -> None:
    requests, accounts = wide_world(random.Random(SEED))
    names = [f"acct{who}" for who in POOL if who > 41]
    first = packets(tmp_path / "one", (requests, accounts), names)

    def renamed(name: str) -> str:
        return name if name == MINE else f"other-{name}"

    def of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"account_id": renamed(row["account_id"])} for row in rows]

    # The other members have other names, other e-values, and half of the strangers are members too.
    more = [*map(renamed, names), *(f"other-acct{who}" for who in range(20))]
    second = packets(tmp_path / "two", (of(requests), of(accounts)), more)
    mine = [next(one for one in found if one.account == MINE) for found in (first, second)]
    assert mine[0] == mine[1]
    assert len(first) != len(second)


def test_an_account_without_a_sign_is_told_so(tmp_path: Path) -> None:
    names = ["acct20", "acct21"]
    nothing = (group_of(names, shown_in={}),)
    found = packets(tmp_path, wide_world(random.Random(SEED)), names, candidates=nothing)
    assert all("Nothing by itself" in one.signs[0] for one in found)
    assert "does not say that you did anything wrong" in found[0].means
