"""What callbacks and the logger are told."""

from __future__ import annotations

import logging

import pytest

import potstill
from potstill.progress import Silent
from potstill.runs.callbacks import Logged, Told


class Kept(potstill.Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


def test_notes_reach_every_callback_and_what_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="potstill")
    one, other = Kept(), Kept()
    told = Told(Logged(), (one, other))
    told.note("is finished already; --fresh starts over")
    with told.step("train", total=3, unit="steps") as step:
        step.advance(2, loss=0.5)
    said = "is finished already; fresh=True starts over"
    assert one.notes == other.notes == [said]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", said),
        ("DEBUG", "train begins"),
        ("DEBUG", "train has ended"),
    ]


def test_a_callback_hears_nothing_unless_it_wants_to() -> None:
    told = Told(Silent(), (potstill.Callback(),))
    told.note("a")
    quiet = potstill.Callback()
    quiet.stage_started("train")
    quiet.logged({"step": 1})
