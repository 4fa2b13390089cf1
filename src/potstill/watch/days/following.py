"""Candidates followed from day to day: what has come together about each, and which ones stand.

Let a candidate be chosen on day d. Each part of the evidence about it is an e-process, or one
e-value (docs/methods/watch-days.md): links, template spread and intent hang on no day, so that they
count once; hand-offs of each later day, and the order of each later block of days, are bets given
all that came before. What such bets come to is lifted, so that what was once reached stays, and
holds whoever looks when. The level is spent over the days on which somebody was chosen.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from potstill.canonical import digest_of
from potstill.stats.evalues import betting_log_e, lifted_log_e
from potstill.stats.multiple import spent_share, weighted_e_bh
from potstill.watch.campaigns import Grouping
from potstill.watch.days.daylog import ChosenGroup, DayLine
from potstill.watch.evidence import CHOSEN_BY, Chooser, Part
from potstill.watch.find import Chosen
from potstill.watch.judging import two_families_log_e
from potstill.watch.naming import StandingGroup, widened
from potstill.watch.tally import HELD, Tested

# Days that groups are chosen from, days whose order is tested together, and for how many days a
# candidate is tested after a group was last like it.
WINDOW_DAYS, BLOCK_DAYS, REST_DAYS = 7, 3, 7
# A group is a known candidate if so much of both together is in both.
LIKE = 0.5
FOLLOWED: tuple[Part, ...] = ("hand-off", "clock", "rounds", "sharding")
METHOD = f"days/1 window {WINDOW_DAYS} block {BLOCK_DAYS} rest {REST_DAYS}"
_LN10 = math.log(10)
_DIGITS, _STEP, _LEAST = 16, 1e6, -700.0


def candidate_id_of(by: Chooser, day: str, parties: Sequence[str]) -> str:
    """Return a candidate's id: of what chose it, when, and who is in it."""
    return digest_of([by, day, list(parties)])[:_DIGITS]


def grouping_of(group: ChosenGroup) -> Grouping:
    """Return a candidate as the group that is tested."""
    return Grouping(group.parties, (), group.keys, group.used, group.close)


def written(log_e: float) -> float:
    """Return ln of an e-value as a line has it, never more than it is; of 0, e to the -700."""
    return math.floor(max(log_e, _LEAST) * _STEP) / _STEP


@dataclass
class Followed:
    """A candidate as it stands. `place` is its day's place, `seen` those on which a group was like
    it, `log10_share` the part of the level that it was given."""

    group: ChosenGroup
    day: str
    place: int
    log10_share: float
    seen: list[int]
    bets: dict[Part, list[float]]
    carriers: dict[Part, set[int]]
    parts: dict[Part, float] = field(default_factory=dict)
    log_e: float = -math.inf
    named_on: str | None = None

    @classmethod
    def of(cls, group: ChosenGroup, day: str, place: int, log10_share: float) -> Followed:
        """Return a candidate on the day on which it was chosen."""
        bets: dict[Part, list[float]] = {part: [] for part in group.follows}
        found = cls(group, day, place, log10_share, [place], bets, defaultdict(set))
        found.add(group.bets, group.carriers)
        return found

    def add(self, bets: Mapping[Part, float], carriers: Mapping[Part, Iterable[int]]) -> None:
        """Take in what a day says."""
        for part, log_e in bets.items():
            self.bets[part].append(log_e)
        for part, places in carriers.items():
            self.carriers[part].update(places)
        self.parts = dict(self.group.once)
        for part, placed in self.bets.items():
            self.parts[part] = lifted_log_e(float(betting_log_e(placed).max()))
        self.log_e = two_families_log_e(self.group.by, self.parts)

    def is_live(self, place: int) -> bool:
        """Tell whether it is tested after the day at `place`, by what was known on that day."""
        last = max((seen for seen in self.seen if seen <= place), default=-1)
        return last >= 0 and place - last < REST_DAYS

    def tested_on(self, place: int) -> tuple[bool, bool]:
        """Tell whether it is tested on a day alone, and whether a block of its days ends there."""
        since = place - self.place
        ends = since > 0 and since % BLOCK_DAYS == 0 and self.is_live(place - BLOCK_DAYS)
        return since > 0 and self.is_live(place - 1), ends

    def standing(self) -> StandingGroup:
        """Return it as a group that stands: in whom something shows that holds, who is named."""
        parties, grouping = self.group.parties, grouping_of(self.group)
        names = {
            part: frozenset(parties[place] for place in places)
            for part, places in self.carriers.items()
        }
        tested = Tested(self.parts, (), names)
        carrying = tested.carried_by(parties, self.group.by)
        means = self.parts.get("means", -math.inf) >= HELD
        share = max(self.group.share_of_means if means else 0.0, tested.share_shown(parties))
        loose = Chosen(self.group.by, grouping).loose
        linked = self.group.by != "templates"
        return StandingGroup(parties, carrying, widened(grouping, carrying, share), loose, linked)

    @property
    def is_undeclared(self) -> bool:
        """Whether what stands fits customers who declared no tenant: such are not named."""
        alone = two_families_log_e(self.group.by, self.parts, "infrastructure") < HELD
        return self.group.fits_one or (alone and self.group.fits_several)


class Following:
    """All candidates after the days that were added, in the order in which they were chosen."""

    def __init__(self) -> None:
        self.lines: list[DayLine] = []
        self.candidates: dict[str, Followed] = {}
        self._batches: Counter[Chooser] = Counter()
        self._of_party: dict[tuple[Chooser, str], list[str]] = defaultdict(list)

    @classmethod
    def of(cls, lines: Iterable[DayLine], level: float | None = None) -> Following:
        """Return the candidates after some days; with a level who stands is told day by day."""
        found = cls()
        for line in lines:
            found.add(line)
            if level is not None:
                found.name(level)
        return found

    def add(self, line: DayLine) -> None:
        """Take in a day: first what it says of those who were there, then who was chosen."""
        place = len(self.lines)
        self.lines.append(line)
        for told in line.tested:
            self.candidates[told.candidate_id].add(told.bets, told.carriers)
        for known in line.again:
            self.candidates[known].seen.append(place)
        for by in CHOSEN_BY:
            mine = [one for one in line.chosen if one.by == by]
            if not mine:
                continue
            self._batches[by] += 1
            share = spent_share(self._batches[by]) / (len(CHOSEN_BY) * len(mine))
            for one in mine:
                followed = Followed.of(one, line.day, place, math.log10(share))
                self.candidates[one.candidate_id] = followed
                for party in one.parties:
                    self._of_party[by, party].append(one.candidate_id)

    def name(self, level: float) -> None:
        """Note who stands now: those who stood before do, since nothing lifted ever falls."""
        every = list(self.candidates.values())
        stands = weighted_e_bh(
            [one.log_e / _LN10 for one in every], [one.log10_share for one in every], level
        )
        for one, named in zip(every, stands, strict=True):
            if named and one.named_on is None:
                one.named_on = self.lines[-1].day

    def named(self) -> list[Followed]:
        """Return who stands."""
        return [one for one in self.candidates.values() if one.named_on is not None]

    def like(self, by: Chooser, parties: Sequence[str]) -> str | None:
        """Return the candidate of the same choosing that a group is most like, if it is enough."""
        common = Counter(
            known for party in parties for known in self._of_party.get((by, party), ())
        )
        scores = [
            (n / (len(parties) + len(self.candidates[known].group.parties) - n), known)
            for known, n in common.items()
        ]
        if not scores:
            return None
        score, known = max(scores, key=lambda one: (one[0], one[1]))
        return known if score >= LIKE else None
