"""Pages of cases: complete, in their order, and safe whatever accounts and prompts are called."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="cases are made with the extra `watch`")

import sys

sys.path.append(str(Path(__file__).parents[2] / "watch"))

from case_worlds import SEED, TEMPLATE, campaign_of, cases_by_hand, found_of, store_of, wide_world

from html_tags import Tags
from potstill.report.cases.graph import MOST_ACCOUNTS, graph_chart
from potstill.report.cases.page import appeal_page, case_page, cases_page
from potstill.report.cases.view import rests_on
from potstill.report.frame import MOST_BYTES
from potstill.watch.case.appeal import appeals_of
from potstill.watch.case.models import Case, CasesOfRun, MemberSign, MemberStrength
from potstill.watch.case.register import CaseRegister
from potstill.watch.case.replay import queries_of
from potstill.watch.cases import line_of

HOSTILE = "</style><script>window.ran=1</script><img src=http://x.invalid/a onerror=window.ran=1>{}"
PLAIN = [f"acct{who}" for who in range(42, 56)]


def made(folder: Path, names: str = "acct{}", **changes: Any) -> Case:
    """Return a case of the pool; accounts are called `names`."""
    requests, accounts = wide_world(random.Random(SEED), names)
    for row in requests:
        row["prompt"] = row["prompt"].replace("essay", HOSTILE)
    store = store_of(folder, (requests, accounts))
    campaign = campaign_of([names.format(who) for who in range(42, 56)])
    (case,) = cases_by_hand(store, found_of([campaign]), folder / "cases", **changes)
    return case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("hostile"), HOSTILE, with_text=True)


def run_of(*cases: Case) -> CasesOfRun:
    return CasesOfRun(
        created_at="2026-03-09T00:00:00+00:00",
        potstill=HOSTILE,
        days=("2026-03-02", "2026-03-05"),
        requests=10,
        parties=5,
        level=0.05,
        groups_tested=3,
        false_expected=0.05 * len(cases),
        open=len(cases),
        cases=tuple(map(line_of, cases)),
        not_found=(HOSTILE,),
        allowed=0,
        off={HOSTILE: (HOSTILE,)},
        notes=(HOSTILE,),
    )


def test_the_page_goes_from_the_sentence_to_the_replay(case: Case) -> None:
    text = case_page(case)
    order = ("facts", "accounts", "signals", "without", "explanations", "action", "false", "atlas",
             "unseen", "replay")  # fmt: skip
    places = [text.index(f'id="{name}"') for name in order]
    assert places == sorted(places) and text.index('class="headline"') < places[0]
    parsed = Tags(text)
    assert set(parsed.links) == {"#main", "data:,"} and "script" not in parsed.tags
    for said in (
        case.sentence,
        case.inference.strength,
        case.inference.action_says,
        case.inference.false_says,
        "AML.T0024.002",
        "acct44",
    ):
        assert said in parsed.text
    assert len(text.encode()) < MOST_BYTES


def test_the_page_says_first_and_in_plain_words_what_a_case_rests_on(case: Case) -> None:
    said = rests_on(case.inference)
    assert [line.partition(":")[0] for line in said] == [
        "Time, hand-off",
        "Infrastructure, shared payment",
        "Time, synchrony",
    ]
    assert said[0] == (
        "Time, hand-off: requests that one was refused and another repeated within two minutes: "
        "30, where strangers would show 3 (e = 10^7.0)."
    )
    text = case_page(case)
    assert text.index("30, where strangers would show 3") < text.index('id="facts"')
    assert "time (hand-off)" in case.sentence and "infrastructure (shared payment)" in case.sentence


def test_the_list_sends_nobody_to_strong_members_where_there_are_none(case: Case) -> None:
    line = line_of(case).model_copy(update={"action": "limit", "strong": 0})
    run = run_of(case).model_copy(update={"cases": (line,)})
    assert "none is strong" in Tags(cases_page(run)).text
    strong = run.model_copy(update={"cases": (line.model_copy(update={"strong": 2}),)})
    assert "slow strong members down" in Tags(cases_page(strong)).text


def test_every_query_stands_on_the_page(case: Case) -> None:
    text = Tags(case_page(case)).text
    for one in queries_of(case):
        assert one.query in text, one.name
    assert case.prepare in text


def test_no_word_of_a_prompt_is_on_the_page_unless_it_was_asked_for(
    case: Case, hostile: Case
) -> None:
    assert "paragraph" not in case_page(case) and TEMPLATE[:20] not in case_page(case)
    assert hostile.facts.examples and "paragraph" in case_page(hostile)


def test_hostile_names_and_prompts_stay_text(hostile: Case) -> None:
    appeals = appeals_of(hostile.case_id, hostile.facts, hostile.inference, statuses=True)
    for text in (case_page(hostile), cases_page(run_of(hostile)), appeal_page(appeals[0])):
        parsed = Tags(text)
        assert "script" not in parsed.tags and "img" not in parsed.tags
        assert "<script>window.ran=1</script>" in parsed.text
        text.encode()


def test_the_list_leads_to_its_cases(case: Case) -> None:
    parsed = Tags(cases_page(run_of(case)))
    assert f"{case.case_id}/case.html" in parsed.links
    assert "1 open case" in parsed.text and case.sentence in parsed.text


def test_the_graph_draws_what_is_shared_and_says_what_it_leaves_out(case: Case) -> None:
    chart = graph_chart(case.facts, case.inference.members)
    assert chart is not None
    svg = Tags(str(chart.svg))
    assert svg.tags.count("circle") == len(PLAIN) and svg.tags.count("rect") > 3
    lines = sum(
        len(set(str(row[3]).split("\n")) & {f"a:{name}" for name in PLAIN})
        for row in case.facts.shared.rows
    )
    assert svg.tags.count("line") == lines
    members = [
        *case.inference.members,
        *(
            MemberStrength(account=f"x{n}", strength="weak", families=(), signs=())
            for n in range(90)
        ),
    ]
    many = graph_chart(case.facts, members)
    assert many is not None and Tags(str(many.svg)).tags.count("circle") == MOST_ACCOUNTS
    assert f"{len(members) - MOST_ACCOUNTS} weaker accounts are not drawn" in many.note
    nothing = case.facts.model_copy(
        update={"shared": case.facts.shared.model_copy(update={"rows": ()})}
    )
    assert graph_chart(nothing, members) is None


def test_a_large_case_says_what_the_page_leaves_out(case: Case) -> None:
    row = case.facts.members.rows[0]
    rows = tuple((f"m{n:05d}", *row[1:]) for n in range(5_000))
    members = tuple(
        MemberStrength(
            account=f"m{n:05d}",
            strength="strong",
            families=("content", "time"),
            signs=(
                MemberSign(family="time", kind="moments", says="x" * 120, computed_by="find"),
                MemberSign(family="content", kind="template", says="y" * 120, computed_by="query"),
            ),
        )
        for n in range(5_000)
    )
    table = case.facts.members.model_copy(update={"rows": rows})
    large = case.model_copy(
        update={
            "facts": case.facts.model_copy(update={"members": table}),
            "inference": case.inference.model_copy(update={"members": members}),
        }
    )
    text = case_page(large)
    assert "4,900 more are in case.json" in text and len(text.encode()) < MOST_BYTES


def test_a_closed_case_says_so(tmp_path: Path) -> None:
    found = found_of([campaign_of(PLAIN)])
    store = store_of(tmp_path, wide_world(random.Random(SEED)))
    known = {
        "c0": {
            "accounts": PLAIN[:10],
            "first_found": "2026-03-01",
            "at": "2026-03-02T10:00:00+00:00",
            "because": HOSTILE,
            "closed_with": PLAIN[:10],
        }
    }
    register = CaseRegister.model_validate({"cases": known})
    (case,) = cases_by_hand(store, found, tmp_path / "cases", register=register)
    parsed = Tags(case_page(case))
    assert "closed" in parsed.text and HOSTILE[:20] in parsed.text
    assert case.history.since_closed == 4
    listed = Tags(cases_page(run_of(case)))
    assert "Closed cases that are still there" in listed.text


def test_nothing_of_a_page_runs_in_a_browser(browser: Any, hostile: Case, tmp_path: Path) -> None:
    appeals = appeals_of(hostile.case_id, hostile.facts, hostile.inference, statuses=True)
    pages = {
        "case": case_page(hostile),
        "cases": cases_page(run_of(hostile)),
        "appeal": appeal_page(appeals[0]),
    }
    for name, text in pages.items():
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        for width in (1280, 390):
            seen = browser.open(path, width=width)
            assert seen.elements["script"] == seen.elements["img"] == 0
            assert seen.complaints == [] and seen.overflow <= 0
            assert not [url for url in seen.requests if "invalid" in url]
            assert browser.evaluate("window.ran === undefined")
            assert "<script>window.ran=1</script>" in seen.text
