"""Small stores with a pool in them, and cases made of them by hand: what tests of cases share."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from potstill.runs.watching import LogWanted, ingest_log, open_store
from potstill.watch.case.models import Case
from potstill.watch.case.register import CaseRegister
from potstill.watch.cases import CaseRun, made_cases, named_run
from potstill.watch.evidence import Campaign, CampaignsFound, Candidate, SignalFinding

START = datetime(2026, 3, 2, tzinfo=UTC)
NOW = datetime(2026, 3, 9, tzinfo=UTC)
SEED = 11
TEMPLATE = (
    "grade the following essay as a strict teacher would do and give each paragraph a mark from "
    "one to ten with a reason for it then write down which of the two drafts you prefer and why"
)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo")
POOL = range(40, 56)
Rows = list[dict[str, Any]]


def wide_world(rng: random.Random, names: str = "acct{}") -> tuple[Rows, Rows]:
    """Return requests of 40 strangers and a pool of 16, and accounts with every column.

    The pool has one template, cards for four, devices for two, one proxy; what one is refused
    another asks. Two of it are one tenant. Strangers share a carrier, an office, some domains.
    """
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    requests: Rows = []

    def ask(who: int, at: datetime, prompt: str, status: int = 200) -> None:
        proxied = who in POOL and who < 54
        address = f"192.0.2.{who}" if proxied else f"198.51.{who % 3}.{who}"
        requests.append(
            {
                # The same id on two days: ids are unique within a day alone.
                "request_id": f"{who}-{len(requests) % 500}",
                "account_id": names.format(who),
                "time": at.isoformat(),
                "product": "api" if who % 2 else "app",
                "model": "big",
                "status": status,
                "completion_tokens": len(prompt),
                "prompt": prompt,
                "client": address,
            }
        )

    for day in range(4):
        for who in range(56):
            for _ in range(5):
                at = START + timedelta(days=day, seconds=rng.randrange(86_000))
                said = " ".join(rng.choices(words, k=12))
                if who in POOL:
                    said = f"{TEMPLATE} {said[:20]}"
                refused = rng.random() < 0.25
                ask(who, at, said, 429 if refused else 200)
                if refused and who in POOL:
                    other = 40 + (who - 40 + rng.randrange(1, 16)) % 16
                    ask(other, at + timedelta(seconds=9), said)
    return requests, [_account(who, names) for who in range(56)]


def _account(who: int, names: str) -> dict[str, Any]:
    pool = who in POOL
    return {
        "account_id": names.format(who),
        "created_at": (START - timedelta(days=who if not pool else 3)).isoformat(),
        "payment": f"card{who // 4 if pool else who}",
        "device": f"phone{who // 2 if pool or who < 8 else who}",
        "email_domain": "mail.example" if who % 3 else f"own{who}.example",
        "subnet": "203.0.113.0/24" if who < 6 or who > 50 else f"10.0.{who}.0/24",
        "timezone": ZONES[who % 3],
        "tenant": "one" if who in (40, 41) else None,
    }


def store_of(
    folder: Path, world: tuple[Rows, Rows], privacy: str = "full", *, table: bool = True
) -> Path:
    """Take a world into a store below `folder`, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("log", "accounts"), world, strict=True):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, errors="surrogatepass")
    accounts = folder / "accounts.jsonl" if table else None
    ingest_log(LogWanted((str(folder / "log.jsonl"),), accounts), folder / "store", privacy)
    return folder / "store"


def campaign_of(accounts: Sequence[str], *, campaign_id: str = "c0", **changes: Any) -> Campaign:
    """Return a campaign of accounts without tenants, with one group."""
    found = {
        "campaign_id": campaign_id,
        "accounts": tuple(sorted(accounts)),
        "requests": 10 * len(accounts),
        "families": ("infrastructure", "time"),
        "candidates": (group_of(accounts, candidate_id=f"g-{campaign_id}"),),
    }
    return Campaign.model_validate(found | changes)


def group_of(accounts: Sequence[str], **changes: Any) -> Candidate:
    """Return a group of accounts without tenants, chosen by templates."""
    signals = (
        finding("shared payment", "infrastructure", "means", 6.0, 0.5, 4.0),
        finding("hand-off", "time", "hand-off", 30.0, 3.0, 7.0),
        finding("synchrony", "time", "clock", 300.0, 280.0, 1.0),
    )
    found = {
        "candidate_id": "g0",
        "chosen_by": "templates",
        "parties": tuple(sorted(f"a:{name}" for name in accounts)),
        "carried_by": tuple(sorted(f"a:{name}" for name in accounts)),
        "requests": 10 * len(accounts),
        "signals": signals,
        "shown_in": {
            part: tuple(sorted(f"a:{name}" for name in accounts)) for part in ("means", "hand-off")
        },
        "log10_e": 3.5,
        "without": {"content": 3.5, "infrastructure": -3.0, "intent": 3.5, "time": -3.0},
        "found": True,
    }
    return Candidate.model_validate(found | changes)


def finding(
    signal: str, family: Any, part: Any, observed: float, expected: float, log10_e: float | None
) -> SignalFinding:
    """Return what was found of one signal."""
    return SignalFinding(
        signal=signal,
        family=family,
        part=part,
        observed=observed,
        expected=expected,
        null="strangers",
        log10_e=log10_e,
        chosen=log10_e is None,
    )


def found_of(campaigns: Sequence[Campaign], **changes: Any) -> CampaignsFound:
    """Return what a run found: these campaigns."""
    found = {
        "days": ("2026-03-02", "2026-03-05"),
        "requests": 1_000,
        "parties": 56,
        "level": 0.05,
        "candidates": tuple(group for one in campaigns for group in one.candidates),
        "campaigns": tuple(campaigns),
        "off": {},
    }
    return CampaignsFound.model_validate(found | changes)


def cases_by_hand(
    store: Path,
    found: CampaignsFound,
    building: Path,
    *,
    register: CaseRegister | None = None,
    allowed: tuple[str, ...] = (),
    with_text: bool = False,
) -> list[Case]:
    """Return the cases of what was found, with their tables written to `building`."""
    building.mkdir(parents=True, exist_ok=True)
    named, _ = named_run(found, register or CaseRegister())
    with open_store(store, None, there=True) as held:
        run = CaseRun(held, found, named, building, building, allowed, with_text)
        return list(made_cases(run, building / "spill"))
