"""What the list of a run's cases shows, and the notice to one account, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.report import words
from potstill.report.tables import FactList, moment
from potstill.text.counts import many
from potstill.watch.case.inferring import e_words
from potstill.watch.case.models import Appeal, CaseLine, CasesOfRun
from potstill.watch.evidence import unseen_words

ACTIONS = {
    "look": "look into it, and do nothing to accounts",
    "ask": "ask strong members who they are",
    "limit": "slow strong members down until a person has decided",
}
NOBODY_STRONG = "look at each account by itself: none is strong"


@dataclass(frozen=True)
class LineShown:
    """A case in the list: its id, which names its folder, its sentence, its figures."""

    case_id: str
    sentence: str
    facts: FactList


@dataclass(frozen=True)
class CasesShown:
    """What the template of the list calls by these names."""

    headline: str
    false_says: str
    open_cases: Sequence[LineShown]
    closed_cases: Sequence[LineShown]
    run: FactList
    not_found: Sequence[str]
    unseen: Sequence[str]


@dataclass(frozen=True)
class AppealShown:
    """What the template of a packet calls by these names."""

    means: str
    facts: FactList
    signs: Sequence[str]
    held_by: str
    asks: Sequence[str]


def cases_view(of_run: CasesOfRun) -> CasesShown:
    """Return what is shown of a run's cases."""
    opened = [one for one in of_run.cases if one.status == "open"]
    span = f"{of_run.days[0]} to {of_run.days[-1]}"
    return CasesShown(
        headline=(
            f"{many(len(opened), 'open case')} in {many(of_run.requests, 'request')} of "
            f"{of_run.parties:,} parties (accounts, where those of one contract count as one), "
            f"{span}."
        ),
        false_says=(
            f"The expected number of false ones among {many(len(of_run.cases), 'case')} is at most "
            f"{of_run.false_expected:.2g}: groups of strangers. People whom something innocent "
            "joins are not counted by that. A case is a place to look."
        ),
        open_cases=[_line(one) for one in opened],
        closed_cases=[_line(one) for one in of_run.cases if one.status == "closed"],
        run=[
            ("Made", moment(of_run.created_at)),
            ("potstill", of_run.potstill),
            ("Groups tested", words.whole(of_run.groups_tested)),
            ("False discovery rate", f"{of_run.level:g}"),
            ("Accounts on the allow-list, left out", words.whole(of_run.allowed)),
        ],
        not_found=of_run.not_found,
        unseen=unseen_words(of_run.off, of_run.notes),
    )


def appeal_view(appeal: Appeal) -> AppealShown:
    """Return what is shown to one account."""
    facts = [
        ("Your account", appeal.account),
        ("Requests looked at", words.whole(appeal.requests)),
        ("On how many days", words.whole(appeal.days)),
        ("First", moment(appeal.first)),
        ("Last", moment(appeal.last)),
        ("Refused", words.whole(appeal.refused)),
    ]
    return AppealShown(
        means=appeal.means,
        facts=[fact for fact in facts if fact[1] != words.NOTHING],
        signs=appeal.signs,
        held_by=", ".join(appeal.held_by),
        asks=appeal.asks,
    )


def _line(one: CaseLine) -> LineShown:
    facts = [
        ("Accounts", words.whole(one.accounts)),
        ("Of them strong: carry what holds in two families themselves", words.whole(one.strong)),
        ("Requests", words.whole(one.requests)),
        ("e, against strangers", e_words(one.log10_e)),
    ]
    if one.status == "open":
        action = ACTIONS[one.action] if one.strong or one.action == "look" else NOBODY_STRONG
        facts.append(("What may be done", action))
    else:
        facts.append(("Accounts that were not in it when it was closed", f"{one.since_closed:,}"))
    return LineShown(one.case_id, one.sentence, facts)
