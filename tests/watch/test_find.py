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
    assert campaign["families"] == ["infrastructure", "time"]
    signals = {one["signal"]: one for one in campaign["candidates"][0]["signals"]}
    assert signals["shared payment"]["observed"] == 9
    assert signals["hand-off"]["observed"] > 5 * signals["hand-off"]["expected"]
    # Either family left out, nothing stands.
    without = campaign["candidates"][0]["without"]
    assert without["time"] < 0 and without["infrastructure"] < 0
    assert "reasoning elicitation" in found["off"] and "shared device" in found["off"]
    text = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "store")]).stdout
    assert "1 campaigns found" in text and "expected to be false" in text and "essay" not in text


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


@pytest.mark.slow
def test_the_order_of_rows_decides_nothing(tmp_path: Path) -> None:
    _, one = found_in(tmp_path / "one")
    _, other = found_in(tmp_path / "other", reverse=True)
    assert [c["campaign_id"] for c in one["campaigns"]] == [
        c["campaign_id"] for c in other["campaigns"]
    ]
    assert one["candidates"] == other["candidates"]


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "none")])
    assert result.exit_code == 2


def test_no_torch_is_imported() -> None:
    code = "import sys; import potstill.watch.find; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
