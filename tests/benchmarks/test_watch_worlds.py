"""Worlds are searched one at a time, and what a kill left whole is taken up."""

from __future__ import annotations

from pathlib import Path

import pytest
from watched import searching, worlds
from watched.searching import Search, searched
from watched.truth import truth_of
from watched.worlds import Plan

from potstill.watch.evidence import Campaign, CampaignsFound, Candidate

PLAN = Plan(5, 6_000)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def _finding(work: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let a search name the first campaign with one innocent, and say which stores it was given."""
    asked: list[Path] = []

    def found(store: Path, level: float) -> CampaignsFound:
        asked.append(store)
        truth = truth_of(work / PLAN.name)
        members = sorted(truth.members("campaign-000"))[:10]
        innocent = min(a for a, name in truth.campaign.items() if not name)
        group = Candidate(
            candidate_id="g", chosen_by="means", parties=tuple(f"a:{a}" for a in members),
            carried_by=(), requests=1, signals=(), log10_e=3.0, without={}, found=True,
        )  # fmt: skip
        case = Campaign(
            campaign_id="x", accounts=(*members, innocent), requests=1, families=("time",),
            candidates=(group,),
        )  # fmt: skip
        return CampaignsFound(
            days=(), requests=1, parties=1, level=level, candidates=(group,), campaigns=(case,),
            off={},
        )  # fmt: skip

    monkeypatch.setattr(searching, "find_in", found)
    return asked


def test_a_row_is_taken_up_until_the_code_changes(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _finding(work, monkeypatch)
    search = Search(work, privacy="metadata", keep=True)
    row = searched(PLAN, search)
    assert searched(PLAN, search) == row
    assert len(asked) == 1
    hit = row.hits[0]
    assert (hit.campaign, hit.cases, hit.named, hit.held) == ("campaign-000", 1, 10, ("time",))
    assert 0 < hit.share <= 1
    assert row.cases[0].guilty == 10
    assert sum(row.cases[0].innocents.values()) == 1
    assert len(row.named) == 11 and set(row.named.values()) == {3.0}
    truth = truth_of(work / PLAN.name)
    guilty = sum(n for account, n in truth.asked.items() if truth.campaign[account])
    assert row.benign + guilty == PLAN.requests
    monkeypatch.setattr(worlds, "code_digest", lambda parts=("",): "another")
    assert searched(PLAN, search).code == "another"
    assert len(asked) == 2


def test_a_half_made_world_and_store_are_made_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finding(work, monkeypatch)
    search = Search(work, privacy="metadata")
    world, store = work / PLAN.name, work / f"{PLAN.name}-metadata"
    (world / "world.json").unlink(missing_ok=True)
    store.mkdir(exist_ok=True)
    (store / "half").write_text("")
    (work / f"{PLAN.name}-metadata.taken").unlink(missing_ok=True)
    search.row_file(PLAN).unlink(missing_ok=True)
    row = searched(PLAN, search)
    assert row.hits[0].cases == 1
    # A world that the search made is deleted after it.
    assert not world.exists()
    assert not store.exists()


def test_held_out_worlds_tell_nothing_of_their_best_groups(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finding(work, monkeypatch)
    truth = truth_of(worlds.made(PLAN, work))
    found = searching.find_in(work, 0.05)
    assert any(hit.best for hit in searching.hits_of(5, found, truth))
    assert not any(hit.best for hit in searching.hits_of(5, found, truth, told=False))


def test_a_miss_is_told_apart(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _finding(work, monkeypatch)
    truth = truth_of(worlds.made(PLAN, work))
    found = searching.find_in(work, 0.05)
    members = sorted(truth.members("campaign-000"))
    others = [f"a:other{n}" for n in range(len(members) + 1)]

    def why(parties: list[str], accounts: list[str]) -> str:
        group = found.candidates[0].model_copy(update={"parties": tuple(parties)})
        case = found.campaigns[0].model_copy(update={"accounts": tuple(accounts)})
        cases = (case,) if accounts else ()
        changed = found.model_copy(update={"candidates": (group,), "campaigns": cases})
        return searching.hits_of(5, changed, truth)[0].why

    parties = [truth.party[account] for account in members]
    innocents = sorted(a for a, name in truth.campaign.items() if not name)[: len(members) + 1]
    assert why(parties, members) == "named"
    assert why(parties, [*members, *innocents]) == "in another case"
    assert why(parties, []) == "not convicted"
    assert why([*parties, *others], []) == "among others"
    assert why(parties[: len(parties) // 3], []) == "scattered"


def test_what_leaks_is_asked_until_the_end_of_the_first_alert_s_day(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _finding(work, monkeypatch)
    worlds.made(PLAN, work)
    row = searched(PLAN, Search(work, privacy="metadata", by_day=True))
    days = truth_of(work / PLAN.name).by_day["campaign-000"]
    first = next(number for number, n in enumerate(days) if n)
    # Named after the first day of the world whatever the store holds.
    assert row.hits[0].leaked == (1 - first, sum(days[:1]))
    assert all(hit.leaked is None for hit in row.hits[1:])
    assert len(asked) == 1 + 7
