"""What a search named, held against campaigns whose accounts are known since they were put in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class HiddenCampaign:
    """A campaign that was put into traffic: how it works, and the requests of each account.

    `leaves` are the families of evidence that it leaves by how it was made, whatever finds it.
    """

    name: str
    works: str
    accounts: Mapping[str, int]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class NamedGroup:
    """Accounts that a search named as one campaign, and the families that hold for them."""

    case_id: str
    accounts: frozenset[str]
    families: tuple[str, ...]


@dataclass(frozen=True)
class CampaignOutcome:
    """What became of one hidden campaign: which cases are it, and how much of it they name.

    `requests` are of all requests of its accounts the part that its named ones made, `swept` the
    accounts in these cases that are not its own.
    """

    hidden: HiddenCampaign
    cases: tuple[str, ...]
    families: tuple[str, ...]
    accounts: int
    requests: float
    swept: int

    @property
    def named(self) -> bool:
        """Whether a case is it."""
        return bool(self.cases)


def outcomes(
    hidden: Sequence[HiddenCampaign], named: Sequence[NamedGroup]
) -> tuple[CampaignOutcome, ...]:
    """Return what became of each campaign: a case is one if half of its accounts or more are."""
    owner = {account: one.name for one in hidden for account in one.accounts}
    return tuple(
        _outcome(one, [n for n in named if owner_of(n, owner) == one.name]) for one in hidden
    )


def false_groups(
    hidden: Sequence[HiddenCampaign], named: Sequence[NamedGroup]
) -> tuple[NamedGroup, ...]:
    """Return the cases that are no campaign: fewer than half of their accounts are of one."""
    owner = {account: one.name for one in hidden for account in one.accounts}
    return tuple(one for one in named if owner_of(one, owner) is None)


def owner_of(named: NamedGroup, owner: Mapping[str, str]) -> str | None:
    """Return the campaign that half of a case's accounts or more are of; None where none is."""
    counts = Counter(owner[account] for account in named.accounts if account in owner)
    for name, count in counts.most_common(1):
        if 2 * count >= len(named.accounts):
            return name
    return None


def _outcome(hidden: HiddenCampaign, mine: Sequence[NamedGroup]) -> CampaignOutcome:
    every = frozenset[str]().union(*(one.accounts for one in mine))
    own = [account for account in every if account in hidden.accounts]
    total = sum(hidden.accounts.values())
    return CampaignOutcome(
        hidden=hidden,
        cases=tuple(one.case_id for one in mine),
        families=tuple(sorted({family for one in mine for family in one.families})),
        accounts=len(own),
        requests=sum(hidden.accounts[account] for account in own) / total if total else 0.0,
        swept=len(every) - len(own),
    )
