"""Innocent explanations are tested by figures: each one holds in a world made to fit it."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from case_worlds import (
    START,
    Rows,
    campaign_of,
    cases_by_hand,
    finding,
    found_of,
    group_of,
    store_of,
)

from potstill.watch.case.explaining import CAUSES, PLACE
from potstill.watch.case.models import Explanation
from potstill.watch.schema import switched_off

NAMES = [f"p{n}" for n in range(8)]
SEED = 3


def world(kind: str) -> tuple[Rows, Rows]:
    """Return requests of 8 accounts and 12 strangers over 4 days, as one explanation has them."""
    rng = random.Random(SEED)
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)]
    template = " ".join(words[:60])
    requests: Rows = []
    for day in range(4):
        for who in [*NAMES, *(f"s{n}" for n in range(12))]:
            if kind == "keys" and who in NAMES and NAMES.index(who) // 2 != day:
                continue
            for _ in range(12 if kind == "launch" and day == 2 else 3):
                second = rng.randrange(86_000)
                if kind == "timers":
                    second = second // 3_600 * 3_600 + rng.randrange(50)
                said = " ".join(rng.choices(words, k=14))
                if who in NAMES or kind == "public":
                    said = f"{template} {said}"
                at = START + timedelta(days=day, seconds=second)
                for again in range(2 if kind == "retries" else 1):
                    requests.append(
                        {
                            "request_id": f"r{len(requests)}",
                            "account_id": who,
                            "time": (at + timedelta(seconds=20 * again)).isoformat(),
                            "product": "api",
                            "status": 200,
                            "prompt": said,
                            "client": "192.0.2.9"
                            if kind == "place" and who in NAMES
                            else f"10.{who[1:]}.0.1",
                        }
                    )
    accounts = [
        {
            "account_id": who,
            "payment": "one" if kind == "customer" and who in NAMES else f"card{who}",
            "timezone": "UTC",
            # A large provider's mail is no place.
            "email_domain": "mail.example",
            "created_at": (
                START - timedelta(hours=3 if kind == "event" else 5 * (n + 1))
            ).isoformat(),
        }
        for n, who in enumerate([*NAMES, *(f"s{n}" for n in range(12))])
    ]
    return requests, accounts


def explained(
    folder: Path, kind: str, part: str = "means", *, table: bool = True, privacy: str = "sketches"
) -> dict[str, Explanation]:
    store = store_of(folder, world(kind), privacy, table=table)
    signals = (
        finding("shared payment", "infrastructure", part, 3.0, 0.1, 3.0),
        finding("hand-off", "time", "hand-off", 9.0, 1.0, 4.0),
    )
    if privacy == "metadata":
        signals = signals[:1]
    campaign = campaign_of(NAMES, candidates=(group_of(NAMES, signals=signals),))
    columns = {"account_id", "payment", "created_at", "email_domain"} if table else set()
    off = switched_off({"prompt", "status", "client"}, columns)
    if privacy == "metadata":
        off = switched_off({"status", "client"}, columns)
    (case,) = cases_by_hand(store, found_of([campaign], off=off), folder / "cases")
    return {one.name: one for one in case.inference.explanations}


EXPECTED = {
    "nothing": None,
    "customer": "one customer whose keys are not declared as one tenant",
    "place": PLACE,
    "public": "a public template: an evaluation suite, a harness, a course",
    "launch": "a launch, an outage or another event",
    "timers": "timers at the full hour",
    "retries": "retries: clients that repeat what failed",
    "keys": "keys of one customer that replace one another",
    "event": "an event that people signed up for: a class, a hackathon",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_explanation_holds_where_it_is_true(tmp_path: Path, kind: str) -> None:
    found = explained(tmp_path, kind)
    assert len(found) == len(CAUSES) == len(EXPECTED) - 1
    may = {name for name, one in found.items() if one.outcome == "may explain"}
    assert may == ({EXPECTED[kind]} if EXPECTED[kind] else set())
    assert not any(one.outcome == "not tested" for one in found.values())


def test_a_place_explains_links_to_places_and_no_card(tmp_path: Path) -> None:
    assert "infrastructure" not in explained(tmp_path / "a", "place")[PLACE].covers
    assert "infrastructure" in explained(tmp_path / "b", "place", "places")[PLACE].covers


def test_what_cannot_be_tested_is_said(tmp_path: Path) -> None:
    found = explained(tmp_path, "nothing", table=False, privacy="metadata")
    untested = {name for name, one in found.items() if one.outcome == "not tested"}
    assert untested == {EXPECTED[kind] for kind in ("customer", "public", "retries", "event")}
    for name in untested:
        assert "lacks" in found[name].because or "nothing is there" in found[name].because


def test_an_explanation_takes_the_families_that_it_covers_away(tmp_path: Path) -> None:
    store = store_of(tmp_path, world("launch"), "sketches")
    campaign = campaign_of(NAMES)
    (case,) = cases_by_hand(store, found_of([campaign]), tmp_path / "cases")
    inference: Any = case.inference
    assert inference.unexplained == ("infrastructure",)
    assert inference.action == "look" and "Do nothing to any account" in inference.action_says
