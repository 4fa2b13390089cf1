"""What corroborates a campaign: held against strangers, replayed by SQL, and in no e-value."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from case_worlds import SEED, campaign_of, found_of, group_of, store_of, wide_world

from potstill.report.cases.page import case_page
from potstill.runs.watching import open_store, traffic_engine
from potstill.watch.case.models import Case
from potstill.watch.case.register import CaseRegister
from potstill.watch.case.replay import queries_of
from potstill.watch.cases import CaseRun, made_cases, named_run
from potstill.watch.corroboration import Corroborated, corroborated

# Two of each time zone, who write at the limit and turn to a model that is new.
NAMES = [f"acct{who}" for who in range(42, 48)]
SIGNALS = [
    ("no idle hours", True),
    ("output appetite", True),
    ("output appetite", True),
    ("pivot to a new model", True),
    ("coverage growth", True),
    ("window shift", True),
]


@dataclass(frozen=True)
class Made:
    root: Path
    found: tuple[Corroborated, ...]
    case: Case
    without: Case


def cases_of(
    root: Path, folder: Path, *, off: bool = False
) -> tuple[tuple[Corroborated, ...], Case]:
    parties = tuple(f"a:{name}" for name in [*NAMES, "acct30"])
    group = group_of(NAMES[:-1], parties=parties, signals=())
    other = group_of(NAMES, candidate_id="g1", log10_e=1.0, signals=())
    found = found_of([campaign_of(NAMES, candidates=(group, other))])
    folder.mkdir()
    with open_store(root, None, there=True) as store:
        with traffic_engine("UTC") as backend:
            known = {} if off else corroborated(store, backend, found)
        named, _ = named_run(found, CaseRegister())
        run = CaseRun(store, found, named, folder, folder, (), False, known)
        (case,) = made_cases(run, folder / "spill")
    return known.get("c0", ()), case


def store_in(folder: Path, *, models: bool = True, privacy: str = "full") -> Path:
    requests, accounts = wide_world(random.Random(SEED))
    for row in requests:
        mine = row["account_id"] in NAMES
        row["max_tokens"] = 90
        row["completion_tokens"] = 90 if mine else int(row["request_id"].split("-")[1]) % 90
        if models and row["time"] >= "2026-03-04":
            row["model"] = "newer" if mine or int(row["account_id"][4:]) % 7 == 0 else "big"
    return store_of(folder, (requests, accounts), privacy)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("corroborated")
    root = store_in(folder)
    found, case = cases_of(root, folder / "cases")
    _, without = cases_of(root, folder / "without", off=True)
    return Made(root, found, case, without)


def test_each_signal_is_held_against_groups_of_strangers(made: Made) -> None:
    findings = [one.finding for one in made.found]
    # Others made 20 requests each, too few to tell hours by.
    assert [(one.signal, one.untested is None) for one in findings] == [
        ("no idle hours", False), *SIGNALS[1:],
    ]  # fmt: skip
    idle, tokens, limit, pivot, growth, shift = findings
    assert idle.untested == "too few others of its time zones have the figure" and idle.p is None
    for one in (tokens, limit, pivot, growth, shift):
        # Whom any group of the campaign names; the one who is not named is a stranger.
        assert one.parties == 6 and one.candidate_id == "g0" and one.draws == 199
        assert one.others in (30, 49) and one.says_not and "199 groups" in one.null
    assert tokens.observed == 90 and tokens.p == limit.p == pivot.p == 1 / 200
    assert limit.observed == 1.0 and limit.expected is not None and limit.expected < 0.2
    assert pivot.observed is not None and 0.5 < pivot.observed < 1
    assert shift.p == 1 / 200 and growth.side == "either"


def test_figures_are_replayed_and_are_in_no_e_value(made: Made) -> None:
    figures = made.case.facts.corroboration
    assert [one.name for one in figures] == [name for name, _ in SIGNALS[1:4]]
    connection = duckdb.connect()
    connection.execute(made.case.prepare)
    for one, known in zip(figures, made.found[1:], strict=False):
        assert one in tuple(queries_of(made.case)) and one.query == known.query
        ((value,),) = connection.execute(one.query).fetchall()
        assert value == pytest.approx(one.value, rel=1e-12)
        assert value == pytest.approx(known.finding.observed, abs=1e-6)
    inference = made.case.inference
    assert inference.corroboration == tuple(one.finding for one in made.found)
    assert inference.model_copy(update={"corroboration": ()}) == made.without.inference
    assert made.case.sentence == made.without.sentence


def test_the_page_says_that_it_is_no_evidence(made: Made) -> None:
    page, without = case_page(made.case), case_page(made.without)
    assert "Corroboration: no part of the evidence" in page and "Corroboration" not in without
    for one in made.found:
        assert one.finding.says_not.split("'")[0] in page or (one.finding.untested or "") in page
    assert "no idle hours" in page and "could not be tested" in page


def test_what_is_not_there_is_untested_or_off(tmp_path: Path) -> None:
    root = store_in(tmp_path, models=False, privacy="metadata")
    found, case = cases_of(root, tmp_path / "cases")
    assert [one.finding.signal for one in found] == [name for name, _ in SIGNALS[:4]]
    pivot = found[3].finding
    assert pivot.untested == "no model was first seen in the last 7 days" and pivot.p is None
    assert len(case.facts.corroboration) == 2
    requests, accounts = wide_world(random.Random(SEED))
    alone = [row for row in requests if row["account_id"] in [*NAMES, "acct0", "acct1"]]
    few = store_of(tmp_path / "few", (alone, accounts))
    found, _ = cases_of(few, tmp_path / "few-cases")
    told = {one.finding.untested for one in found if one.finding.signal != "no idle hours"}
    assert "too few others of its time zones have the figure" in told and None not in told


def test_nothing_is_asked_where_there_is_no_campaign(made: Made) -> None:
    with open_store(made.root, None, there=True) as store, traffic_engine("UTC") as backend:
        assert corroborated(store, backend, found_of([])) == {}
