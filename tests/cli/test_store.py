"""`potstill store stats`: counts and measured bytes, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import HIDDEN_FP16, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.head import Head
from potstill.recipe import Recipe
from potstill.work.rundir import RunDir

TOKENS, DIM, ROWS = 500, 16, 40


def answer(key: str, ids: tuple[int, ...] | None) -> Exchange:
    return Exchange(
        exchange_id=key,
        prompt_id="p",
        split="train",
        messages=(),
        response="",
        prompt_token_ids=None if ids is None else (1,),
        response_token_ids=ids,
        tokenizer=None,
        finish_reason="stop",
        teacher="t",
        sampling={},
        sample_index=0,
        terms_decision="allow",
        source="test",
        created_at="",
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
    with RunDir.open(root, recipe):
        pass
    store = ExchangeStore(root)
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(TOKENS, DIM, generator=generator))
    for i, spec in enumerate((HIDDEN_FP16, TargetSpec("sampled", 64))):
        key = f"e{i}"
        exchange = answer(key, tuple(range(ROWS)))
        hidden_RD = torch.randn(ROWS, DIM, generator=generator)
        store.append([exchange], [formed(key, "t", hidden_RD, head, spec)])
    return root


@pytest.mark.parametrize("compacted", [False, True])
def test_bytes_a_position_are_measured(cli: CliRunner, run: Path, compacted: bool) -> None:
    if compacted:
        ExchangeStore(run).compact()
    result = cli.invoke(app, ["store", "stats", str(run), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["exchanges"] == 2
    assert found["compacted"] is compacted
    hidden, sampled = found["targets"]
    assert (hidden["spec"], sampled["spec"]) == ("hidden-fp16", "sampled-64")
    assert hidden["positions"] == sampled["positions"] == ROWS
    assert hidden["data_bytes_per_position"] == 2 * DIM
    assert 0 < sampled["data_bytes"] < hidden["data_bytes"] * 4
    assert all(usage["stored_bytes"] > 0 for usage in found["targets"])
    printed = cli.invoke(app, ["store", "stats", str(run)]).stdout
    assert "hidden-fp16" in printed
    assert "32.0" in printed
    assert "2 exchanges (2 train), 80 response tokens" in printed


def test_a_directory_that_is_no_run_is_refused(cli: CliRunner, tmp_path: Path) -> None:
    result = cli.invoke(app, ["store", "stats", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no run directory" in result.stderr


CALLS = {"calls": {"path": "calls.jsonl", "source": "apache-2.0"}, "targets": "none"}
ENDPOINT = {"url": "http://127.0.0.1:1/v1", "provider": "test"}
TASK = {"kind": "label", "labels": ["a", "b"], "gold": "queue"}
TEXT = {"train": {"cross_entropy": 1}, "student": {"model": "some/model"}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({**TEXT, "collect": CALLS}, "text"),
        ({**TEXT, "collect": {"gold": True, "targets": "none"}, "task": TASK}, "text"),
        ({**TEXT, "teacher": {"endpoint": ENDPOINT}, "collect": {"targets": "none"}}, "text"),
        ({"train": {"cross_entropy": 1}}, "text"),
        (
            {
                "teacher": {"endpoint": {**ENDPOINT, "top_logprobs": 8}},
                "student": {"model": "some/model"},
                "collect": {"targets": "top-k", "top_k_targets": 8},
            },
            "server",
        ),
        ({"train": {"cross_entropy": 0.5}}, "teacher"),
    ],
)
def test_without_targets_it_says_what_training_goes_by(
    cli: CliRunner, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    values = {"name": "mine", **more, "teacher": {"model": "m", **more.get("teacher", {})}}
    with RunDir.open(tmp_path / "run", Recipe.model_validate(values)):
        pass
    line = cli.invoke(app, ["store", "stats", str(tmp_path / "run")]).stdout
    assert ("asks the teacher" in line) is (said == "teacher")
    assert ("on the answers' text" in line) is (said == "text")
    assert ("the server's likeliest" in line) is (said == "server")


@pytest.mark.parametrize(
    ("ids", "said", "known"),
    [
        ((None, None), "responses as text alone (their tokens are not counted)", None),
        (((1, 2, 3), None), "3 response tokens (and those of 1 more, which", 3),
        (((1, 2), (3,)), "3 response tokens, ", 3),
        (((), ()), " 0 response tokens, ", 0),
        ((), " 0 response tokens, ", 0),
    ],
)
def test_tokens_that_are_not_known_are_not_called_none(
    cli: CliRunner,
    tmp_path: Path,
    ids: tuple[tuple[int, ...] | None, ...],
    said: str,
    known: int | None,
) -> None:
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "m"}})
    with RunDir.open(tmp_path / "run", recipe):
        pass
    store = ExchangeStore(tmp_path / "run")
    store.append([answer(f"e{i}", one) for i, one in enumerate(ids)])
    store.close()
    stats = ["store", "stats", str(tmp_path / "run")]
    assert said in " ".join(cli.invoke(app, stats).stdout.split())
    assert json.loads(cli.invoke(app, [*stats, "--json"]).stdout)["response_tokens"] == known


def test_a_store_without_targets_says_so(cli: CliRunner, tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
    with RunDir.open(tmp_path / "run", recipe):
        pass
    result = cli.invoke(app, ["store", "stats", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "training asks the teacher" in result.stdout
