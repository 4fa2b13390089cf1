"""Progress as bars and as lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from potstill.cli import progress_view
from potstill.cli.progress_view import PlainProgress, RichProgress, state


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_state_counts_rates_and_foresees() -> None:
    text = state(100, 1200, "prompts", 10.0, {"loss": 0.51234, "busy": "93%"}, ended=False)
    assert text == "100 of 1,200 prompts, 10.0/s, 1 min 50 s left, loss 0.512, busy 93%"
    assert (
        state(1200, 1200, "prompts", 90.0, {}, ended=True) == "1,200 prompts in 1 min 30 s, 13.3/s"
    )
    assert state(0, None, "", 3.0, {}, ended=True) == "in 3.0 s"
    assert state(0, None, "", 3.0, {}, ended=False) == ""
    assert state(5, None, "rows", 0.0, {}, ended=False) == "5 rows"


def test_plain_lines_are_few_and_the_end_is_told() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainProgress(stream, every=5.0, clock=clock)
    with view.step("collect", 100, "prompts") as step:
        for _ in range(100):
            clock.now += 0.25
            step.advance(1, tokens_per_s=400.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "collect: 20 of 100 prompts, 4.00/s, 20 s left, tokens per s 400"
    assert lines[-1] == "collect: 100 prompts in 25 s, 4.00/s, tokens per s 400"
    assert len(lines) == 6


def test_short_steps_leave_no_line_and_notes_stay() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainProgress(stream, clock=clock)
    with view.step("quick", 3) as step:
        clock.now += 1.0
        step.advance(3)
    view.note("a note with [brackets]")
    assert stream.getvalue() == "a note with [brackets]\n"


def test_a_step_that_never_advances_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_view, "SHORT", 0.01)
    stream = io.StringIO()
    with PlainProgress(stream).step("load teacher"):
        import time

        time.sleep(0.2)
    assert stream.getvalue().splitlines()[0] == "load teacher ..."
    assert stream.getvalue().splitlines()[1].startswith("load teacher: in 0.2")


def test_an_error_inside_a_step_passes_and_claims_no_end() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainProgress(stream, clock=clock)

    def broken() -> None:
        with view.step("x"):
            clock.now += 60
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert stream.getvalue() == ""


def test_bars_show_figures_and_leave_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_view, "SHORT", 0.0)
    stream = io.StringIO()
    view = RichProgress(Console(file=stream, force_terminal=True, width=120, color_system=None))
    with view.step("train [x]", 4, "steps") as outer, view.step("validate", 2) as inner:
        inner.advance(2)
        outer.advance(4, loss=0.25)
        view.note("a note with [brackets]")
    shown = stream.getvalue()
    assert "a note with [brackets]" in shown
    assert "train [x]: 4 steps in" in shown
    assert "loss 0.250" in shown
