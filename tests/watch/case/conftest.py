"""One store with every column, searched once, for all tests of cases."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from case_worlds import SEED, cases_by_hand, store_of, wide_world

from potstill.runs.watch_finding import find_in
from potstill.watch.case.models import Case
from potstill.watch.case.register import CaseRegister
from potstill.watch.evidence import Campaign, CampaignsFound


@dataclass(frozen=True)
class Searched:
    """A store, what was found in it, and a case for each group that was tested."""

    store: Path
    found: CampaignsFound
    cases: tuple[Case, ...]
    folder: Path


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    store = store_of(folder, wide_world(random.Random(SEED)))
    found = find_in(store, 0.05, whole=True)
    tenants = {"t:one": ("acct40", "acct41")}
    # Every group that was tested is a case here, so that each signal's queries are asked.
    campaigns = tuple(
        Campaign(
            campaign_id=f"c{number}",
            accounts=tuple(
                sorted(
                    name
                    for party in group.parties
                    for name in tenants.get(party, (party.removeprefix("a:"),))
                )
            ),
            requests=group.requests,
            families=("infrastructure", "time"),
            candidates=(group,),
        )
        for number, group in enumerate(found.candidates)
    )
    whole = found.model_copy(update={"campaigns": campaigns})
    cases = cases_by_hand(store, whole, folder / "cases", register=CaseRegister())
    return Searched(store, whole, tuple(cases), folder / "cases")
