"""When a training ends: by the clock, or as an earlier one did."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from potstill.work.time_plan import Leg

# Steps whose time says what the next ones take.
_RECENT = 6
# DrawTimes whose time says what the next ones take, and the share of what is foretold that is one.
_RECENT_DRAWS, _A_DRAW = 4, 0.1
# The first step also makes what later ones find there.
_WARM = 1
# So many of them have to be known, of a training that has more than a few.
_KNOWN, _FEW = 4, 16
# A training is made longer only where this much is gained, and not in its last part.
_WORTH = 0.06
_NOT_AFTER = 0.85
# Fewer steps than this share of all are not worth another leg, but towards the end each is.
_SLACK = 0.03
_NEAR_END = 10


@dataclass(frozen=True)
class DrawTimes:
    """Answers that the student writes while it is trained: the seconds that a draw is foretold to
    take, how many steps there are from one to the next, and the share of what is planned that comes
    before the first."""

    seconds: float
    every: float
    first: float


class RecordedPace:
    """The legs of a training that was done before: no clock is asked."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self._legs = tuple(legs)

    def begun(self, planned: int, done: int) -> tuple[Leg, ...]:
        """Return the legs."""
        return self._legs or (Leg(at=0, total=planned),)

    def legs(self, done: int) -> tuple[Leg, ...]:
        """Return the legs."""
        return self._legs

    def stepped(self, tokens: int, seconds: float, apart: float = 0.0) -> None:
        """Take no notice."""


class ClockedPace:
    """Ends a training so that what comes after it fits into the minutes that are left.

    `left` says how many seconds training has, by now and by how much slower the machine has become
    since the first steps (1 where it has not). `keep` records legs, durable on return. A training
    that goes on does the steps that it lost again as it did them (`reached` is the last one),
    and chooses anew from there.
    """

    def __init__(
        self,
        steps: int,
        *,
        left: Callable[[float], float],
        keep: Callable[[tuple[Leg, ...]], None],
        validate_every: int,
        measured: float,
        recorded: Sequence[Leg] = (),
        reached: int = 0,
        draws: DrawTimes | None = None,
    ) -> None:
        self._steps, self._left, self._keep = steps, left, keep
        self._every, self._measured = validate_every, measured
        self._legs, self._reached = tuple(recorded), reached
        self._planned, self._draws = steps, draws
        self._drawn: deque[float] = deque(maxlen=_RECENT_DRAWS)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._first: list[float] = []
        self._count = self._tokens = 0

    def begun(self, planned: int, done: int) -> tuple[Leg, ...]:
        """Return the legs of a training of at most `planned` steps that goes on after `done`."""
        self._planned = planned
        if done == 0 or not self._legs:
            self._reached = done
            self._take((Leg(at=0, total=max(1, min(self._steps, planned))),))
        return self._legs

    def stepped(self, tokens: int, seconds: float, apart: float = 0.0) -> None:
        """Take what a step read, and how long that took, its draw of own answers apart."""
        if self._draws is not None and apart > _A_DRAW * self._draws.seconds:
            self._drawn.append(apart)
        seconds -= apart
        self._count += 1
        self._tokens += tokens
        if self._count > _WARM:
            self._recent.append(seconds / tokens)
            if len(self._first) < _RECENT:
                self._first.append(seconds / tokens)

    def measured(self, seconds: float) -> None:
        """Take how long a measurement on validation prompts took."""
        self._measured = seconds

    def legs(self, done: int) -> tuple[Leg, ...]:
        """Return the legs as they are now, after `done` steps."""
        total = self._legs[-1].total
        known = len(self._recent) >= (_KNOWN if total > _FEW else 1)
        if done < self._reached or not known:
            return self._legs
        wanted = min(self._planned, done + self._affordable(done))
        fewer, more = total - wanted, wanted - total
        near = total - done <= _NEAR_END
        too_many = fewer > 0 and (near or fewer >= max(2.0, _SLACK * total))
        too_few = more >= max(3.0, _WORTH * total) and done < _NOT_AFTER * total
        if too_many or too_few:
            self._change(done, wanted)
        return self._legs

    def _affordable(self, done: int) -> int:
        """Return how many more steps there is time for, what is measured among them included."""
        slower = max(1.0, mean(self._recent) / median(self._first))
        a_step = mean(self._recent) * self._tokens / self._count + self._beside(done)
        left = self._left(slower) - self._measured
        return max(0, int(left / (a_step + self._measured / self._every)))

    def _beside(self, done: int) -> float:
        """Return the seconds of a step to come that draws take, as the last did, or as foretold."""
        if self._draws is None:
            return 0.0
        total = self._legs[-1].total
        with_draws = total - max(done, self._draws.first * self._planned)
        share = max(0.0, with_draws / max(1, total - done))
        return share * mean(self._drawn or [self._draws.seconds]) / self._draws.every

    def _change(self, done: int, total: int) -> None:
        self._take((*self._legs, Leg(at=done, total=total)))

    def _take(self, legs: tuple[Leg, ...]) -> None:
        self._keep(legs)
        self._legs = legs
