"""A judge is asked in batches, and what it said outlives the process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pipeline_runs
from potstill.curate import asking
from potstill.curate.judge import question
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.chat import prompt_ids
from potstill.models.load import load
from potstill.progress import Silent, Step
from potstill.recipe import Recipe
from potstill.runs import distill as pipeline


class Counted(Silent):
    """Remembers how far each step came."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[float | None, float]] = {}

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        steps = self.steps
        steps[name] = (total, 0.0)

        class Counting:
            def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
                steps[name] = (total, steps[name][1] + amount)

        yield Counting()


@pytest.fixture
def judge(nano_qwen3: Path, tmp_path: Path) -> Path:
    """A nano model that reads what a judge is asked, which is longer than what nano models read."""
    directory = tmp_path / "judge"
    shutil.copytree(nano_qwen3, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    return directory


@pytest.fixture
def collected(nano_llama: Path, judge: Path, nano_prompts: Path, tmp_path: Path) -> Any:
    """A run with answers that a nano model is to judge, and its recipe."""
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, curate={"judge": {"model": str(judge)}}, prompts={"limit": 20}
    )
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    return values, tmp_path / "run"


def trained_rows(root: Path) -> list[Any]:
    store = ExchangeStore(root)
    rows = store.read("train")
    store.close()
    return rows


def reasons_of_training(root: Path) -> list[str]:
    """Return why each training row was dropped, empty where it is kept."""
    store = ExchangeStore(root)
    train = {row.exchange_id for row in store.read("train")}
    found = [mark.reason for mark in store.marks() if mark.exchange_id in train]
    store.close()
    return found


def test_a_batch_says_what_each_row_alone_does(
    collected: Any, judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = trained_rows(collected[1])[:8]
    model = load(str(judge), precision="fp32")
    longest = max(len(prompt_ids(model, question(r.messages, r.response, "?"))) for r in rows)
    monkeypatch.setattr(asking, "_BATCH_TOKENS", 3 * (longest + asking._JUDGE_TOKENS))
    progress = Counted()
    parts = list(asking.asked_in_batches(model, progress, rows, "?"))
    assert 1 < len(parts) <= 3
    together = {key: text for part in parts for key, text in part.items()}
    assert progress.steps == {"judge answers": (8, 8.0)}
    for row in rows:
        [alone] = asking.asked_in_batches(model, progress, [row], "?")
        assert alone == {row.exchange_id: together[row.exchange_id]}


def test_a_stopped_judge_goes_on_with_what_is_missing(
    collected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, root = collected
    asked: list[int] = []
    stop = [2]

    def score(_model: Any, prompts: Any, *, max_tokens: int) -> list[str]:
        if len(asked) == stop[0]:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return ["Score: 4"] * len(prompts)

    monkeypatch.setattr(asking, "greedy_texts", score)
    monkeypatch.setattr(asking, "_BATCH_TOKENS", 1200)
    recipe = Recipe.model_validate(values)
    with pytest.raises(KeyboardInterrupt):
        pipeline.distill(recipe, root, until="curate", progress=Silent())
    kept = root / "state" / "judge-scores.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [len(line["scores"]) for line in lines] == asked
    before = sum(asked)
    stop[0] = -1
    progress = Counted()
    run = pipeline.distill(recipe, root, until="curate", progress=progress)
    done = pipeline_runs.recorded(run, "curate")
    assert done is not None and done["judge"] == str(values["curate"]["judge"]["model"])
    # Only answers that nothing before the judge drops are judged.
    judged = sum(reason.partition(":")[0] in ("", "judge") for reason in reasons_of_training(root))
    assert 0 < before < judged == sum(asked)
    assert progress.steps["judge answers"] == (judged - before, judged - before)
    # The file is no stage's record.
    assert pipeline_runs.recorded(run, "judge-scores") is None


def test_a_judge_that_says_nothing_is_an_error_and_is_not_asked_twice(
    collected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, root = collected
    calls: list[int] = []

    def nothing(_model: Any, prompts: Any, *, max_tokens: int) -> list[str]:
        calls.append(len(prompts))
        return [""] * len(prompts)

    monkeypatch.setattr(asking, "greedy_texts", nothing)
    for _ in range(2):
        with pytest.raises(PotstillError, match="gave no score from 1 to 5 for any of"):
            pipeline_runs.run(values, root, until="curate")
    assert len(calls) == 1 and calls[0] > 10
