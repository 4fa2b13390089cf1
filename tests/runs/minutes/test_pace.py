"""When a training ends, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from potstill.runs.minutes.pace import ClockedPace, DrawTimes, RecordedPace
from potstill.train.schedule import TrainingPace
from potstill.work.time_plan import Leg


class Machine:
    """A training of steps of so many seconds, which may change on the way."""

    def __init__(self, allowed: float, seconds: Callable[[int], float]) -> None:
        self.now, self.allowed, self.seconds = 0.0, allowed, seconds
        self.kept: list[tuple[Leg, ...]] = []

    def pace(self, steps: int, recorded: Sequence[Leg] = (), reached: int = 0) -> ClockedPace:
        return ClockedPace(
            steps,
            left=lambda slower: self.allowed - self.now,
            keep=self.kept.append,
            validate_every=1000,
            measured=0.0,
            recorded=recorded,
            reached=reached,
        )

    def train(self, pace: TrainingPace, listed: int, done: int = 0) -> tuple[int, tuple[Leg, ...]]:
        legs = pace.begun(listed, done)
        while done < legs[-1].total:
            self.now += self.seconds(done)
            pace.stepped(1000, self.seconds(done))
            done += 1
            if done < legs[-1].total:
                legs = pace.legs(done)
        return done, legs


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.5, 3.0])
def test_a_machine_that_is_slower_than_foretold_ends_in_time(slower: float) -> None:
    machine = Machine(100.0, lambda step: slower)
    done, legs = machine.train(machine.pace(95), 130)
    assert machine.now <= 100.0 + slower
    assert machine.now >= 90.0
    assert legs[0] == Leg(at=0, total=95)
    assert legs[-1].total == done
    assert machine.kept[-1] == legs


def test_a_machine_that_becomes_slower_ends_in_time() -> None:
    machine = Machine(100.0, lambda step: 1.0 if step < 40 else 2.5)
    done, _ = machine.train(machine.pace(95), 130)
    assert 90.0 <= machine.now <= 103.0
    assert done < 70


@pytest.mark.parametrize("really", [0.5, 1.0, 3.0])
def test_draws_of_own_answers_are_foretold_and_make_no_machine_slower(really: float) -> None:
    """Of 100 planned steps the last 75 draw 10 seconds' answers every 8 steps."""
    slower: list[float] = []

    def left(now_slower: float) -> float:
        slower.append(now_slower)
        return 120.0 - now

    pace = ClockedPace(
        70,
        left=left,
        keep=lambda legs: None,
        validate_every=1000,
        measured=0.0,
        draws=DrawTimes(10.0, 8.0, 0.25),
    )
    now, done, legs = 0.0, 0, pace.begun(100, 0)
    while done < legs[-1].total:
        apart = 10.0 * really if done >= 25 and (done - 25) % 8 == 0 else 0.0
        now += 1.0 + apart
        pace.stepped(1000, 1.0 + apart, apart)
        done += 1
        legs = pace.legs(done)
    assert 120.0 - 12 * really <= now <= 121.0 + 10 * really
    assert max(slower) < 1.01


def test_recorded_legs_give_the_same_training_again() -> None:
    machine = Machine(100.0, lambda step: 1.0 if step < 40 else 2.5)
    done, legs = machine.train(machine.pace(95), 130)
    other = Machine(1.0, lambda step: 9.0)
    assert other.train(RecordedPace(legs), 130) == (done, legs)


def test_steps_that_a_kill_lost_are_done_again_as_they_were() -> None:
    first = Machine(100.0, lambda step: 2.0)
    pace = first.pace(95)
    pace.begun(130, 0)
    for done in range(1, 21):
        pace.stepped(1000, 2.0)
        first.now += 2.0
        legs = pace.legs(done)
    # Killed after step 20, with a checkpoint of step 10.
    second = Machine(40.0, lambda step: 2.0)
    again = second.pace(95, recorded=legs, reached=20)
    assert again.begun(130, 10) == legs
    for done in range(11, 20):
        again.stepped(1000, 2.0)
        second.now += 2.0
        assert again.legs(done) == legs
    done, ended = second.train(again, 130, 19)
    assert ended[: len(legs)] == legs
    assert all(leg.at >= 20 for leg in ended[len(legs) :])
    assert second.now <= 42.0


def test_a_training_that_lost_all_begins_anew() -> None:
    machine = Machine(50.0, lambda step: 1.0)
    pace = machine.pace(30, recorded=(Leg(at=0, total=95), Leg(at=12, total=60)), reached=14)
    assert pace.begun(130, 0) == (Leg(at=0, total=30),)
