"""The exchange store: what goes in comes out, damage is named, and nothing is written idly."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges import compaction
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import EXCHANGES, Mark
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, HiddenStates
from potstill.models.head import Head

SCORER = "blake3:teacher"


def exchange(number: int, response: tuple[int, ...] = (5, 6, 7)) -> Exchange:
    return Exchange(
        exchange_id=f"id-{number:04d}",
        prompt_id=f"prompt-{number}",
        split=("train", "validation", "held_out")[number % 3],  # type: ignore[arg-type]
        messages=({"role": "system", "content": "Sé breve"}, {"role": "user", "content": "日本"}),
        response="one\ntwo \N{BABY}",
        prompt_token_ids=(1, 2, 3),
        response_token_ids=response,
        tokenizer="blake3:tokenizer",
        finish_reason="stop",
        teacher=SCORER,
        sampling={"temperature": 1.0, "top_k": 0, "seed": 3, "max_tokens": 9},
        sample_index=number,
        terms_decision="allow",
        source="starter",
        created_at="2026-01-01T00:00:00Z",
        latency_s=0.25,
        usage={"prompt": 3, "response": 3},
    )


def hidden(number: int, rows: int = 3, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(rows, dim, generator=generator)


def kept(key: str, hidden_RD: Tensor) -> ExchangeTargets:
    return ExchangeTargets(key, SCORER, HIDDEN_FP16, HiddenStates(hidden_RD))


def targets(number: int, rows: int = 3) -> ExchangeTargets:
    return kept(f"id-{number:04d}", hidden(number, rows))


def states(store: ExchangeStore, keys: list[str]) -> list[Tensor]:
    found = store.targets(SCORER, HIDDEN_FP16, keys)
    return [values.hidden_RD for values in found if isinstance(values, HiddenStates)]


def files_under(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> ExchangeStore:
    return ExchangeStore(tmp_path)


def filled(root: Path, count: int = 6) -> ExchangeStore:
    store = ExchangeStore(root)
    store.append([exchange(i) for i in range(count)], [targets(i) for i in range(count)])
    return store


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("reopened", [False, True])
def test_what_goes_in_comes_out(tmp_path: Path, compacted: bool, reopened: bool) -> None:
    bare = replace(
        exchange(9),
        response_token_ids=None,
        prompt_token_ids=None,
        tokenizer=None,
        latency_s=None,
        usage={},
        tool_calls='[{"name":"f"}]',
        reasoning="because",
    )
    store = filled(tmp_path)
    store.append([bare])
    if compacted:
        store.compact()
    if reopened:
        store.close()
        store = ExchangeStore(tmp_path)
    assert store.read() == [exchange(i) for i in range(6)] + [bare]
    assert store.read("validation") == [exchange(1), exchange(4)]
    assert store.ids() == {f"id-{i:04d}" for i in (*range(6), 9)}
    assert store.target_ids(SCORER, HIDDEN_FP16) == {f"id-{i:04d}" for i in range(6)}
    assert store.target_ids("another", HIDDEN_FP16) == set()
    asked = [4, 0, 5, 0]
    for got, number in zip(states(store, [f"id-{i:04d}" for i in asked]), asked, strict=True):
        assert got.dtype == torch.float16
        assert torch.equal(got, hidden(number).half())


def test_rows_are_written_once_and_the_first_stands(store: ExchangeStore) -> None:
    store.append([exchange(1), replace(exchange(1), response="later")], [targets(1), targets(1)])
    store.append([replace(exchange(1), engine="another")], [targets(1)])
    store.compact()
    store.append([exchange(1), exchange(2)])
    store.compact()
    assert store.read() == [exchange(1), exchange(2)]
    assert store.stats()["targets"] == 1


def test_targets_of_another_response_are_not_taken_for_the_stored_one(
    store: ExchangeStore,
) -> None:
    store.append([exchange(1)])
    store.append([exchange(1, response=(8, 8, 8))], [targets(1)])
    assert store.target_ids(SCORER, HIDDEN_FP16) == set()
    store.append([exchange(1)], [targets(1)])
    assert store.target_ids(SCORER, HIDDEN_FP16) == {"id-0001"}


def test_targets_come_in_a_second_pass_and_from_several_scorers(store: ExchangeStore) -> None:
    store.append([exchange(i) for i in range(3)])
    store.compact()
    store.append_targets([targets(0), targets(2), replace(targets(0), scorer="second")])
    assert store.target_ids(SCORER, HIDDEN_FP16) == {"id-0000", "id-0002"}
    store.compact()
    assert store.target_ids("second", HIDDEN_FP16) == {"id-0000"}
    with pytest.raises(PotstillError, match="1 of 2 exchanges have no hidden-fp16 targets"):
        states(store, ["id-0000", "id-0001"])


def test_targets_have_to_fit_their_exchange(store: ExchangeStore) -> None:
    with pytest.raises(ValueError, match="targets of 2 positions for 3 tokens"):
        store.append([exchange(1)], [targets(1, rows=2)])
    with pytest.raises(KeyError, match="no exchange"):
        store.append_targets([targets(1)])
    assert store.ids() == set()


@pytest.mark.parametrize("value", [65_536.0, -1e9, float("inf"), float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_beyond_fp16_is_refused(
    store: ExchangeStore, value: float, dtype: torch.dtype
) -> None:
    hidden_RD = hidden(1)
    hidden_RD[1, 2] = value
    with pytest.raises(PotstillError, match="beyond fp16's range"):
        store.append([exchange(1)], [kept("id-0001", hidden_RD.to(dtype))])
    assert store.ids() == set()


def test_the_largest_fp16_value_is_kept(store: ExchangeStore) -> None:
    store.append([exchange(1)], [kept("id-0001", torch.full((3, 4), 65_504.0))])
    assert states(store, ["id-0001"])[0].max() == 65_504.0


def test_an_empty_response_has_empty_targets(store: ExchangeStore) -> None:
    store.append([exchange(1, response=())], [targets(1, rows=0)])
    store.compact()
    assert states(store, ["id-0001"])[0].shape == (0, 4)


def test_the_later_mark_of_a_marker_stands(store: ExchangeStore) -> None:
    store.append([exchange(1), exchange(2)])
    store.mark([Mark("id-0001", "length", True, ""), Mark("id-0002", "length", True, "")])
    store.compact()
    store.mark([Mark("id-0001", "length", False, "too short")])
    expected = [Mark("id-0001", "length", False, "too short"), Mark("id-0002", "length", True, "")]
    assert store.marks() == expected
    store.compact()
    assert store.marks() == expected
    with pytest.raises(KeyError):
        store.mark([Mark("unknown", "length", True, "")])


def test_reading_and_repeating_write_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.mark([Mark("id-0001", "terms", True, "")])
    store.save_head(SCORER, Head(torch.ones(3, 4)))
    store.compact()
    store.close()
    before = files_under(tmp_path)
    assert not any("journal" in name or ".tmp" in name for name in before)
    store = ExchangeStore(tmp_path)
    assert store.repair() == []
    store.append([exchange(i) for i in range(6)], [targets(i) for i in range(6)])
    store.mark([Mark("id-0001", "terms", True, "")])
    store.save_head(SCORER, Head(torch.ones(3, 4)))
    store.read()
    store.compact()
    store.close()
    assert files_under(tmp_path) == before


def test_an_unused_store_makes_no_folder(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path / "run")
    assert store.read() == [] and store.ids() == set() and store.marks() == []
    store.compact()
    store.append([])
    assert store.repair() == []
    assert store.stats()["exchanges"] == 0
    assert not (tmp_path / "run").exists()


def test_stats_count(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.compact()
    stats = store.stats()
    assert stats["exchanges"] == 6 and stats["targets"] == 6 and stats["response_tokens"] == 18
    assert stats["splits"] == {"train": 2, "validation": 2, "held_out": 2}
    assert stats["shards"] == 2 and stats["compacted"] and stats["bytes"] > 0


def test_shards_are_plain_zstd_parquet_with_small_row_groups(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    count, rows, dim = 12, 100, 576
    store.append(
        [exchange(i, response=tuple(range(rows))) for i in range(count)],
        [kept(f"id-{i:04d}", hidden(i, rows, dim)) for i in range(count)],
    )
    store.compact()
    (path,) = (tmp_path / "targets").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert metadata.row_group(0).column(5).compression == "ZSTD"
    assert metadata.num_row_groups >= 3
    (table,) = [pq.read_table(p) for p in (tmp_path / "exchanges").glob("*.parquet")]
    assert sorted(table.column("exchange_id").to_pylist()) == [f"id-{i:04d}" for i in range(count)]
    assert torch.equal(states(store, ["id-0007"])[0], hidden(7, rows, dim).half())


def test_large_targets_are_cut_into_several_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_TARGET_BYTES_A_SHARD", 60)
    monkeypatch.setattr(compaction, "_EXCHANGES_A_SHARD", 4)
    store = filled(tmp_path)
    store.compact()
    assert len(list((tmp_path / "targets").glob("*.parquet"))) == 3
    assert len(list((tmp_path / "exchanges").glob("*.parquet"))) == 2
    assert store.read() == [exchange(i) for i in range(6)]
    got = states(store, [f"id-{i:04d}" for i in range(6)])
    assert all(torch.equal(got[i], hidden(i).half()) for i in range(6))


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
@pytest.mark.parametrize("table", ["exchanges", "targets"])
def test_a_damaged_shard_is_named_and_its_rows_are_collected_again(
    tmp_path: Path, table: str, damage: str
) -> None:
    store = filled(tmp_path)
    store.compact()
    store.append([exchange(6)], [targets(6)])
    store.mark([Mark("id-0001", "terms", True, "")])
    store.close()
    (path,) = (tmp_path / table).glob("*.parquet")
    if damage == "flip":
        flip_a_byte(path)
    else:
        path.write_bytes(path.read_bytes()[: -40 if damage == "cut" else 0])
    store = ExchangeStore(tmp_path)
    with pytest.raises(PotstillError, match=f"{table}/{path.name} is damaged"):
        store.target_ids(SCORER, HIDDEN_FP16)
    assert store.repair() == [f"{table}/{path.name}"]
    assert store.target_ids(SCORER, HIDDEN_FP16) == {"id-0006"}
    again = exchange(1, response=(9, 9))
    if table == "exchanges":
        # Collected again, with another response: neither old targets nor old marks may stay.
        assert store.ids() == {"id-0006"}
        store.append([again])
        assert store.target_ids(SCORER, HIDDEN_FP16) == {"id-0006"}
        assert store.marks() == []
        store.append_targets([targets(1, rows=2)])
        store.compact()
        assert torch.equal(states(store, ["id-0001"])[0], hidden(1, 2).half())
    else:
        assert len(store.ids()) == 7
        store.append([], [targets(i) for i in range(6)])
        store.compact()
        assert len(store.target_ids(SCORER, HIDDEN_FP16)) == 7
    assert store.repair() == []


def test_a_damaged_journal_is_set_aside(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.compact()
    store.append([exchange(7)])
    store.close()
    (journal,) = (tmp_path / "exchanges").glob("*.sqlite")
    journal.write_bytes(b"not a database at all" * 4000)
    store = ExchangeStore(tmp_path)
    with pytest.raises(PotstillError, match=f"{journal.name} is damaged"):
        store.ids()
    assert store.repair() == [f"exchanges/{journal.name}"]
    assert store.ids() == {f"id-{i:04d}" for i in range(6)}
    store.append([exchange(7)])
    assert len(store.read()) == 7


def test_a_full_disk_in_the_journal_leaves_the_store_as_it_was(store: ExchangeStore) -> None:
    store.append([exchange(0)], [targets(0)])
    connection = store._journals[0]._connection  # type: ignore[index]
    connection.execute("PRAGMA max_page_count=1")  # SQLite's own SQLITE_FULL
    big = [exchange(i, response=tuple(range(20_000))) for i in range(1, 4)]
    with pytest.raises(PotstillError, match="the disk is full"):
        store.append(big)
    assert store.ids() == {"id-0000"}
    assert store.read() == [exchange(0)]
    connection.execute("PRAGMA max_page_count=1000000")
    store.append(big)
    assert len(store.read()) == 4


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_full_disk_in_compaction_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store = filled(tmp_path)
    real_write, real_replace = pq.ParquetWriter.write_table, os.replace
    calls = 0

    def full(*args: object, **kwargs: object) -> None:
        nonlocal calls
        if failing == "write":
            real_write(*args, **kwargs)
            fits = args[1].schema == EXCHANGES  # type: ignore[attr-defined]
        else:
            calls += 1
            fits = calls < 2
            if fits:
                real_replace(*args, **kwargs)  # type: ignore[arg-type]
        if not fits:  # exchanges do, targets do not
            raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "write":
        monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    else:
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PotstillError, match="the disk is full"):
        store.compact()
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list((tmp_path / "targets").glob("*.parquet"))
    for again in (store, ExchangeStore(tmp_path)):
        assert again.read() == [exchange(i) for i in range(6)]
        assert len(again.target_ids(SCORER, HIDDEN_FP16)) == 6
    store.compact()
    assert store.read() == [exchange(i) for i in range(6)]
    assert (
        sum(pq.read_metadata(p).num_rows for p in (tmp_path / "exchanges").glob("*.parquet")) == 6
    )


def test_a_locked_journal_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    (path,) = (tmp_path / "exchanges").glob("*.sqlite")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._journals[0]._connection.execute("PRAGMA busy_timeout=1")  # type: ignore[index]
    with pytest.raises(PotstillError, match="in use by another process"):
        store.append([exchange(9)])
    other.close()
    store.append([exchange(9)])
    assert len(store.ids()) == 7
