"""`potstill store stats`: counts and measured bytes, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

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
from potstill.rundir import RunDir

TOKENS, DIM, ROWS = 500, 16, 40


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
        exchange = Exchange(
            exchange_id=key,
            prompt_id="p",
            split="train",
            messages=(),
            response="",
            prompt_token_ids=(1,),
            response_token_ids=tuple(range(ROWS)),
            tokenizer=None,
            finish_reason="stop",
            teacher="t",
            sampling={},
            sample_index=0,
            terms_decision="allow",
            source="test",
            created_at="",
        )
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


def test_a_store_without_targets_says_so(cli: CliRunner, tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
    with RunDir.open(tmp_path / "run", recipe):
        pass
    result = cli.invoke(app, ["store", "stats", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "training asks the teacher" in result.stdout
