"""What more time would have bought, from the validation curve of this very training."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.work.time_part import MoreTime

Point = tuple[float, float]
# Halves and quarters are looked for within this share of themselves.
_NEAR = 0.35


def more_time(points: Sequence[Point], step_seconds: float) -> MoreTime | None:
    """Return what twice the steps would lower the validation measure by, at most.

    `points` are (step, measure) of one training, less being better. Its last doubling, from half of
    the steps to all, lowered it by g. Where the doubling before lowered it by at least as much,
    doublings bring less and less, and the next one lies between nothing and g: that is all that is
    said, for twice the steps and not beyond. None where the curve has too few points, or shows no
    such order: then nothing can be told from it.
    """
    known = sorted(points)
    if len(known) < 3 or known[-1][0] <= 0:
        return None
    last, now = known[-1]
    half, quarter = _at(known, last / 2), _at(known, last / 4)
    if half is None or quarter is None:
        return None
    gained, before = half - now, quarter - half
    if gained < 0 or before < gained:
        return None
    return MoreTime(
        steps=round(last),
        seconds=last * step_seconds,
        measure=now,
        last_doubling=gained,
        doubling_before=before,
    )


def _at(points: Sequence[Point], step: float) -> float | None:
    """Return the measure at a step: a near point's, or between the two around it; None where the
    curve has none near enough."""
    below = [p for p in points if p[0] <= step]
    above = [p for p in points if p[0] >= step]
    if not below or not above:
        return None
    (x, y), (u, v) = below[-1], above[0]
    if min(abs(step - x), abs(u - step)) > _NEAR * step:
        return None
    return y if u == x else y + (v - y) * (step - x) / (u - x)
