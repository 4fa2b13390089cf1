"""What joins the accounts of a group, kind by kind, and that it moves no marginal."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import alone, small

from potstill.simulator.groups import INNOCENT
from potstill.simulator.people import People
from potstill.simulator.rows import REFUSED, REVOKED, Rows, joined
from potstill.simulator.spec import AWKWARD, Relation


def test_dealt_out_work_is_done_once() -> None:
    _, days = alone(Relation(templates=1, items="sharded"))
    rows = joined(days)
    assert len(set(rows.item.tolist())) == len(rows)
    assert sorted(rows.sweep.tolist()) == list(range(len(rows)))
    assert len(set(rows.family.tolist())) == 1


def test_the_same_list_is_met_by_all_and_own_lists_meet_by_chance() -> None:
    _, days = alone(Relation(templates=1, items="same", pool=30))
    rows = joined(days)
    askers = {i: set(rows.account[rows.item == i].tolist()) for i in set(rows.item.tolist())}
    assert len(askers) <= 30
    assert min(map(len, askers.values())) > 5
    # 24 accounts with some 25 of 300 items each: two in a pair agree on two by chance.
    _, days = alone(Relation(templates=0, items="own", pool=30))
    rows = joined(days)
    lists = [set(rows.item[rows.account == a].tolist()) for a in set(rows.account.tolist())]
    assert max(map(len, lists)) <= 30
    pairs = [(a, b) for i, a in enumerate(lists) for b in lists[:i]]
    shared = np.mean([len(a & b) for a, b in pairs])
    chance = np.mean([len(a) * len(b) / 300 for a, b in pairs])
    assert 0.7 < shared / chance < 1.4


def test_accounts_that_act_together_do_so_within_the_jitter() -> None:
    relation = Relation(templates=1, items="sharded", ticks=12, jitter_s=5.0)
    _, days = alone(relation, rate=60.0)
    for rows in days:
        gaps = np.diff(rows.second)
        # At most 12 moments: at most 12 long pauses, and most requests within seconds.
        assert (gaps > 120).sum() <= 13
        assert np.quantile(gaps, 0.9) < 10
    _, days = alone(Relation(templates=1, items="sharded"), rate=60.0)
    assert np.quantile(np.diff(days[0].second), 0.9) > 60


def test_who_takes_turns_rests_while_others_work() -> None:
    def at_once(rows: Rows) -> float:
        turn = (rows.second // 1_800).astype(int)
        return float(np.mean([len(set(rows.account[turn == t].tolist())) for t in set(turn)]))

    _, days = alone(Relation(templates=1, items="sharded", turns=True), rate=60.0)
    assert at_once(days[0]) == 1
    _, days = alone(Relation(templates=1, items="sharded"), rate=60.0)
    assert at_once(days[0]) > 8


def test_what_one_is_refused_the_next_one_asks() -> None:
    relation = Relation(templates=3, items="sharded", handoff=True)
    _, days = alone(relation, rate=60.0, fails=0.03)
    rows = joined(days)
    assert (rows.status == REFUSED).sum() > 100
    for item in set(rows.item[rows.status == REFUSED].tolist()):
        mine = np.flatnonzero(rows.item == item)
        refused = rows.status[mine] == REFUSED
        # Only what was refused last on a day may stay unasked.
        assert len(mine) > refused.sum() or refused.sum() == 1
        assert (rows.account[mine][1:] != rows.account[mine][:-1]).all()
        assert np.diff(rows.second[mine]).max(initial=0) < 60


def test_a_client_tries_its_own_refused_request_again() -> None:
    _, days = alone(Relation(templates=3, items="sharded"), rate=60.0, fails=0.03)
    rows = joined(days)
    for item in set(rows.item[rows.status == REFUSED].tolist()):
        assert len(set(rows.account[rows.item == item].tolist())) == 1
    counts = np.unique(rows.item, return_counts=True)[1]
    assert (counts > 1).sum() > 10


def test_generations_follow_one_another_and_end_with_a_revoked_key() -> None:
    made, days = alone(Relation(templates=1, items="sharded", generations=2), days=4)
    first = made.parts[0].first
    for day, rows in enumerate(days):
        generation = made.parts[0].who.generation[rows.account - first]
        assert set(generation.tolist()) == {day // 2}
        revoked = rows.account[rows.status == REVOKED]
        assert len(set(revoked.tolist())) == len(revoked)
        assert (len(revoked) > 8) == (day in (1, 3))


def linked(who: People, name: str) -> float:
    """Return the share of accounts whose value somebody else has too, of those with a value."""
    keys = getattr(who, name)
    keys = keys[keys > 0]
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return float((counts[place] > 1).mean())


@pytest.mark.parametrize("name", ["payment", "device", "subnet", "domain"])
def test_sharing_joins_accounts_and_leaves_missing_values_as_they_were(name: str) -> None:
    # No links but the drawn: mail providers and carriers are shared by strangers anyhow.
    sharing, _ = alone(Relation(templates=1, **{name: 1.0}), accounts=400, rate=6.0, days=1)
    without, _ = alone(Relation(templates=1), accounts=400, rate=6.0, days=1)
    with_link, bare = sharing.parts[0].who, without.parts[0].who
    assert linked(with_link, name) > 0.95 if name != "domain" else linked(with_link, name) > 0.9
    for field in ("payment", "device", "subnet", "tenant"):
        missing, before = (np.mean(getattr(w, field) == 0) for w in (with_link, bare))
        assert abs(missing - before) < 0.08
    if name in ("payment", "device"):
        assert linked(bare, name) == 0


def test_campaigns_have_no_common_contract_and_tenants_of_innocents_do() -> None:
    common = {"synthetic_data", "ci_keys", "translation_etl", "reseller_gateway", "key_rotation"}
    for held_out in (False, True):
        for part in small(held_out=held_out).parts:
            tenants = part.who.tenant[part.who.tenant > 0]
            if part.group.kind in common:
                assert len(tenants) == len(part.who)
                assert len(set(tenants.tolist())) == 1
            elif part.group.campaign is not None:
                assert len(set(tenants.tolist())) == len(tenants)


def test_requests_through_a_relay_leave_by_its_addresses() -> None:
    made, _ = alone(Relation(templates=1, relay=16), mix=0.5)
    who = made.parts[0].who
    assert len(set(who.address.tolist())) == 1
    assert set(who.addresses.tolist()) == {16}


def test_every_awkward_kind_has_its_relation() -> None:
    assert set(INNOCENT) == set(AWKWARD)
    rng = np.random.default_rng(0)
    for least, most, relation in INNOCENT.values():
        assert 1 <= least <= most
        assert isinstance(relation(rng), Relation)
