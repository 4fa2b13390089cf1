"""What the page of a case shows, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.report import words
from potstill.report.cases.graph import graph_chart
from potstill.report.charts import Chart, bars
from potstill.report.frame import MOST_BYTES, fitting
from potstill.report.tables import Cell, FactList, Table, TableRow, cut, moment, row
from potstill.text.counts import many
from potstill.watch.case.carrying import carriers_of
from potstill.watch.case.inferring import e_words
from potstill.watch.case.models import (
    Case,
    CaseInference,
    Explanation,
    FactTable,
    GroupInference,
    MemberSign,
    SignalFact,
    SignalInference,
    Statement,
)
from potstill.watch.evidence import CHOSEN_BY

# What a signal says in plain words, where more of it is seen than of strangers.
_SAYS = {
    "template spread": "members that ask alike",
    "slot coverage": "how evenly members fill one another's gaps, as who works off one list does",
    "synchrony": "members act in the same minutes (squared requests of each, summed)",
    "complementary load": "members share out the day (squared requests of half hours, summed)",
    "hand-off": "requests that one was refused and another repeated within two minutes",
    "shared payment": "members that pay with another one's card",
    "shared device": "members on another one's device",
    "shared client address": "members that ask through another one's network",
    "shared network of accounts": "members opened from another one's network",
    "shared e-mail domain": "members with another one's mail domain",
    "accounts opened together": "members opened in the hour of another one",
    "reasoning elicitation": "members that ask for reasoning",
    "rubric and reward prompts": "members that ask for grades or rewards",
}
# An e-value from which a signal is named among those that a case rests on.
_RESTS = 1.0
MOST_MEMBERS, MOST_DAYS, MOST_SHARED = 100, 31, 30
_EXAMPLE = 600


@dataclass(frozen=True)
class QueryShown:
    """A query, and what it computes."""

    says: str
    query: str


@dataclass(frozen=True)
class GroupShown:
    """A group of the case: its head, what was observed beside what was expected, the queries."""

    head: str
    table: Table
    queries: Sequence[QueryShown]


@dataclass(frozen=True)
class CaseShown:
    """What the template of a case calls by these names."""

    sentence: str
    rests_on: Sequence[str]
    strength: str
    caution: str
    history: FactList
    totals: FactList
    total_queries: Sequence[QueryShown]
    charts: Sequence[Chart]
    timeline: Table
    timeline_query: QueryShown
    members: Table
    members_note: str
    members_query: QueryShown
    templates: Table | None
    templates_note: str
    templates_query: QueryShown | None
    examples: Sequence[str]
    shared: Table | None
    shared_query: QueryShown
    groups: Sequence[GroupShown]
    left_out: Table
    explanations: Table
    explanation_queries: Sequence[QueryShown]
    action: str
    checks: Sequence[str]
    false_says: str
    techniques: Table
    unseen: Sequence[str]
    prepare: str


def case_view(case: Case) -> CaseShown:
    """Return what is shown of a case."""
    facts, inference = case.facts, case.inference
    graph = graph_chart(facts, inference.members)
    timeline = _table(facts.timeline, last=MOST_DAYS)
    days = [(str(day), int(requests or 0)) for day, requests, _ in facts.timeline.rows[-MOST_DAYS:]]
    chart = Chart(
        "Requests by day",
        _days_note(len(facts.timeline.rows)),
        bars(days, title="Requests by day"),
    )
    return CaseShown(
        sentence=case.sentence,
        rests_on=rests_on(inference),
        strength=inference.strength,
        caution=f"What may be done: {inference.action_says}",
        history=_history(case),
        totals=[(_capital(one.name), _value(one)) for one in facts.totals],
        total_queries=[_query(one) for one in facts.totals],
        charts=[chart, *([graph] if graph else [])],
        timeline=timeline,
        timeline_query=_query(facts.timeline),
        members=_members(case),
        members_note=_members_note(case),
        members_query=_query(facts.members),
        templates=None if facts.templates is None else _table(facts.templates),
        templates_note=_templates_note(case),
        templates_query=None if facts.templates is None else _query(facts.templates),
        examples=_examples(facts.examples),
        shared=_shared(facts.shared),
        shared_query=_query(facts.shared),
        groups=[_group(one, facts.signals) for one in inference.groups],
        left_out=_left_out(case),
        explanations=_explanations(inference.explanations),
        explanation_queries=[_query(one) for one in facts.explanations],
        action=inference.action_says,
        checks=inference.next_checks,
        false_says=inference.false_says,
        techniques=Table(
            ("Technique", "Name", "Tactic", "Because"),
            [row(t.uid, t.name, t.tactic, t.because) for t in inference.techniques],
        ),
        unseen=case.unseen,
        prepare=case.prepare,
    )


def rests_on(inference: CaseInference) -> list[str]:
    """Return what speaks for a case, best first, each signal once, in plain words."""
    best: dict[str, SignalInference] = {}
    for group in inference.groups:
        for one in group.signals:
            known = best.get(one.signal)
            if (one.log10_e or 0) >= _RESTS and (known is None or _worth(one) > _worth(known)):
                best[one.signal] = one
    said = [
        f"{_capital(one.family)}, {one.signal}: {_SAYS.get(one.signal, 'observed')}: "
        f"{one.observed:,.4g}, where strangers would show {one.expected:,.4g} "
        f"(e = {e_words(_worth(one))})."
        for one in sorted(best.values(), key=_worth, reverse=True)
    ]
    by_templates = any(group.chosen_by == "templates" for group in inference.groups)
    if "content" in inference.families and by_templates:
        said.append(
            f"Content, by which the group was chosen: {carriers_of(inference.members, 'content'):,}"
            f" of {many(len(inference.members), 'account')} ask with what its members have in "
            "common (settings and wording of a client, or prompts alike). What chose a group is no "
            "evidence by itself."
        )
    return said


def _worth(one: SignalInference) -> float:
    return one.log10_e or 0.0


def _history(case: Case) -> FactList:
    history = case.history
    facts = [
        ("Case", case.case_id),
        ("Status", history.status),
        ("First found", "in this run" if history.new else f"with days up to {history.first_found}"),
    ]
    if history.closed_at is not None:
        facts += [
            ("Closed", moment(history.closed_at)),
            ("Because", history.closed_because or ""),
            ("Accounts since then", words.whole(history.since_closed)),
        ]
    if history.after is not None:
        facts.append(("Has accounts of the closed case", history.after))
    return facts


def _members(case: Case) -> Table:
    of = {str(values[0]): values for values in case.facts.members.rows}
    shown = fitting(
        case.inference.members[:MOST_MEMBERS], lambda one: (one.account,), MOST_BYTES // 6
    )
    # The names and, at the end, moments are no figures; and what is 0 for all says nothing.
    names = case.facts.members.columns
    places = [
        place
        for place in range(1, len(names) - 2)
        if any(of[one.account][place] for one in case.inference.members)
    ]
    heads = ("Account", "Strength", "Carries", *(_capital(names[place]) for place in places))
    rows = [
        TableRow(
            cut(one.account, 200),
            [
                Cell(one.strength),
                Cell(", ".join(one.families) or "nothing", "; ".join(map(_sign, one.signs))),
                *(Cell(_cell(of[one.account][place])) for place in places),
            ],
            "student" if one.strength == "strong" else "plain",
        )
        for one in shown
    ]
    return Table(heads, rows)


def _sign(one: MemberSign) -> str:
    return f"{one.says}{' (by find)' if one.computed_by == 'find' else ''}"


def _members_note(case: Case) -> str:
    counts = dict.fromkeys(("strong", "medium", "weak"), 0)
    for one in case.inference.members:
        counts[one.strength] += 1
    left = max(0, len(case.inference.members) - MOST_MEMBERS)
    more = f" The page shows {MOST_MEMBERS}; {left:,} more are in case.json." if left else ""
    return (
        f"Of the families that hold {many(counts['strong'], 'account')} carry two or more "
        f"themselves (strong), {counts['medium']:,} one (medium), {counts['weak']:,} none (weak: "
        "named with their group alone). Content is carried by who asks as the group does: by "
        "requests with the settings of its client and its system message, first or last words, or "
        "with a template. Small print says what shows it, with the figures of the query below; "
        "what is marked (by find) comes from potstill watch find, and from no SQL. Figures that "
        f"are 0 for all are not shown.{more}"
    )


def _templates_note(case: Case) -> str:
    if case.facts.templates is None:
        return "The store keeps no sketches of prompts: templates cannot be told."
    if not case.facts.templates.rows:
        return "No template is common to four parties of the case."
    return (
        "A request counts for the template that most parties of the case use. Beginnings and "
        "endings are distinct first and last eight words; outside are parties that are not in the "
        "case and use it twice or more."
    )


def _examples(texts: Sequence[str]) -> list[str]:
    shown = [cut(text, _EXAMPLE) for text in texts]
    return fitting(shown, lambda text: (text,), MOST_BYTES // 6)


def _shared(shared: FactTable) -> Table | None:
    if not shared.rows:
        return None
    rows = [
        row(str(kind).replace("_", " "), str(value), words.whole(int(n or 0)))
        for kind, value, n, _ in shared.rows[:MOST_SHARED]
    ]
    return Table(("What", "Keyed hash", "Parties of the case"), rows)


def _group(group: GroupInference, facts: Sequence[SignalFact]) -> GroupShown:
    queries = []
    mine = [one for one in facts if one.candidate_id == group.candidate_id]
    for fact, signal in zip(mine, group.signals, strict=True):
        if fact.observed is not None:
            queries.append(
                QueryShown(f"{signal.signal}: {fact.observed.says}", fact.observed.query)
            )
        if signal.expected_query is not None:
            says = f"{signal.signal}: {signal.expected:g} expected"
            queries.append(QueryShown(says, signal.expected_query))
    return GroupShown(
        head=(
            f"Group {group.candidate_id}: {group.parties:,} parties, of which "
            f"{group.carried_by:,} carry what holds, chosen by {CHOSEN_BY[group.chosen_by]}; "
            f"e = {e_words(group.log10_e)}"
        ),
        table=_signals(group),
        queries=queries,
    )


def _signals(group: GroupInference) -> Table:
    heads = ("Signal", "Family", "Observed", "Strangers", "Null hypothesis", "e", "Without it")
    rows = [
        TableRow(
            one.signal,
            [
                Cell(one.family),
                Cell(f"{one.observed:,.10g}"),
                Cell(f"{one.expected:,.10g}"),
                Cell(one.null),
                Cell("chose the group" if one.log10_e is None else e_words(one.log10_e)),
                Cell(
                    "stands" if one.stands_without_it else "falls", f"e = {e_words(one.without_it)}"
                ),
            ],
        )
        for one in sorted(group.signals, key=lambda one: (one.log10_e is None, -_worth(one)))
    ]
    return Table(heads, rows)


def _left_out(case: Case) -> Table:
    rows = [
        TableRow(
            one.family, [Cell("stands" if one.stands else "falls"), Cell(e_words(one.log10_e))]
        )
        for one in case.inference.left_out
    ]
    return Table(("Family left out", "The case", "e"), rows)


def _explanations(tested: Sequence[Explanation]) -> Table:
    rows = [
        TableRow(
            one.name,
            [Cell(one.outcome), Cell(one.because, f"it may where {one.rule}"),
             Cell(", ".join(one.covers))],
            "total" if one.outcome == "may explain" else "plain",
        )
        for one in tested
    ]  # fmt: skip
    return Table(("Explanation", "Result", "What decided", "Would explain"), rows)


def _table(facts: FactTable, last: int = 0) -> Table:
    rows = facts.rows[-last:] if last else facts.rows
    return Table(
        [_capital(name) for name in facts.columns],
        [row(_cell(values[0]), *map(_cell, values[1:])) for values in rows],
    )


def _days_note(days: int) -> str:
    return f"the last {MOST_DAYS} of {days} days" if days > MOST_DAYS else "UTC"


def _query(one: Statement | FactTable) -> QueryShown:
    return QueryShown(one.says if isinstance(one, Statement) else one.name, one.query)


def _value(one: Statement) -> str:
    if isinstance(one.value, str):
        return moment(one.value)
    if one.name == "share of all requests":
        return words.percent(float(one.value or 0), 2)
    return _cell(one.value)


def _cell(value: str | int | float | bool | None) -> str:
    if isinstance(value, str) or value is None:
        return words.NOTHING if value is None else value
    return words.whole(value) if isinstance(value, int) else words.significant(value)


def _capital(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
