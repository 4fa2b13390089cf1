"""Innocents that look like campaigns, made by hand: no case comes of them, and it is said why."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")
pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.runs.watch_finding import find_in
from potstill.runs.watching import LogWanted, ingest_log
from potstill.watch.evidence import CampaignsFound

START = datetime(2026, 3, 2, tzinfo=UTC)
SEED = 11
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata")
WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
PROMPT = "summarise the following note for the weekly letter in four plain sentences please"
SYSTEM = "You write short and friendly notes."
Rows = list[dict[str, Any]]


class Made:
    """Requests and accounts as they are made; 80 strangers over four days are there from the
    start."""

    def __init__(self) -> None:
        self.rng = random.Random(SEED)
        self.requests: Rows = []
        self.accounts: Rows = []
        for number in range(80):
            mail = "mail.example" if number % 2 else ""
            self.account(f"s{number}", zone=ZONES[number % 4], mail=mail)
            for day in range(4):
                for _ in range(5):
                    self.ask(f"s{number}", day, self.rng.randrange(86_400), " ".join(self.some(12)))

    def some(self, count: int) -> list[str]:
        return self.rng.choices(WORDS, k=count)

    def account(self, name: str, *, zone: str, card: str | None = None, mail: str = "") -> None:
        own = f"card-{name}" if card is None else card
        self.accounts.append(
            {
                "account_id": name,
                "payment": own,
                "timezone": zone,
                "email_domain": mail or f"{name}.example",
            }
        )

    def ask(self, name: str, day: int, second: int, prompt: str, **more: Any) -> None:
        at = START + timedelta(days=day, seconds=min(second, 86_399))
        self.requests.append(
            {
                "request_id": f"r{len(self.requests)}",
                "account_id": name,
                "time": at.isoformat(),
                "product": "api",
                "status": 200,
                "prompt": prompt,
                "temperature": more.pop("temperature", None),
                "system": more.pop("system", None),
                **more,
            }
        )

    def write(self, name: str, day: int, second: int, subject: list[str]) -> None:
        """Ask with the client that is looked at."""
        prompt = f"{PROMPT} {' '.join(subject)}"
        self.ask(name, day, second, prompt, temperature=0.3, system=SYSTEM)

    def found(self, tmp_path: Path) -> CampaignsFound:
        for name, rows in (("log", self.requests), ("accounts", self.accounts)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / f"{name}.jsonl").write_text(lines)
        log = LogWanted((str(tmp_path / "log.jsonl"),), tmp_path / "accounts.jsonl")
        ingest_log(log, tmp_path / "store", "full")
        return find_in(tmp_path / "store", 0.05)


def keys_on_cards(made: Made, *, cards: int, each: int, one_zone: bool) -> None:
    """Add accounts with one client, so many on each card: in a zone of its own, or in all."""
    for card in range(cards):
        for number in range(each):
            name = f"k{card}-{number}"
            zone = ZONES[card % 4] if one_zone else ZONES[number % 4]
            made.account(name, zone=zone, card=f"shared-{card}", mail="mail.example")
            for day in range(4):
                for _ in range(6):
                    made.write(name, day, made.rng.randrange(86_400), made.some(6))


def test_a_small_company_that_declared_no_tenant_is_no_campaign(tmp_path: Path) -> None:
    made = Made()
    keys_on_cards(made, cards=1, each=12, one_zone=True)
    found = made.found(tmp_path)
    stands = [one for one in found.candidates if one.found]
    # It would stand: strangers do not share a card and a client.
    assert stands and all(one.undeclared for one in stands)
    assert not found.campaigns and any("declared no tenant" in note for note in found.notes)


def test_companies_with_one_harness_are_no_campaign(tmp_path: Path) -> None:
    made = Made()
    keys_on_cards(made, cards=4, each=4, one_zone=True)
    found = made.found(tmp_path)
    assert any(one.found and one.undeclared for one in found.candidates)
    assert not found.campaigns and any("declared no tenant" in note for note in found.notes)


def test_cards_that_pay_for_accounts_of_many_zones_are_one(tmp_path: Path) -> None:
    made = Made()
    keys_on_cards(made, cards=4, each=4, one_zone=False)
    found = made.found(tmp_path)
    (campaign,) = found.campaigns
    assert {one[0] for one in campaign.accounts} == {"k"} and len(campaign.accounts) == 16
    assert {"content", "infrastructure"} <= set(campaign.families)


def rounds(made: Made, *, one_subject: bool) -> None:
    """Add 20 strangers with one client that act in 16 rounds a day at no fixed moment."""
    for number in range(20):
        made.account(f"b{number}", zone=ZONES[number % 4])
    for day in range(4):
        for _ in range(16):
            begins, subject = made.rng.randrange(86_000), made.some(12)
            for number in range(20):
                mine = subject if one_subject else made.some(12)
                made.write(f"b{number}", day, begins + made.rng.randrange(40), mine)


def test_strangers_whose_clients_follow_one_feed_are_no_campaign(tmp_path: Path) -> None:
    made = Made()
    rounds(made, one_subject=True)
    found = made.found(tmp_path)
    together = [
        signal.log10_e
        for one in found.candidates
        for signal in one.signals
        if signal.signal == "synchrony"
    ]
    # That they act together is seen.
    assert max(e for e in together if e is not None) > 3
    assert not found.campaigns


def test_work_that_is_dealt_out_in_rounds_is_one(tmp_path: Path) -> None:
    made = Made()
    rounds(made, one_subject=False)
    (campaign,) = made.found(tmp_path).campaigns
    assert set(campaign.accounts) == {f"b{number}" for number in range(20)}
    assert {"content", "time"} <= set(campaign.families)
