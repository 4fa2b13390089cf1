"""Campaigns go into a copy alone, look like those they borrow from, and are found or missed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline_runs import fingerprint
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.simulator.spec import CampaignSpec, Relation, WorldSpec
from potstill.simulator.writing import write_world

pytest.importorskip("ibis", reason="traffic is read with the extra `watch`")

from potstill.runs import watch_inject
from potstill.runs.watch_finding import find_in
from potstill.runs.watch_inject import (
    InjectReport,
    inject,
    injected_copy,
)
from potstill.runs.watch_inject_wanted import InjectWanted, mechanisms
from potstill.runs.watch_injected import NOTE, InjectedCampaigns
from potstill.runs.watching import LogWanted, ingest_log, open_store
from potstill.watch.ingest.store import TrafficStore

KINDS = ("coding_harness", "classroom_nat", "synthetic_data")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service without campaigns."""
    out = tmp_path_factory.mktemp("service") / "world"
    write_world(WorldSpec(31, 6_000, kinds=KINDS), out, "a test")
    return out


def taken(world: Path, into: Path, privacy: str, *, table: bool = True) -> Path:
    accounts = world / "accounts.parquet" if table else None
    ingest_log(LogWanted((str(world / "requests"),), accounts), into, privacy)
    return into


@pytest.fixture(scope="module")
def store(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taken(world, tmp_path_factory.mktemp("held") / "store", "sketches")


@pytest.fixture(scope="module")
def injected(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, InjectReport]]:
    """A copy with two campaigns in it; the store is the same afterwards."""
    copy = tmp_path_factory.mktemp("injected") / "copy"
    before = fingerprint(store)
    wanted = InjectWanted(
        store, copy, ("failover", "paraphrased"), accounts=24, rate=12.0, work="synthetic_data",
        first="2026-03-03",
    )  # fmt: skip
    yield copy, inject(wanted)
    assert fingerprint(store) == before


def rows_of(store: Path) -> pa.Table:
    files = sorted((store / "requests").glob("day=*/*.parquet"))
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files])


def parts(store: Path, copy: Path) -> tuple[pa.Table, pa.Table]:
    """Return the rows of the store in the copy, and those that were put in."""
    every = rows_of(copy)
    with TrafficStore.reading(copy) as held:
        digests = [d for d, one in held.ingested.sources.items() if "(simulated)" in one.name]
    mine = pc.is_in(every["source"], pa.array([d[:16] for d in digests]))
    return every.filter(pc.invert(mine)), every.filter(mine)


def test_the_copy_holds_the_stores_rows_as_they_were_and_the_campaigns_beside(
    store: Path, injected: tuple[Path, InjectReport]
) -> None:
    copy, found = injected
    old, new = parts(store, copy)
    order = [("source", "ascending"), ("row", "ascending")]
    assert old.sort_by(order).equals(rows_of(store).sort_by(order))
    assert new.num_rows == found.requests == sum(
        sum(one.hidden.accounts.values()) for one in found.campaigns
    )  # fmt: skip
    names = set(new["account_id"].to_pylist())
    assert names == {a for one in found.campaigns for a in one.hidden.accounts}
    assert not names & set(old["account_id"].to_pylist())
    assert pc.min(new["time"]).as_py().date().isoformat() >= "2026-03-03"
    table = pq.read_table(copy / "accounts.parquet")
    known = pq.read_table(store / "accounts.parquet")
    assert table.filter(pc.is_in(table["account_id"], known["account_id"])).equals(known)
    assert table.num_rows == known.num_rows + 48
    # Nobody finds pages of the store's cases, or what was set aside, in a copy.
    assert {path.name for path in copy.iterdir()} == {
        "watch.yaml", "key", "accounts.parquet", "requests", "state",
    }  # fmt: skip


def test_the_list_beside_the_copy_is_keyed_and_names_every_account(
    store: Path, injected: tuple[Path, InjectReport]
) -> None:
    copy, found = injected
    with open_store(copy, None, there=True) as held:
        record = held.done(InjectedCampaigns)
        hashed = held.key.hasher("injected")
    assert record is not None
    for one in found.campaigns:
        accounts = record.campaigns[one.hidden.name].accounts
        assert accounts == {hashed(name): count for name, count in one.hidden.accounts.items()}
    text = (copy / "state" / "injected.json").read_text()
    assert "acct_" not in text


def test_each_injected_request_looks_like_one_of_the_stores(
    store: Path, injected: tuple[Path, InjectReport]
) -> None:
    copy, _ = injected
    old, new = parts(store, copy)
    assert new.schema == old.schema
    for name in ("model", "product", "user_agent", "temperature", "max_tokens"):
        assert set(new[name].to_pylist()) <= set(old[name].to_pylist()), name
    # A pool is refused much: of what was answered as much is said as of others' answers.
    answered = [table.filter(pc.equal(table["status"], 200)) for table in (old, new)]
    for name in ("prompt_tokens", "latency_s", "client", "client_subnet", "response_hash"):
        shares = [table[name].null_count / table.num_rows for table in answered]
        assert abs(shares[0] - shares[1]) < 0.1, name
    known = pq.read_table(copy / "accounts.parquet")
    mine = pc.is_in(known["account_id"], new["account_id"])
    theirs, own = known.filter(pc.invert(mine)), known.filter(mine)
    for name in ("plan", "country", "timezone", "asn"):
        assert set(own[name].to_pylist()) <= set(theirs[name].to_pylist()), name
    # Nobody is tied to a customer by a card, a device or a contract.
    for name in ("payment", "device", "tenant"):
        shared = set(own[name].drop_null().to_pylist()) & set(theirs[name].to_pylist())
        assert not shared, name


def test_a_campaign_without_unrelated_requests_copies_nobodys_prompts(
    store: Path, tmp_path: Path
) -> None:
    base = InjectWanted(
        store, tmp_path / "none", accounts=20, rate=6.0, mix=0.0, work="coding_harness"
    )
    copied = []
    for place, mix in (("none", 0.0), ("half", 0.5)):
        injected_copy(dataclasses.replace(base, into=tmp_path / place, mix=mix))
        old, new = parts(store, tmp_path / place)
        known = set(old["prompt_hash"].to_pylist())
        copied.append(np.mean([one in known for one in new["prompt_hash"].to_pylist()]))
    assert copied[0] == 0.0
    assert 0.4 < copied[1] < 0.6


def test_who_shares_a_template_shares_the_settings_of_its_software(
    store: Path, tmp_path: Path
) -> None:
    names = ["model", "product", "temperature", "max_tokens", "stream"]
    for mechanism, most in (("sharded", 4), ("untemplated", 64)):
        wanted = InjectWanted(store, tmp_path / mechanism, (mechanism,), 24, 20.0, 0.0)
        injected_copy(wanted)
        _, new = parts(store, tmp_path / mechanism)
        settings = {tuple(row.values()) for row in new.select(names).to_pylist()}
        assert 1 <= len(settings) <= most
        assert len(set(new["user_agent"].to_pylist())) > 3
        assert len(set(new["completion_tokens"].to_pylist())) > 20


def test_the_same_seed_gives_the_same_rows_and_another_one_others(
    store: Path, tmp_path: Path
) -> None:
    found = []
    for place, seed in (("a", 3), ("b", 3), ("c", 4)):
        injected_copy(InjectWanted(store, tmp_path / place, accounts=8, seed=seed))
        _, new = parts(store, tmp_path / place)
        found.append(new)
    assert found[0].equals(found[1])
    assert not found[0].equals(found[2])


def test_what_is_said_is_what_a_search_of_the_copy_finds(
    injected: tuple[Path, InjectReport],
) -> None:
    copy, said = injected
    found = find_in(copy, 0.05)
    named = {one.campaign_id: one for one in found.campaigns}
    pool = said.campaigns[0]
    assert pool.named and {"time", "content"} <= set(pool.hidden.leaves)
    for one in said.campaigns:
        accounts = {a for case in one.cases for a in named[case].accounts}
        assert one.accounts == len(accounts & set(one.hidden.accounts))
        assert one.swept == len(accounts) - one.accounts
        assert 2 * one.accounts >= len(accounts)
    assert said.others == len(named) - sum(len(one.cases) for one in said.campaigns)
    # Whoever looks at the copy is told what it is.
    assert found.notes[0] == NOTE
    result = CliRunner().invoke(app, ["watch", "cases", str(copy)])
    assert "SIMULATED" in result.output
    assert "SIMULATED" in (copy / "cases" / "cases.html").read_text()
    daily = CliRunner().invoke(app, ["watch", "daily", str(copy)])
    assert daily.exit_code in (0, 3) and "SIMULATED" in daily.stdout
    said_daily = CliRunner().invoke(app, ["watch", "daily", str(copy), "--json"])
    assert json.loads(said_daily.stdout)["notes"] == [NOTE]


def test_injected_accounts_that_nothing_joins_are_not_named(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If they were, it would be for how they were injected, and no answer would mean anything."""
    drawn = watch_inject._campaign

    def of_strangers(*given: Any) -> CampaignSpec:
        return dataclasses.replace(drawn(*given), relation=Relation())

    monkeypatch.setattr(watch_inject, "_campaign", of_strangers)
    wanted = InjectWanted(store, tmp_path / "copy", accounts=60, rate=15.0, work="coding_harness")
    found = inject(wanted)
    assert found.requests > 3_000
    assert found.missed == 1
    assert found.others == len(find_in(store, 0.05).campaigns)


@pytest.mark.parametrize(
    ("privacy", "table", "families"),
    [
        ("metadata", True, {"time", "infrastructure"}),
        pytest.param(
            "full", False, {"content", "time", "intent", "infrastructure"}, marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_store_does_not_keep_is_not_injected(
    world: Path, tmp_path: Path, privacy: str, table: bool, families: set[str]
) -> None:
    store = taken(world, tmp_path / "store", privacy, table=table)
    wanted = InjectWanted(store, tmp_path / "copy", ("untemplated",), accounts=12, rate=4.0)
    found = inject(wanted)
    _, new = parts(store, tmp_path / "copy")
    assert set(found.campaigns[0].hidden.leaves) <= families
    assert ("template spread" in found.off) == (privacy == "metadata")
    assert ("shared payment" in found.off) == (not table)
    assert (tmp_path / "copy" / "accounts.parquet").exists() == table
    if privacy == "full":
        assert new["prompt"].null_count == 0
        assert new["messages"].null_count == 0
    else:
        assert "prompt_sketch" not in new.column_names
        assert "prompt" not in new.column_names
    assert new["prompt_chars"].null_count == 0


def test_a_log_without_statuses_or_addresses_gets_none(world: Path, tmp_path: Path) -> None:
    kept = ["request_id", "account_id", "time", "prompt"]
    (tmp_path / "log").mkdir()
    for file in sorted((world / "requests").iterdir()):
        pq.write_table(pq.read_table(file, columns=kept), tmp_path / "log" / file.name)
    ingest_log(LogWanted((str(tmp_path / "log"),)), tmp_path / "store", "sketches")
    found = inject(InjectWanted(tmp_path / "store", tmp_path / "copy", ("failover",), accounts=10))
    _, new = parts(tmp_path / "store", tmp_path / "copy")
    for name in ("status", "client", "client_subnet", "model", "product", "system_hash"):
        assert new[name].null_count == new.num_rows, name
    assert new["prompt_hash"].null_count == 0
    assert "hand-off" in found.off


def test_the_command_says_what_was_missed_and_its_status_counts_it(
    store: Path, tmp_path: Path
) -> None:
    command = ["watch", "inject", str(store), "--into", str(tmp_path / "copy")]
    options = ["--accounts", "6", "--rate", "1", "--mechanism", "unlinked", "--json", "--quiet"]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 3, result.output
    said = json.loads(result.output)
    (one,) = said["campaigns"]
    assert (said["missed"], one["named"], one["accounts_named"]) == (1, False, 0)
    # One that happens to ask nothing is not seen.
    assert 4 <= one["accounts"] <= 6
    assert one["works"].startswith("No infrastructure link")
    again = CliRunner().invoke(app, [*command, *options])
    assert again.exit_code == 2
    assert "is there already" in again.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mechanisms": ("nothing",)}, "--mechanism is one of"),
        ({"work": "nothing"}, "--work is one of"),
        ({"accounts": 3}, "fewer are never a campaign"),
        ({"mix": 1.0}, "--mix is a share"),
        ({"rate": 0.0}, "--rate is a number"),
        ({"accounts": 5_000, "rate": 860.0}, "more than 500,000 requests a day"),
        ({"first": "yesterday"}, "--first-day takes a date"),
        ({"first": "2027-01-01"}, "no day from"),
        ({"products": ("nothing",)}, "no account has 5 requests"),
        ({"level": 2.0}, "--level"),
    ],
)
def test_what_cannot_be_injected_is_refused_and_leaves_nothing(
    store: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    wanted = dataclasses.replace(InjectWanted(store, tmp_path / "copy"), **changes)  # type: ignore[arg-type]
    with pytest.raises(PotstillError, match=said):
        inject(wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_never_lies_in_the_store_or_around_it(store: Path) -> None:
    for place in (store, store / "copy", store.parent):
        with pytest.raises(PotstillError, match="lie in one another"):
            inject(InjectWanted(store, place))


def test_every_mechanism_can_be_injected_but_the_pivot() -> None:
    from potstill.simulator.grid import HELD_OUT, OPEN

    assert set(mechanisms()) == {*OPEN, *HELD_OUT} - {"pivot"}


def test_two_that_inject_into_one_place_do_not_take_it_from_one_another(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one that starts while the first is at work is refused, and removes nothing."""
    copied, seen = watch_inject._copied, list[str]()

    def and_meanwhile(*given: Any) -> None:
        copied(*given)
        with pytest.raises(PotstillError, match="in use by another potstill process") as refused:
            injected_copy(wanted)
        seen.append(str(refused.value))

    monkeypatch.setattr(watch_inject, "_copied", and_meanwhile)
    wanted = InjectWanted(store, tmp_path / "copy", accounts=4, rate=2.0, work="synthetic_data")
    assert injected_copy(wanted).requests > 0
    assert len(seen) == 1 and "--out" not in seen[0]
    with pytest.raises(PotstillError, match="is there already"):
        injected_copy(wanted)


def test_what_cannot_be_injected_is_told_before_anything_is_copied(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(watch_inject, "_copied", never)
    empty = tmp_path / "empty"
    (tmp_path / "log.jsonl").write_text("{}\n")
    ingest_log(LogWanted((str(tmp_path / "log.jsonl"),)), empty, "sketches")
    with pytest.raises(PotstillError, match=rf"^{empty} holds no requests"):
        injected_copy(InjectWanted(empty, tmp_path / "copy"))
    for changes in ({"first": "soon"}, {"last": "2026-02-30"}):
        with pytest.raises(PotstillError, match="day takes a date, for example"):
            injected_copy(InjectWanted(empty, tmp_path / "copy", **changes))
    assert not (tmp_path / "copy").exists()
