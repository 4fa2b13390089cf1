"""What an account carries of what holds is what its figures show, or what `find` saw of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from case_worlds import (
    NOW,
    POOL,
    SEED,
    campaign_of,
    cases_by_hand,
    finding,
    found_of,
    group_of,
    store_of,
    wide_world,
)

from potstill.watch.case.appeal import appeals_of
from potstill.watch.case.carrying import carriers_of, member_strengths, templates_words
from potstill.watch.case.models import CaseFacts, FactTable, MemberStrength
from potstill.watch.case.ocsf import finding_of
from potstill.watch.case.scores import strengths_table
from potstill.watch.cases import sentence
from potstill.watch.evidence import Campaign

ROW = {
    "requests": 8,
    "templated": 0,
    "alike": 0,
    "taken_over": 0,
    "handed_on": 0,
    "asking": 0,
    "linked_to": 0,
    "placed_with": 0,
}
NAMES = [f"a{n}" for n in range(8)]
FAMILIES = ("content", "infrastructure", "intent", "time")


def facts(*rows: dict[str, Any]) -> CaseFacts:
    columns = ("account", *ROW)
    table = FactTable(name="members", columns=columns, rows=(), query="")
    values = tuple(tuple({"account": f"a{n}", **ROW, **r}.values()) for n, r in enumerate(rows))
    return CaseFacts(
        totals=(),
        timeline=table,
        members=table.model_copy(update={"rows": values}),
        templates=None,
        examples=(),
        shared=table,
        signals=(),
        explanations=(),
    )


def strengths(campaign: Campaign, *rows: dict[str, Any]) -> dict[str, MemberStrength]:
    found = member_strengths(facts(*rows), campaign, {name: f"a:{name}" for name in NAMES})
    return {one.account: one for one in found}


def of_group(families: tuple[str, ...] = FAMILIES, **changes: Any) -> Campaign:
    """Return a campaign of one group by keys in whom nothing shows that was tested."""
    group = group_of(NAMES, **({"shown_in": {}, "keys": ("h|x\n1",)} | changes))
    return campaign_of(NAMES, families=families, candidates=(group,))


@pytest.mark.parametrize(
    ("row", "families"),
    [
        ({}, ()),
        ({"alike": 1}, ()),
        ({"alike": 2}, ("content",)),
        ({"templated": 1}, ()),
        ({"templated": 2}, ("content",)),
        ({"requests": 100, "templated": 24}, ()),
        ({"requests": 100, "templated": 25}, ("content",)),
        # What is not seen to hold in this account counts for nothing, whatever it shows.
        ({"linked_to": 3, "placed_with": 3, "taken_over": 3, "asking": 8}, ()),
    ],
)
def test_who_asks_as_the_clients_that_chose_the_group_carries_content(
    row: dict[str, Any], families: tuple[str, ...]
) -> None:
    (one,) = strengths(of_group(), row).values()
    assert one.families == families
    assert [sign.computed_by for sign in one.signs] == ["query"] * len(families)


def test_a_group_whose_prompts_are_alike_is_told_by_find() -> None:
    (one,) = strengths(of_group(keys=()), {}).values()
    (sign,) = one.signs
    assert (sign.family, sign.computed_by) == ("content", "find")
    assert (sign.says, sign.group) == ("prompts like the others'", "g0")


def test_what_was_tested_is_carried_where_find_saw_it() -> None:
    shown = {
        "clock": ("a:a0",),
        "hand-off": ("a:a1", "a:a2"),
        "means": ("a:a3", "a:a4"),
        "places": ("a:a5",),
        "intent": ("a:a6",),
    }
    signals = (finding("synchrony", "time", "clock", 9.0, 1.0, 5.0),)
    found = strengths(
        of_group(shown_in=shown, signals=signals),
        {},
        {"taken_over": 1, "handed_on": 2},
        {},
        {"linked_to": 1},
        {},
        {"placed_with": 4},
        {"asking": 7},
        {"asking": 8, "linked_to": 1},
    )
    seen = {
        name: [(sign.kind, sign.computed_by) for sign in one.signs] for name, one in found.items()
    }
    assert seen == {
        "a0": [("moments", "find")],
        "a1": [("hand-off", "query")],
        "a2": [("hand-off", "find")],
        "a3": [("links", "query")],
        "a4": [("links", "find")],
        "a5": [("place", "query")],
        "a6": [("asking", "query")],
        "a7": [],
    }
    says = {name: [sign.says for sign in one.signs] for name, one in found.items()}
    assert says["a0"] == ["asks in the others' minutes"]
    assert says["a1"] == ["1 request taken over, 2 handed on"]
    assert says["a3"] == ["1 other with its payment, device or relay"]
    assert says["a5"] == ["4 others with its network or e-mail domain"]
    assert says["a6"] == ["7 of 8 requests ask for reasoning or grades"]
    assert {sign.group for one in found.values() for sign in one.signs} == {None, "g0"}


def test_strength_counts_families_that_hold_strongest_first() -> None:
    shown = {"clock": ("a:a0", "a:a1"), "means": ("a:a1",), "hand-off": ("a:a2",)}
    campaign = of_group(("content", "time"), shown_in=shown)
    found = strengths(campaign, {"alike": 4}, {"linked_to": 2}, {}, {})
    assert [(name, one.strength, one.families) for name, one in found.items()] == [
        ("a0", "strong", ("content", "time")),
        # Infrastructure does not hold in this case.
        ("a1", "medium", ("time",)),
        ("a2", "medium", ("time",)),
        ("a3", "weak", ()),
    ]
    # Two things of one family are one family.
    both = of_group(("time",), shown_in={"clock": ("a:a0",), "hand-off": ("a:a0",)})
    (one,) = strengths(both, {"taken_over": 5}).values()
    assert (one.strength, len(one.signs)) == ("medium", 2)
    assert carriers_of(tuple(found.values()), "time") == 3


def test_who_links_chose_carries_them() -> None:
    for by, column in (("means", "linked_to"), ("places", "placed_with")):
        campaign = of_group(("infrastructure",), chosen_by=by, keys=())
        found = strengths(campaign, {column: 1}, {})
        assert [one.signs[0].computed_by for one in found.values()] == ["query", "find"]
        assert {one.families for one in found.values()} == {("infrastructure",)}


def test_a_party_of_no_group_of_the_case_carries_nothing_that_was_tested() -> None:
    group = group_of(NAMES[1:], keys=("h|x\n1",))
    campaign = campaign_of(NAMES, families=FAMILIES, candidates=(group,))
    assert strengths(campaign, {"linked_to": 1, "taken_over": 1})["a0"].strength == "weak"


def test_the_sentence_says_what_content_is_and_how_many_have_it() -> None:
    span = ("2026-03-02T00:00:00Z", "2026-03-05T00:00:00Z")
    one = of_group(("content", "infrastructure"))
    assert (
        "content (one client's settings and wording, used by 5 of them) and infrastructure "
        "(shared payment) hold" in sentence(one, span, 5)
    )
    assert "used by all of them" in sentence(one, span, 8)
    covered = finding("slot coverage", "content", "sharding", 3.0, 1.0, 4.0)
    alike = of_group(("content",), keys=(), signals=(covered,))
    assert "content (prompts alike, used by 5 of them; slot coverage)" in sentence(alike, span, 5)
    groups = tuple(group_of(NAMES, candidate_id=f"g{n}", keys=("h|x\n1",)) for n in range(2))
    assert templates_words(campaign_of(NAMES, candidates=groups)) == (
        "clients' settings and wording"
    )
    by_links = of_group(("infrastructure", "content"), chosen_by="means", keys=())
    assert templates_words(by_links) is None
    assert "infrastructure (shared payment) and content hold" in sentence(by_links, span, 5)


def test_every_form_says_the_same_of_a_member(tmp_path: Path) -> None:
    store = store_of(tmp_path, wide_world(random.Random(SEED)))
    names = [f"acct{who}" for who in POOL if who > 41]
    found = found_of([campaign_of(names, families=("content", "infrastructure", "time"))])
    (case,) = cases_by_hand(store, found, tmp_path / "cases")
    members = {one.account: one for one in case.inference.members}
    rows = {row[0]: dict(zip(case.facts.members.columns, row, strict=True))
            for row in case.facts.members.rows}  # fmt: skip
    assert set(members) == set(rows) == set(names)
    # Each has three others with its card, and was refused what another one took over.
    assert {one.strength for one in members.values()} == {"strong"}
    for name, one in members.items():
        for sign in one.signs:
            figures = {"links": "linked_to", "hand-off": "taken_over", "template": "templated"}
            if sign.computed_by == "query":
                assert f"{rows[name][figures[sign.kind]]:,}" in sign.says
    resources = finding_of(case, NOW, "0").resources
    for resource in resources:
        one = members[resource.uid]
        assert resource.labels[0] == f"strength: {one.strength}"
        assert resource.labels[1:] == tuple(f"carries: {family}" for family in one.families)
    for packet in appeals_of(case.case_id, case.facts, case.inference, statuses=True):
        assert len(packet.signs) == len(members[packet.account].signs)
    table = strengths_table(case.case_id, case.inference.members).to_pylist()
    for row in table:
        one = members[row["account"]]
        assert (row["case_id"], row["strength"]) == (case.case_id, one.strength)
        assert row["says"] in [sign.says for sign in one.signs]
    assert len(table) == sum(len(one.signs) for one in members.values())
    weak = MemberStrength(account="a", strength="weak", families=(), signs=())
    (row,) = strengths_table("c", [weak]).to_pylist()
    assert (row["account"], row["strength"], row["sign"]) == ("a", "weak", None)
