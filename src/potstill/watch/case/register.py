"""What is known of a store's cases from earlier runs, what was closed, and who is let be.

A case keeps its id while half of its accounts do. A closed one stays closed; what grows out of it,
so that most of it was no part of what was closed, is a new case that names the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from potstill.canonical import digest_of
from potstill.errors import PotstillError
from potstill.watch.evidence import Campaign
from potstill.work.workdir import Recorded, WorkRecord

# Where cases are written, unless somebody says otherwise: in the store that they are of.
CASES_FOLDER = "cases"


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


# An id names a folder, and stands in queries.
CaseId = Annotated[str, StringConstraints(pattern="^[0-9A-Za-z]+$")]
# ISO 8601, a day alone or with its time.
Moment = Annotated[str, AfterValidator(_moment)]


class KnownCase(Recorded):
    """A case as it was last found; `closed_with` are the accounts that it had when it was closed.

    `at` and `because` say when it was closed and why.
    """

    accounts: tuple[str, ...]
    first_found: Moment
    at: Moment | None = None
    because: str | None = None
    closed_with: tuple[str, ...] = ()
    after: CaseId | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.at is not None


class CaseRegister(WorkRecord):
    """All known cases by id; accounts and tenants on the allow-list, each with its reason."""

    name: ClassVar[str] = "cases"
    begun_with: ClassVar[bool] = True

    cases: dict[CaseId, KnownCase] = Field(default_factory=dict)
    accounts: dict[str, str] = Field(default_factory=dict)
    tenants: dict[str, str] = Field(default_factory=dict)

    def open_beside(self, case_ids: Iterable[str]) -> tuple[str, ...]:
        """Return the open cases that are none of these, sorted."""
        here = set(case_ids)
        return tuple(
            case_id
            for case_id, known in sorted(self.cases.items())
            if not known.closed and case_id not in here
        )

    def without_account(self, account: str) -> CaseRegister:
        """Return the register without an account's name."""

        def left(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name != account)

        cases = {
            case_id: known.model_copy(
                update={
                    "accounts": left(known.accounts),
                    "closed_with": left(known.closed_with),
                }
            )
            for case_id, known in self.cases.items()
        }
        kept = {name: why for name, why in self.accounts.items() if name != account}
        return self.model_copy(update={"cases": cases, "accounts": kept})


@dataclass(frozen=True)
class Named:
    """A campaign with the id of its case and what is known of it."""

    case_id: str
    campaign: Campaign
    known: KnownCase
    new: bool

    @property
    def since_closed(self) -> int:
        """Accounts that it had not when it was closed."""
        if not self.known.closed:
            return 0
        return len(set(self.campaign.accounts) - set(self.known.closed_with))


def named_cases(
    register: CaseRegister, campaigns: Sequence[Campaign], last_day: str
) -> tuple[list[Named], CaseRegister]:
    """Return campaigns with their cases' ids, in their order, and the register afterwards.

    A campaign is the known case with which it has most accounts in common, where that is half of
    either's or more, and an open one before a closed one; a case is one campaign at most. A closed
    case is only a campaign of which it had half when it was closed.
    """
    ids = _known_ids(register, campaigns)
    found: list[Named] = []
    for place, campaign in enumerate(campaigns):
        if (case_id := ids.get(place)) is None:
            after = _grown_from(register, campaign)
            case_id = _fresh_id(campaign.campaign_id, register)
            known = KnownCase(accounts=campaign.accounts, first_found=last_day, after=after)
        else:
            known = register.cases[case_id].model_copy(update={"accounts": campaign.accounts})
        found.append(Named(case_id, campaign, known, new=place not in ids))
        register = register.model_copy(update={"cases": {**register.cases, case_id: known}})
    return found, register


def closed_register(
    register: CaseRegister, case_ids: Iterable[str], at: str, because: str
) -> CaseRegister:
    """Return the register with cases closed. Raises PotstillError for one that is not known."""
    cases = dict(register.cases)
    for case_id in case_ids:
        known = _of(cases, case_id)
        cases[case_id] = known.model_copy(
            update={"at": at, "because": because, "closed_with": known.accounts}
        )
    return register.model_copy(update={"cases": cases})


def reopened_register(register: CaseRegister, case_ids: Iterable[str]) -> CaseRegister:
    """Return the register with cases open again. Raises PotstillError for one that is not known."""
    cases = dict(register.cases)
    for case_id in case_ids:
        cases[case_id] = _of(cases, case_id).model_copy(
            update={"at": None, "because": None, "closed_with": ()}
        )
    return register.model_copy(update={"cases": cases})


def _of(cases: dict[str, KnownCase], case_id: str) -> KnownCase:
    if case_id not in cases:
        raise PotstillError(
            f"no case is called {case_id}; `potstill watch cases` lists those that there are"
        )
    return cases[case_id]


def _known_ids(register: CaseRegister, campaigns: Sequence[Campaign]) -> dict[int, str]:
    """Return the known cases' ids by the campaigns' places: the likest pairs first."""
    pairs = []
    for case_id, known in register.cases.items():
        earlier, closed_with = set(known.accounts), set(known.closed_with)
        for place, campaign in enumerate(campaigns):
            mine = set(campaign.accounts)
            common = len(mine & earlier)
            if not common or 2 * common < min(len(mine), len(earlier)):
                continue
            if known.closed and 2 * len(mine & closed_with) < len(mine):
                continue
            pairs.append((known.closed, -common, len(mine | earlier), case_id, place))
    found: dict[int, str] = {}
    for _, _, _, case_id, place in sorted(pairs):
        if place not in found and case_id not in found.values():
            found[place] = case_id
    return found


def _grown_from(register: CaseRegister, campaign: Campaign) -> str | None:
    """Return the closed case that a new one has accounts of, most first."""
    mine = set(campaign.accounts)
    shares = [
        (-len(mine & set(known.closed_with)), case_id)
        for case_id, known in register.cases.items()
        if known.closed and mine & set(known.closed_with)
    ]
    return min(shares)[1] if shares else None


def _fresh_id(wanted: str, register: CaseRegister) -> str:
    """Return an id that no other case has had: a campaign's own where it is free."""
    case_id, number = wanted, 1
    while case_id in register.cases:
        number += 1
        case_id = digest_of([wanted, number])[: len(wanted)]
    return case_id
