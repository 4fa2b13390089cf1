"""Evidence about a group as it comes in: ln E of each part, every figure, and who carries it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from potstill.stats.evalues import average_log_e
from potstill.watch.evidence import Chooser, Part, SignalFinding
from potstill.watch.judging import FAMILY, convicting, log10_written
from potstill.watch.nulls import PlacedBet

# A family is named as held from this ln E on; whether a group stands is e-BH's alone.
HELD = math.log(20)


@dataclass(frozen=True)
class Tested:
    """What testing a group gave: ln E of each part that could be tested, and every figure.

    `carriers` has the parties in which a part shows, for parts where that can be told. `untested`
    are parts that could not have made the group stand: they were not tried, and have E = 0.
    """

    parts: dict[Part, float]
    signals: tuple[SignalFinding, ...]
    carriers: Mapping[Part, frozenset[str]] = field(default_factory=dict)
    untested: tuple[Part, ...] = ()

    def carried_by(
        self, parties: Sequence[str], by: Chooser, *, told: bool = False
    ) -> tuple[str, ...]:
        """Return those of the parties of a group, chosen so, in which something shows that holds
        and convicts it (`convicting`).

        All where such a part is not told party by party, or none holds; with `told` such a part
        counts only where no other one holds.
        """
        held = convicting(by, self.parts, HELD)
        known = [part for part in held if part in self.carriers]
        if not known or (len(known) < len(held) and not told):
            return tuple(parties)
        carrying = frozenset().union(*(self.carriers[part] for part in known))
        return tuple(one for one in parties if one in carrying)

    def share_shown(self, parties: Sequence[str]) -> float:
        """Return the share of a group's parties in which anything shows that holds, whether it
        convicts or not."""
        shown = set[str]().union(*self.shown_in().values())
        return len(shown & set(parties)) / max(len(parties), 1)

    def shown_in(self) -> dict[Part, tuple[str, ...]]:
        """Return the parties in which each part that holds shows, sorted, where that is told."""
        return {
            part: tuple(sorted(self.carriers[part]))
            for part, log_e in sorted(self.parts.items())
            if log_e >= HELD and part in self.carriers
        }


@dataclass
class GroupTally:
    """Evidence as it comes in, by part."""

    found: dict[Part, list[float]] = field(default_factory=dict)
    signals: list[SignalFinding] = field(default_factory=list)
    carriers: dict[Part, set[str]] = field(default_factory=dict)
    untested: list[Part] = field(default_factory=list)

    def add(
        self,
        part: Part,
        signal: str,
        null: str,
        evidence: PlacedBet | None,
        *,
        chosen: bool = False,
        carriers: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """Take a figure in; of what `chosen` tells that it chose the group it is no evidence.

        Where the figure holds, `carriers` says in which parties.
        """
        if evidence is None:
            return
        if not chosen:
            self.found.setdefault(part, []).append(evidence.log_e)
            if carriers is not None and evidence.log_e >= HELD:
                self.carriers.setdefault(part, set()).update(carriers())
        self.signals.append(
            SignalFinding(
                signal=signal,
                family=FAMILY[part],
                part=part,
                observed=round(evidence.observed, 3),
                expected=round(evidence.expected, 3),
                null=null,
                log10_e=None if chosen else log10_written(evidence.log_e),
                chosen=chosen,
            )
        )

    def lose(self, part: Part) -> None:
        """Take a part for a bet that is lost, E = 0, unless a figure of it was taken in."""
        self.found.setdefault(part, [-math.inf])

    def parts(self) -> dict[Part, float]:
        """Return ln E of each part that was tested."""
        return {
            part: average_log_e(bets) if max(bets) > -math.inf else -math.inf
            for part, bets in self.found.items()
        }

    def tested(self) -> Tested:
        """Return all of it."""
        parts = {**dict.fromkeys(self.untested, -math.inf), **self.parts()}
        carriers = {part: frozenset(names) for part, names in self.carriers.items()}
        left = tuple(part for part in self.untested if part not in self.found)
        return Tested(parts, tuple(self.signals), carriers, left)
