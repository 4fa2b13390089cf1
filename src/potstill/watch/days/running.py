"""Days followed as far as a store has them: only what is new, or has changed, is looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ibis.backends.duckdb import Backend

from potstill.progress import Progress
from potstill.watch.days.daylog import DayLine, append_day, keep_days, read_days
from potstill.watch.days.following import METHOD, Following
from potstill.watch.days.marks import chains, marked_days
from potstill.watch.days.stepping import DaysRead, day_line
from potstill.watch.ingest.store import TrafficStore


@dataclass(frozen=True)
class DaysFollowed:
    """Lines of a store's days. `computed` are those that were looked at in this run, `again` those
    whose earlier line no longer stood, `beyond` lines of later days that nobody asked for."""

    lines: tuple[DayLine, ...]
    computed: tuple[str, ...]
    again: tuple[str, ...]
    beyond: int


def follow_days(
    store: TrafficStore,
    backend: Backend,
    until: str,
    allowed: Collection[str],
    progress: Progress,
) -> DaysFollowed:
    """Bring a store's file of days up to the day `until`, each line durable when it is there.

    A line stands as long as nothing that it is made of has changed; from the first that does not
    on, days are looked at again, so that the file is that of a first run over the same store.
    """
    digests = chains(store, backend, marked_days(store, backend), allowed, METHOD)
    days = tuple(digests)
    wanted = tuple(day for day in days if day <= until)
    lines = read_days(store.root)
    kept = _standing(lines, digests)
    again = tuple(line.day for line in lines[kept:] if line.day in digests)
    # A file with a damaged end is also longer than what is read of it.
    keep_days(store.root, lines[:kept])
    lines = lines[:kept]
    beyond = max(0, kept - len(wanted))
    reading = DaysRead(store, backend, days, allowed)
    following = Following.of(lines)
    computed = wanted[kept:]
    with progress.step("days", total=len(computed), unit="days") as step:
        for place in range(kept, len(wanted)):
            line = day_line(reading, following, place, digests[days[place]])
            append_day(store.root, line)
            following.add(line)
            lines.append(line)
            step.advance()
    return DaysFollowed(tuple(lines[: len(wanted)]), computed, again, beyond)


def _standing(lines: Sequence[DayLine], digests: dict[str, str]) -> int:
    """Return how many lines stand: as long as each is of the store's next day, as it is now."""
    kept = 0
    for line, (day, chain) in zip(lines, digests.items(), strict=False):
        if (line.day, line.chain) != (day, chain):
            break
        kept += 1
    return kept
