"""A simulated world is what its spec says, every time, in the schema that is documented."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from traffic import make
from worlds import REQUESTS, ROOT, small, small_tables, tables

from potstill.simulator import columns, rows, world
from potstill.simulator.covers import COVERS
from potstill.simulator.grid import ACCOUNTS, HELD_OUT, MIXES, OPEN, RATES, drawn_spec
from potstill.simulator.spec import AWKWARD, FAMILIES, VERSION, from_json, to_json

MAKE = ROOT / "benchmarks" / "traffic" / "make.py"


def test_the_same_spec_gives_the_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    spec = drawn_spec(11, REQUESTS)
    path = tmp_path / "spec.json"
    path.write_text(to_json(spec), encoding="utf-8")
    assert from_json(path) == spec
    again = world.built(from_json(path))
    for one, other in zip(tables(again), small_tables(), strict=True):
        assert one.equals(other)
    for one, other in zip(
        columns.account_tables(again), columns.account_tables(small()), strict=True
    ):
        assert one.equals(other)
    others, _ = tables(world.built(drawn_spec(12, REQUESTS)))
    ids = small_tables()[0]["request_id"]
    assert not pc.any(pc.is_in(others["request_id"], value_set=ids.combine_chunks())).as_py()


def test_rows_do_not_depend_on_how_many_are_written_at_once() -> None:
    made = small()
    whole = world.day_of(made, 1)
    table, truth = columns.request_tables(made, whole, 1, 0)
    parts = [
        columns.request_tables(made, rows.part(whole, first, 700), 1, first)
        for first in range(0, len(whole), 700)
    ]
    assert pa.concat_tables([p[0] for p in parts]).equals(table)
    assert pa.concat_tables([p[1] for p in parts]).equals(truth)


def test_a_spec_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    other = json.loads(to_json(drawn_spec(1, 1_000))) | {"version": VERSION + 1}
    path.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(ValueError, match="version"):
        from_json(path)


def test_tables_have_their_schema_and_every_row_its_account() -> None:
    table, truth = small_tables()
    accounts, true_accounts = columns.account_tables(small())
    assert table.schema == columns.REQUESTS
    assert truth.schema == columns.TRUE_REQUESTS
    assert accounts.schema == columns.ACCOUNTS
    assert true_accounts.schema == columns.TRUE_ACCOUNTS
    assert table.num_rows == REQUESTS
    assert truth["request_id"].equals(table["request_id"])
    assert pc.count_distinct(table["request_id"]).as_py() == REQUESTS
    known = accounts["account_id"].combine_chunks()
    assert pc.count_distinct(known).as_py() == accounts.num_rows
    assert pc.all(pc.is_in(table["account_id"], value_set=known)).as_py()
    for name in ("request_id", "account_id", "time", "model", "prompt", "messages"):
        assert table[name].null_count == 0


def test_moments_are_in_order_and_no_request_comes_before_its_account() -> None:
    table, _ = small_tables()
    accounts, _ = columns.account_tables(small())
    time = table["time"].cast(pa.int64()).to_numpy()
    assert (np.diff(time) >= 0).all()
    start = columns.started(small().spec)
    assert start <= time[0]
    assert time[-1] < start + 7 * 86_400 * 1_000_000
    joined = table.select(["account_id", "time"]).join(accounts, "account_id").drop_null()
    assert pc.all(pc.less(joined["created_at"], joined["time"])).as_py()
    assert 0 < accounts["created_at"].null_count < accounts.num_rows / 20


def test_a_failed_request_has_no_usage_and_no_answer() -> None:
    table, _ = small_tables()
    failed = pc.not_equal(table["status"], 200)
    assert 0.02 < pc.mean(failed).as_py() < 0.12
    for name in ("prompt_tokens", "completion_tokens", "response"):
        assert pc.is_null(table[name]).equals(failed)


def test_the_messages_are_the_system_message_and_the_prompt() -> None:
    table, _ = small_tables()
    picked = table.slice(0, 1_500).select(["system", "prompt", "messages"]).to_pylist()
    turns = Counter()
    for row in picked:
        messages = json.loads(row["messages"])
        assert messages[-1] == {"role": "user", "content": row["prompt"]}
        system = [m["content"] for m in messages if m["role"] == "system"]
        assert system == ([] if row["system"] is None else [row["system"]])
        assert row["prompt"] == row["prompt"].strip()
        turns[len(messages)] += 1
    assert set(turns) == {1, 2, 3, 4}


def test_awkward_innocents_are_a_third_and_of_every_kind() -> None:
    _, truth = small_tables()
    kinds = Counter(truth["kind"].to_pylist())
    assert set(kinds) == {*AWKWARD, "campaign", "ordinary"}
    assert sum(kinds[name] for name in AWKWARD) >= 0.3 * REQUESTS
    assert 0.02 * REQUESTS < kinds["campaign"] < 0.13 * REQUESTS
    assert kinds["ordinary"] > 0.3 * REQUESTS


def test_a_request_of_a_campaign_is_of_an_account_of_it_and_the_mix_is_ordinary() -> None:
    _, truth = small_tables()
    _, accounts = columns.account_tables(small())
    whose = dict(
        zip(accounts["account_id"].to_pylist(), accounts["campaign_id"].to_pylist(), strict=True)
    )
    related, unrelated = Counter(), Counter()
    for row in truth.to_pylist():
        member = whose[row["account_id"]]
        if row["campaign_id"] is None:
            unrelated[member] += 1
            assert member is None or row["kind"] == "ordinary"
        else:
            related[member] += 1
            assert (row["campaign_id"], row["kind"]) == (member, "campaign")
    for campaign in small().spec.campaigns:
        total = related[campaign.campaign_id] + unrelated[campaign.campaign_id]
        share, mix = unrelated[campaign.campaign_id] / total, campaign.look.mix
        assert abs(share - mix) <= 5 * (mix * (1 - mix) / total) ** 0.5 + 1e-9


def test_matched_groups_have_their_campaigns_look() -> None:
    looks = {c.campaign_id: c.look for c in small().spec.campaigns}
    matched = [p.group for p in small().parts if p.group.matched]
    assert {g.matched for g in matched} >= {
        c.campaign_id for c in small().spec.campaigns if c.accounts >= 20
    }
    for group in matched:
        assert group.look == looks[group.matched]
        assert group.kind == group.look.cover
        assert group.campaign is None


def test_nothing_held_out_is_in_a_world_to_tune_on() -> None:
    assert not set(OPEN) & set(HELD_OUT)
    for seed in range(12):
        assert {c.mechanism for c in drawn_spec(seed, 200_000).campaigns} <= set(OPEN)
        held = drawn_spec(seed, 200_000, held_out=True).campaigns
        assert {c.mechanism for c in held} <= set(HELD_OUT)
        assert all(c.held_out for c in held)


def test_worlds_cover_the_grid_every_mechanism_and_every_cover() -> None:
    found = [
        c
        for seed in range(25)
        for held_out in (False, True)
        for c in drawn_spec(seed, 30_000_000, held_out=held_out).campaigns
    ]
    # The largest cell takes a world of its own.
    for mix in MIXES:
        found += drawn_spec(7, 40_000_000, cells=((5_000, 860.0, mix),)).campaigns
    cells = {(c.accounts, c.look.rate, c.look.mix) for c in found}
    assert cells == {(a, r, m) for a in ACCOUNTS for r in RATES for m in MIXES}
    assert {c.mechanism for c in found} == {*OPEN, *HELD_OUT}
    assert {c.look.cover for c in found} == set(COVERS)
    assert {f for c in found for f in c.families} == set(FAMILIES)
    many = [c for c in found if c.accounts > 1]
    assert any("infrastructure" not in c.families for c in many)
    assert any(c.look.paraphrase == 1.0 for c in many)
    assert {c.relation.payment for c in many} == {0.0, 0.25, 0.5, 1.0}


def test_a_world_too_small_for_its_campaigns_is_refused() -> None:
    cell = drawn_spec(1, 100_000, cells=((273, 26.0, 0.0),))
    assert cell.campaigns
    with pytest.raises(ValueError, match="more requests"):
        world.built(dataclasses.replace(cell, requests=1_000))


def test_make_writes_the_truth_apart_and_streams_row_groups(tmp_path: Path) -> None:
    out = tmp_path / "world"
    command = [sys.executable, str(MAKE), "--requests", "6000", "--seed", "4", "--days", "3"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=True)
    assert "6,000" in done.stdout
    files = sorted((out / "requests").iterdir())
    assert [f.name for f in files] == ["day-00.parquet", "day-01.parquet", "day-02.parquet"]
    table = pa.concat_tables([pq.read_table(f) for f in files])
    assert table.schema == columns.REQUESTS
    assert table.num_rows == 6_000
    given = {*table.column_names, *pq.read_table(out / "accounts.parquet").column_names}
    assert not given & {"campaign_id", "kind", "group", "matched_campaign", "mechanism"}
    facts = json.loads((out / "world.json").read_text())
    assert sum(facts["requests_by_kind"].values()) == 6_000
    campaigns = pq.read_table(out / "truth" / "campaigns.parquet").to_pylist()
    assert sum(c["requests"] for c in campaigns) == facts["requests_by_kind"].get("campaign", 0)
    again = tmp_path / "again"
    make.write(from_json(out / "world.json"), again)
    for path in sorted(out.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()
    with pytest.raises(ValueError, match="not empty"):
        make.write(from_json(out / "world.json"), again)


def test_the_simulator_knows_nothing_of_the_detector_nor_the_detector_of_it() -> None:
    source = ROOT / "src" / "potstill"
    for path in (source / "simulator").rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("potstill.simulator", "")
        assert "potstill" not in text, path.name
    for path in source.rglob("*.py"):
        if path.relative_to(source).parts[0] not in ("runs", "simulator"):
            assert "potstill.simulator" not in path.read_text(encoding="utf-8"), path.name
