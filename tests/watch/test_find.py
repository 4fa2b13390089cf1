"""A pool of accounts in a small store is found, said, and hidden nowhere; its customers are not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")
pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.runs.watching import LogWanted, ingest_log

START = datetime(2026, 3, 2, tzinfo=UTC)
SEED = 7
TEMPLATE = (
    "grade the following essay as a strict teacher would do and give each paragraph a mark from "
    "one to ten with a reason for it then write down which of the two drafts you prefer and why"
)


def world(rng: random.Random, *, tenant: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return requests of 60 strangers and a pool of 12, and the table of accounts.

    The pool has one template and cards for four accounts each; what one is refused another asks.
    """
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    requests: list[dict[str, Any]] = []

    def ask(account: str, at: datetime, prompt: str, status: int = 200) -> None:
        requests.append(
            {
                "request_id": f"r{len(requests)}",
                "account_id": account,
                "time": at.isoformat(),
                "product": "api",
                "status": status,
                "prompt": prompt,
            }
        )

    for day in range(4):
        for account in range(72):
            pool = account >= 60
            for _ in range(6):
                at = START + timedelta(days=day, seconds=rng.randrange(86_000))
                said = " ".join(rng.choices(words, k=12))
                if pool:
                    said = f"{TEMPLATE} {said[:20]}"
                refused = rng.random() < 0.2
                ask(f"acct{account}", at, said, 429 if refused else 200)
                if refused and pool:
                    other = 60 + (account - 60 + rng.randrange(1, 12)) % 12
                    ask(f"acct{other}", at + timedelta(seconds=9), said)
    accounts = [
        {
            "account_id": f"acct{n}",
            "payment": f"card{n if n < 60 else 60 + n % 3}",
            "timezone": "Europe/Berlin",
            "tenant": "one" if tenant and n >= 60 else None,
        }
        for n in range(72)
    ]
    return requests, accounts


def found_in(
    tmp_path: Path, *, tenant: bool = False, reverse: bool = False, privacy: str = "sketches"
) -> tuple[int, Any]:
    requests, accounts = world(random.Random(SEED), tenant=tenant)
    if reverse:
        requests.reverse()
        accounts.reverse()
    return found_of(tmp_path, requests, accounts, privacy)


def found_of(
    tmp_path: Path, requests: list[dict[str, Any]], accounts: list[dict[str, Any]], privacy: str
) -> tuple[int, Any]:
    tmp_path.mkdir(exist_ok=True)
    for name, rows in (("log", requests), ("accounts", accounts)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = LogWanted((str(tmp_path / "log.jsonl"),), tmp_path / "accounts.jsonl")
    ingest_log(log, tmp_path / "store", privacy)
    result = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "store"), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.slow
def test_a_pool_is_found_and_its_figures_are_said(tmp_path: Path) -> None:
    status, found = found_in(tmp_path)
    assert status == 3
    (campaign,) = found["campaigns"]
    assert campaign["accounts"] == sorted(f"acct{n}" for n in range(60, 72))
    assert campaign["families"] == ["content", "infrastructure", "time"]
    signals = {one["signal"]: one for one in campaign["candidates"][0]["signals"]}
    assert signals["shared payment"]["observed"] == 9
    assert signals["hand-off"]["observed"] > 5 * signals["hand-off"]["expected"]
    # Hand-offs are enough beside templates, and cards are too.
    stands = {one["chosen_by"]: one["without"] for one in campaign["candidates"]}
    assert stands["templates"]["infrastructure"] > 1 and stands["templates"]["time"] > 1
    assert "reasoning elicitation" in found["off"] and "shared device" in found["off"]
    text = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "store")]).stdout
    assert "1 campaign found" in text and "expected to be false" in text and "essay" not in text


@pytest.mark.slow
def test_what_prompts_ask_for_is_no_evidence_where_templates_chose(tmp_path: Path) -> None:
    status, found = found_in(tmp_path, privacy="full")
    assert status == 3 and found["false_expected"] == 0.05 * len(found["campaigns"])
    by = {one["chosen_by"]: one for one in found["candidates"] if len(one["parties"]) > 4}
    signals = {one["signal"]: one for one in by["templates"]["signals"]}
    rubric = signals["rubric and reward prompts"]
    assert rubric["observed"] == 12 > 3 * rubric["expected"]
    assert rubric["log10_e"] is None and rubric["chosen"]
    assert by["templates"]["without"]["intent"] == by["templates"]["log10_e"]
    pools = [one for one in found["candidates"] if one["chosen_by"] == "means"]
    assert pools and all(
        one["log10_e"] > 1
        for pool in pools
        for one in pool["signals"]
        if one["signal"] == "rubric and reward prompts"
    )
    text = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "store")]).stdout
    assert "what chose the group: no evidence" in text


def test_one_contract_is_no_campaign(tmp_path: Path) -> None:
    status, found = found_in(tmp_path, tenant=True)
    assert status == 0 and found["campaigns"] == []


def hackathon(rng: random.Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return requests of 60 strangers over 4 days, and of 24 people who came for two of them.

    Those sit behind one network, use the organiser's prompt on subjects of their own, work in the
    same evening hours, and try again what was refused.
    """
    requests, accounts = world(rng, tenant=False)
    requests = [one for one in requests if int(one["account_id"].removeprefix("acct")) < 60]
    words = [f"thing{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)]
    for guest in range(24):
        subject = rng.sample(words, 60)
        for day in (1, 2):
            for _ in range(30):
                at = START + timedelta(
                    days=day, seconds=int(rng.triangular(64_000, 86_000, 75_000))
                )
                prompt = f"{TEMPLATE} {' '.join(rng.choices(subject, k=5))}"
                status = 429 if rng.random() < 0.2 else 200
                for again in range(2 if status == 429 else 1):
                    requests.append(
                        {
                            "request_id": f"h{len(requests)}",
                            "account_id": f"guest{guest}",
                            "time": (at + timedelta(seconds=20 * again)).isoformat(),
                            "product": "api",
                            "status": 200 if again else status,
                            "prompt": prompt,
                        }
                    )
    named = [*accounts[:60], *({"account_id": f"guest{n}"} for n in range(24))]
    for number, one in enumerate(named):
        one["subnet"] = "hall" if number >= 60 else f"net{number}"
        one["timezone"] = "Europe/Berlin"
        opened = START - timedelta(days=rng.randrange(1, 400) if number < 60 else 0, minutes=number)
        one["created_at"] = opened.isoformat()
    return requests, named


def test_a_hackathon_is_no_campaign(tmp_path: Path) -> None:
    requests, accounts = hackathon(random.Random(SEED))
    status, found = found_of(tmp_path, requests, accounts, "full")
    guests = {f"a:guest{n}" for n in range(24)}
    (group,) = [one for one in found["candidates"] if guests <= set(one["parties"])][:1]
    signals = {one["signal"]: one for one in group["signals"]}
    # That they sit in one place and signed up together is seen, and is not enough.
    assert status == 0 and found["campaigns"] == []
    assert {one["chosen_by"] for one in found["candidates"]} >= {"templates", "places"}
    assert group["chosen_by"] == "places" or signals["shared network of accounts"]["log10_e"] > 5
    assert all(one["log10_e"] < 1 for one in found["candidates"])
    by_templates = [one for one in found["candidates"] if one["chosen_by"] == "templates"]
    together = [
        signal
        for one in by_templates
        for signal in one["signals"]
        if signal["signal"] == "accounts opened together"
    ]
    assert any(signal["log10_e"] > 3 for signal in together)


@pytest.mark.slow
def test_the_order_of_rows_decides_nothing(tmp_path: Path) -> None:
    _, one = found_in(tmp_path / "one")
    _, other = found_in(tmp_path / "other", reverse=True)
    assert [c["campaign_id"] for c in one["campaigns"]] == [
        c["campaign_id"] for c in other["campaigns"]
    ]
    assert one["candidates"] == other["candidates"]


def test_whoever_asked_nothing_is_in_no_group(tmp_path: Path) -> None:
    requests, accounts = world(random.Random(SEED), tenant=False)
    strangers = [one for one in requests if int(one["account_id"].removeprefix("acct")) < 60]
    # The pool of twelve shares cards, and has not asked yet.
    status, found = found_of(tmp_path, strangers[:360], accounts, "sketches")
    assert status == 0 and found["parties"] == 60
    assert not any("a:acct60" in one["parties"] for one in found["candidates"])


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "none")])
    assert result.exit_code == 2


def test_no_torch_is_imported() -> None:
    code = "import sys; import potstill.watch.find; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
