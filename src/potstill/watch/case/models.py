"""What a case holds: facts, each with its query, and apart from them what is inferred."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.watch.evidence import Chooser, FoundPart, Part
from potstill.watch.schema import Family

Value = str | int | float | bool | None
Strength = Literal["strong", "medium", "weak"]
SignKind = Literal["template", "links", "place", "hand-off", "moments", "asking"]
Outcome = Literal["does not explain", "may explain", "not tested"]
Action = Literal["look", "ask", "limit"]
Status = Literal["open", "closed"]


class Statement(FoundPart):
    """One figure, what it says in words, and the query that computes it again."""

    name: str = Field(description="What the figure is called.")
    says: str = Field(description="The figure in a sentence.")
    value: Value = Field(description="The figure, as the query returns it.")
    query: str = Field(description="SQL (DuckDB) of it, after `prepare` has run.")


class FactTable(FoundPart):
    """Rows of figures, and the query that computes them again."""

    name: str = Field(description="What the rows are.")
    columns: tuple[str, ...] = Field(description="Names of the columns.")
    rows: tuple[tuple[Value, ...], ...] = Field(description="The rows, in the query's order.")
    query: str = Field(description="SQL (DuckDB) of them, after `prepare` has run.")


class SignalFact(FoundPart):
    """What was observed of one signal in one group of the case."""

    candidate_id: str = Field(description="The group, as `inference.groups` has it.")
    signal: str = Field(description="The signal.")
    part: Part | None = Field(description="Which part of the evidence it belongs to.")
    observed: Statement | None = Field(
        description="What was observed; null where no query computes it, but `find` does."
    )


class CaseFacts(FoundPart):
    """What the logs say."""

    totals: tuple[Statement, ...] = Field(description="The case in figures.")
    timeline: FactTable = Field(description="Requests and active accounts, day by day.")
    members: FactTable = Field(
        description="Each account with what it shows by itself; the page may cut it, this does not."
    )
    templates: FactTable | None = Field(
        description="The commonest templates, without a word of them; null without sketches."
    )
    examples: tuple[str, ...] = Field(
        description="Prompts of these templates; only under --with-text."
    )
    shared: FactTable = Field(description="What members have in common, by keyed hash.")
    signals: tuple[SignalFact, ...] = Field(description="What was observed, group by group.")
    explanations: tuple[Statement, ...] = Field(
        description="The figures that innocent explanations were tested by."
    )


class SignalInference(FoundPart):
    """What one signal is worth against its null hypothesis."""

    signal: str = Field(description="The signal.")
    part: Part | None = Field(description="Which part of the evidence it belongs to.")
    family: Family = Field(description="Its family.")
    observed: float = Field(description="What was observed, as `watch find` computed it.")
    expected: float = Field(description="What strangers would have shown.")
    null: str = Field(description="The null hypothesis that says so.")
    log10_e: float | None = Field(
        description="Logarithm of the e-value against it; null where it only describes."
    )
    chosen: bool = Field(description="Whether the group was chosen by it, so that it proves none.")
    expected_query: str | None = Field(
        description="SQL of what is expected; null where it is drawn by permutation."
    )
    without_it: float = Field(
        description="Logarithm of the group's e-value with this signal left out."
    )
    stands_without_it: bool = Field(description="Whether the group would still be found then.")


class GroupInference(FoundPart):
    """One group of the case that was chosen and tested."""

    candidate_id: str = Field(description="Its id, the same from day to day.")
    chosen_by: Chooser = Field(description="What chose it, and is no evidence about it.")
    parties: int = Field(description="How many parties it has.")
    carried_by: int = Field(
        description="In how many of them what holds shows: these are named, the others are not."
    )
    log10_e: float = Field(description="Logarithm of the e-value that two families hold.")
    signals: tuple[SignalInference, ...] = Field(description="Its signals.")


class FamilyLeftOut(FoundPart):
    """What is left of a case without one family of evidence."""

    family: Family = Field(description="The family that is left out.")
    log10_e: float = Field(description="Logarithm of the best group's e-value then.")
    stands: bool = Field(description="Whether the case would still be found.")


class Explanation(FoundPart):
    """An innocent explanation, how it was tested, and what came of it."""

    name: str = Field(description="The explanation.")
    rule: str = Field(description="When it may explain what was seen.")
    outcome: Outcome = Field(description="What came of the test.")
    because: str = Field(description="The figure that decided, or what was lacking.")
    covers: tuple[Family, ...] = Field(description="Families of evidence that it would explain.")


class TechniqueNamed(FoundPart):
    """A technique of MITRE ATLAS that the case would be an instance of."""

    uid: str = Field(description="Its id.")
    name: str = Field(description="Its name.")
    tactic_uid: str = Field(description="The tactic's id.")
    tactic: str = Field(description="The tactic's name.")
    because: str = Field(description="What in the case suggests it.")


class MemberSign(FoundPart):
    """One thing by which an account carries a family of evidence that holds."""

    family: Family = Field(description="The family.")
    kind: SignKind = Field(description="What kind of thing it is.")
    says: str = Field(description="What shows it, in words.")
    computed_by: Literal["query", "find"] = Field(
        description="`query`: the query of `facts.members` has its figures; `find`: `watch find` "
        "computes it, and no SQL (`shown_in` and `parties` of its JSON)."
    )
    group: str | None = Field(None, description="The group in which `find` saw it; else null.")


class MemberStrength(FoundPart):
    """How much of what holds one account carries."""

    account: str = Field(description="The account.")
    strength: Strength = Field(
        description="In how many of the families that hold it carries what holds: `strong`: in two "
        "or more, `medium`: in one, `weak`: in none, it is named with its group alone."
    )
    families: tuple[Family, ...] = Field(description="These families.")
    signs: tuple[MemberSign, ...] = Field(description="What shows it in each of them.")


class CaseInference(FoundPart):
    """What follows from the facts, and how far."""

    families: tuple[Family, ...] = Field(description="Families of evidence that hold.")
    log10_e: float = Field(description="Logarithm of the largest e-value of its groups.")
    strength: str = Field(description="What that means, in words.")
    groups: tuple[GroupInference, ...] = Field(description="The groups, best first.")
    left_out: tuple[FamilyLeftOut, ...] = Field(description="The verdict without each family.")
    members: tuple[MemberStrength, ...] = Field(description="Every account, strongest first.")
    explanations: tuple[Explanation, ...] = Field(description="Innocent explanations, as tested.")
    unexplained: tuple[Family, ...] = Field(
        description="Families that hold, and that no explanation may explain."
    )
    action: Action = Field(
        description="`look`: do nothing to the accounts; `ask`: have strong members confirm who "
        "they are; `limit`: slow strong members down until a person has decided."
    )
    action_says: str = Field(description="The action in words, and why no more.")
    next_checks: tuple[str, ...] = Field(description="What to check next.")
    techniques: tuple[TechniqueNamed, ...] = Field(description="Techniques of MITRE ATLAS.")
    false_expected: float = Field(
        description="How many of the run's cases are expected to be false, at most."
    )
    false_says: str = Field(description="The same in words, with what it does not cover.")


class CaseHistory(FoundPart):
    """What was decided about a case before."""

    first_found: str = Field(description="The last day of the store when it was first found.")
    new: bool = Field(description="Whether this run found it first.")
    status: Status = Field(description="Whether it is open.")
    closed_at: str | None = Field(description="When it was closed.")
    closed_because: str | None = Field(description="What whoever closed it said.")
    since_closed: int = Field(description="Accounts that were not in it when it was closed.")
    after: str | None = Field(description="A closed case that most of it was no part of.")


class Case(FoundPart):
    """A campaign with its evidence: case.json."""

    form: Literal["potstill/case/1"] = Field(
        "potstill/case/1", alias="schema", description="Name and version of this schema."
    )
    case_id: str = Field(description="Its id, which stays while half of its accounts do.")
    rank: int = Field(description="Its place among the run's cases, from 1.")
    sentence: str = Field(description="The case in one sentence.")
    history: CaseHistory = Field(description="What is known of it from earlier runs.")
    facts: CaseFacts = Field(description="What the logs say, with a query for each figure.")
    inference: CaseInference = Field(description="What follows from that.")
    unseen: tuple[str, ...] = Field(description="What this run could not see.")
    prepare: str = Field(description="SQL that makes the tables of the queries.")


class CaseLine(FoundPart):
    """A case in the list of a run's cases."""

    case_id: str = Field(description="Its id.")
    rank: int = Field(description="Its place.")
    status: Status = Field(description="Whether it is open.")
    new: bool = Field(description="Whether this run found it first.")
    sentence: str = Field(description="The case in one sentence.")
    accounts: int = Field(description="How many accounts it has.")
    strong: int = Field(description="How many of them carry what holds in two families or more.")
    requests: int = Field(description="How many requests they made.")
    log10_e: float = Field(description="Logarithm of its e-value.")
    action: Action = Field(description="What may be done.")
    since_closed: int = Field(description="Accounts that were not in it when it was closed.")


class CasesOfRun(FoundPart):
    """All cases of one run: cases.json."""

    form: Literal["potstill/cases/1"] = Field(
        "potstill/cases/1", alias="schema", description="Name and version of this schema."
    )
    created_at: str = Field(description="When it was made (ISO 8601, UTC).")
    potstill: str = Field(description="The version of potstill that made it.")
    days: tuple[str, ...] = Field(description="Days that the store holds.")
    requests: int = Field(description="Requests that were looked at.")
    parties: int = Field(description="Parties that were looked at.")
    level: float = Field(description="The false discovery rate of the run.")
    groups_tested: int = Field(description="Groups that were chosen and tested.")
    false_expected: float = Field(description="How many cases are expected to be false, at most.")
    open: int = Field(description="How many of the cases are open.")
    cases: tuple[CaseLine, ...] = Field(description="The cases, ranked, open ones first.")
    not_found: tuple[str, ...] = Field(
        description="Open cases of earlier runs that this one does not find."
    )
    allowed: int = Field(description="Accounts on the allow-list, which were left out.")
    off: dict[str, tuple[str, ...]] = Field(
        description="Signals that were off, each with what it lacked."
    )
    notes: tuple[str, ...] = Field(description="What else to know of the run.")


class Appeal(FoundPart):
    """What one account may be told: its own facts, and nothing of other customers."""

    form: Literal["potstill/appeal/1"] = Field(
        "potstill/appeal/1", alias="schema", description="Name and version of this schema."
    )
    case_id: str = Field(description="The case that it is about.")
    account: str = Field(description="The account.")
    first: str = Field(description="Its first request in the store.")
    last: str = Field(description="Its last one.")
    requests: int = Field(description="How many it made.")
    days: int = Field(description="On how many days.")
    refused: int | None = Field(description="How many were refused; null without statuses.")
    signs: tuple[str, ...] = Field(
        description="What was seen of this account, in words: as `inference.members[].signs`."
    )
    held_by: tuple[str, ...] = Field(
        description="Families of evidence that hold for the group as a whole."
    )
    asks: tuple[str, ...] = Field(description="What would clear it up.")
    means: str = Field(description="What the notice does and does not say.")
