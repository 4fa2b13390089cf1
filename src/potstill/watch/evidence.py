"""What a run finds: candidates with the evidence about them, and the campaigns among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from potstill.watch.schema import Family

Chooser = Literal["templates", "means", "places"]
CHOSEN_BY: Mapping[Chooser, str] = {
    "templates": "templates of prompts",
    "means": "payment, devices or relays",
    "places": "networks and e-mail domains",
}
Part = Literal[
    "spread", "sharding", "clock", "rounds", "hand-off", "means", "places", "intent"
]  # fmt: skip


class FoundPart(BaseModel):
    """A part of what a run finds; nothing in it is anybody's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SignalFinding(FoundPart):
    """One signal of one group: the figure, what strangers would show, and which null says so.

    `log10_e` is None where the signal convicts nobody and only describes. `chosen` tells that the
    group was chosen by it. `part` tells apart what is tested under one name.
    """

    signal: str
    family: Family
    part: Part | None = None
    observed: float
    expected: float
    null: str
    log10_e: float | None = None
    chosen: bool = False


class Candidate(FoundPart):
    """A group that was tested. `log10_e` says that at least two independent families hold.

    `without` is the same with each family left out. `carried_by` are those of its parties in which
    what holds shows, or which use its templates as those do; the tests are of the whole group.
    `shown_in` tells of each part that holds in which parties it shows, where that can be told.
    `keys` are what clients that chose it have hard-coded (`template_keys`).
    `undeclared` tells that these fit customers who declared no tenant: no campaign, however much
    stands. `untested` are parts that were not tried, since the group could not stand by them: they
    count as E = 0.
    """

    candidate_id: str
    chosen_by: Chooser
    parties: tuple[str, ...]
    carried_by: tuple[str, ...]
    requests: int
    signals: tuple[SignalFinding, ...]
    log10_e: float
    without: dict[str, float]
    found: bool = False
    undeclared: bool = False
    untested: tuple[Part, ...] = ()
    shown_in: dict[Part, tuple[str, ...]] = Field(default_factory=dict)
    keys: tuple[str, ...] = Field(default=(), exclude=True)


class Campaign(FoundPart):
    """Candidates that stand, and have most of their parties in common, as one campaign.

    Its accounts are those of the parties that carry what holds.
    """

    campaign_id: str
    accounts: tuple[str, ...]
    requests: int
    families: tuple[Family, ...]
    candidates: tuple[Candidate, ...]

    @property
    def log10_e(self) -> float:
        """The largest of its candidates'."""
        return max(one.log10_e for one in self.candidates)


class CampaignsFound(FoundPart):
    """What a run over a store found.

    `off` names the signals that were off, with what they lacked; `false_expected` is how many of
    the campaigns are expected to be false at most, by the false discovery rate. `template_of` tells
    which of the groups that templates chose each party is in, by its place among the candidates.
    """

    days: tuple[str, ...]
    requests: int
    parties: int
    level: float
    candidates: tuple[Candidate, ...]
    campaigns: tuple[Campaign, ...]
    off: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    template_of: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def false_expected(self) -> float:
        """The rate times what was found: no bound for one campaign."""
        return self.level * len(self.campaigns)


def unseen_words(off: Mapping[str, Sequence[str]], notes: Sequence[str]) -> tuple[str, ...]:
    """Return what a run could not see: the signals that were off, and its notes."""
    return (
        *(f"{signal} was off: it needs {', '.join(lacks)}" for signal, lacks in off.items()),
        *notes,
    )
