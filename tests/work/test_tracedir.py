"""The directory of a trace: of one config, with a bundle that is handed over and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.recipe.trace import TraceConfig
from potstill.work.tracedir import TRACE_FILE, TraceDir, TracePlanned

VALUES = {
    "name": "x",
    "chain": "c.jsonl",
    "teacher": {"name": "ours", "model": "m"},
    "suspect": {"name": "theirs", "model": "n"},
    "tests": {"weights": {}},
}


def config(**more: object) -> TraceConfig:
    return TraceConfig.model_validate({**VALUES, **more})


def test_a_directory_is_read_back_with_its_settings(tmp_path: Path) -> None:
    root = tmp_path / "t"
    with TraceDir.open(root, config()) as work:
        work.finish(TracePlanned(plan="p", chain="c"))
        assert work.bundle == root / "bundle" and work.own == root / "own"
    read = TraceDir.reading(root)
    assert read.config == config()
    assert read.done(TracePlanned) == TracePlanned(plan="p", chain="c")


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    with TraceDir.open(tmp_path / "t", config()) as work:
        work.finish(TracePlanned(plan="p", chain="c"))
    with pytest.raises(PotstillError, match=r"by other settings: alpha is 0.0001 there and 0.01 h"):
        TraceDir.open(tmp_path / "t", config(alpha=0.01))


def test_settings_that_were_put_right_before_a_plan_stands_are_taken(tmp_path: Path) -> None:
    TraceDir.open(tmp_path / "t", config()).close()
    TraceDir.open(tmp_path / "t", config(alpha=0.01)).close()
    assert TraceDir.reading(tmp_path / "t").config == config(alpha=0.01)


def test_a_budget_is_raised_without_another_plan(tmp_path: Path) -> None:
    def asked(**more: object) -> TraceConfig:
        server = {"url": "http://127.0.0.1:1/v1", "provider": "p", **more}
        return config(suspect={"name": "theirs", "model": "n", "endpoint": server})

    with TraceDir.open(tmp_path / "t", asked(budget_tokens=9)) as work:
        work.finish(TracePlanned(plan="p", chain="c"))
    TraceDir.open(tmp_path / "t", asked(budget_tokens=99, url="http://127.0.0.1:2/v1")).close()
    assert (
        TraceDir.reading(tmp_path / "t").config.suspect.endpoint
        == asked(budget_tokens=99, url="http://127.0.0.1:2/v1").suspect.endpoint
    )
    with pytest.raises(PotstillError, match=r'revision is null there and "2" here'):
        TraceDir.open(tmp_path / "t", asked(budget_tokens=99, revision="2"))


def test_a_damaged_plan_record_is_an_error(tmp_path: Path) -> None:
    with TraceDir.open(tmp_path / "t", config()) as work:
        work.finish(TracePlanned(plan="p", chain="c"))
        work.record_path("planned").write_text("{")
        with pytest.raises(PotstillError, match="only it says what this trace was begun with"):
            work.done(TracePlanned)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / TRACE_FILE).write_text("name: x\n")
    with pytest.raises(PotstillError, match="is not a trace directory of potstill"):
        TraceDir.reading(tmp_path)
