"""Reading a split: the same as all rows sifted, without decoding the others, on any layout."""

from __future__ import annotations

import gc
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.canonical import digest_of_file
from potstill.exchanges import compaction, row_groups, shards
from potstill.exchanges.columns import Shared
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.outline import Outline
from potstill.exchanges.rows import EXCHANGES, Mark, exchange_to_row
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, HiddenStates

SPLITS = ("train", "validation", "held_out")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ids = st.none() | st.lists(
    st.integers(0, 70) | st.sampled_from([151_935, 2**20, 2**31 - 1, -1]), max_size=5
).map(tuple)


@st.composite
def exchanges(draw: st.DrawFn, number: int) -> Exchange:
    return Exchange(
        exchange_id=f"id-{number:03d}",
        prompt_id=draw(st.sampled_from(["a", "b"])),
        split=draw(st.sampled_from(SPLITS)),
        messages=tuple({"role": "user", "content": draw(texts)} for _ in range(draw(counts))),
        response=draw(texts),
        prompt_token_ids=draw(ids),
        response_token_ids=draw(ids),
        tokenizer=draw(st.none() | texts),
        finish_reason=draw(st.sampled_from(["stop", "length"])),
        teacher=draw(texts),
        sampling={"temperature": draw(st.sampled_from([0.0, 1.0])), "seed": 3},
        sample_index=draw(st.integers(0, 3)),
        terms_decision="allow",
        source="starter",
        created_at=draw(texts),
        latency_s=draw(st.none() | st.floats(0, 9)),
        reasoning=draw(st.none() | texts),
        tool_calls=draw(st.none() | st.just("[]")),
        usage=draw(st.sampled_from([{}, {"prompt_tokens": 3}])),
        tools=draw(st.none() | st.just("[]")),
    )


counts = st.integers(0, 2)
stores = st.integers(0, 9).flatmap(lambda n: st.tuples(*(exchanges(i) for i in range(n))))


def exchange(number: int, split: str, words: str = "one") -> Exchange:
    return Exchange(
        exchange_id=f"id-{number:03d}",
        prompt_id=f"prompt-{number // 2}",
        split=split,  # type: ignore[arg-type]
        messages=({"role": "user", "content": f"prompt {number // 2}"},),
        response=f"{words} {number}",
        prompt_token_ids=(1, 2),
        response_token_ids=tuple(range(1000, 1000 + number)),
        tokenizer="blake3:tokenizer",
        finish_reason="stop",
        teacher="blake3:teacher",
        sampling={"temperature": 1.0},
        sample_index=number,
        terms_decision="allow",
        source="starter",
        created_at="2026-01-01T00:00:00Z",
    )


def filled(root: Path, splits: tuple[str, ...], words: str = "one") -> ExchangeStore:
    store = ExchangeStore(root)
    store.append([exchange(i, split, words) for i, split in enumerate(splits)])
    return store


def earlier_shard(root: Path, rows: list[Exchange], *, group_rows: int = 4_096) -> Path:
    """Write a shard as versions before row groups by split did: sorted by id, no statistics."""
    folder = root / "exchanges"
    folder.mkdir(exist_ok=True)
    ordered = sorted(rows, key=lambda row: row.exchange_id)
    table = pa.Table.from_pylist([exchange_to_row(row) for row in ordered], schema=EXCHANGES)
    pq.write_table(
        table,
        folder / "new",
        compression="zstd",
        compression_level=1,
        row_group_size=group_rows,
        use_dictionary=["teacher"],
        write_statistics=False,
    )
    return (folder / "new").rename(folder / f"part-{digest_of_file(folder / 'new')}.parquet")


def outlined(row: Exchange) -> Outline:
    lengths = {
        "prompt": None if row.prompt_token_ids is None else len(row.prompt_token_ids),
        "response": None if row.response_token_ids is None else len(row.response_token_ids),
    }
    known = [f.name for f in fields(Outline) if f.name not in lengths]
    return Outline(**{name: getattr(row, name) for name in known}, **lengths)


@pytest.mark.parametrize("layout", ["journal", "compacted", "earlier", "mixed"])
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=stores, group_rows=st.integers(1, 4), at_once=st.integers(1, 4000))
def test_a_split_is_what_sifting_all_rows_gives(
    layout: str,
    rows: tuple[Exchange, ...],
    group_rows: int,
    at_once: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("store")
    earlier = {"earlier": len(rows), "mixed": len(rows) // 2}.get(layout, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "_BATCH_BYTES", at_once)
        patch.setattr(compaction, "_GROUP_BYTES", at_once)
        patch.setattr(compaction, "_EXCHANGES_A_SHARD", 2 * group_rows)
        if earlier:
            earlier_shard(root, list(rows[:earlier]), group_rows=group_rows)
        store = ExchangeStore(root)
        store.append(rows)
        if layout in ("compacted", "mixed"):
            store.compact()
        assert store.read() == list(rows)
        for split in SPLITS:
            some = [row for row in rows if row.split == split]
            assert store.read(split) == some  # type: ignore[arg-type]
            assert store.ids(split) == {row.exchange_id for row in some}  # type: ignore[arg-type]
            assert store.outlines(split) == [outlined(row) for row in some]  # type: ignore[arg-type]
            found = [row for part in store.batches(split) for row in part]  # type: ignore[arg-type]
            assert sorted(found, key=lambda row: row.exchange_id) == some
            assert store.counts().get(split, 0) == len(some)
        known = [len(row.response_token_ids) for row in rows if row.response_token_ids is not None]
        stats = store.stats()
        assert stats["text_alone"] == len(rows) - len(known)
        assert stats["response_tokens"] == (sum(known) if known or not rows else None)
        store.close()


def test_a_split_is_read_without_decoding_the_others(tmp_path: Path) -> None:
    """What lies in the row groups of another split may be anything: it is not looked at."""
    filled(tmp_path, ("train", "held_out") * 40, "spirit").compact()
    (path,) = (tmp_path / "exchanges").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 2
    data = bytearray(path.read_bytes())
    for number in range(metadata.row_group(0).num_columns):
        column = metadata.row_group(0).column(number)
        # Ids and splits are what the index is made of.
        if column.path_in_schema not in ("exchange_id", "split"):
            start = column.data_page_offset
            start = min(start, column.dictionary_page_offset or start)
            data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.unlink()
    broken = tmp_path / "exchanges" / "new"
    broken.write_bytes(data)
    broken.rename(broken.with_name(f"part-{digest_of_file(broken)}.parquet"))
    store = ExchangeStore(tmp_path)
    expected = [exchange(i, "train", "spirit") for i in range(0, 80, 2)]
    assert store.read("train") == expected
    assert len(store.outlines("train")) == 40
    with pytest.raises(OSError, match=r"(?i)deserial|page|thrift|decompress|parquet"):
        store.read("held_out")


def test_splits_have_row_groups_of_their_own_that_say_so(tmp_path: Path) -> None:
    filled(tmp_path, (*["train"] * 5, *["validation"] * 3, *["held_out"] * 2)).compact()
    (path,) = (tmp_path / "exchanges").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    place = EXCHANGES.names.index("split")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    said = [group.column(place).statistics for group in groups]
    assert [(one.min, one.max) for one in said] == [(name, name) for name in sorted(SPLITS)]
    assert [group.num_rows for group in groups] == [2, 5, 3]
    assert not groups[0].column(EXCHANGES.names.index("response")).is_stats_set


def test_row_groups_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_GROUP_BYTES", 20_000)
    store = ExchangeStore(tmp_path)
    store.append([exchange(i, "train", "x" * (9_000 if i < 4 else 10)) for i in range(24)])
    store.compact()
    (path,) = (tmp_path / "exchanges").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes[:2] == [2, 2] and max(sizes[2:]) > 10
    assert len(store.read("train")) == 24


def test_equal_values_are_one_object(tmp_path: Path) -> None:
    store = filled(tmp_path, ("train",) * 6)
    for _ in range(2):
        rows = store.read()
        assert len({id(row.sampling) for row in rows}) == 1
        assert len({id(row.tokenizer) for row in rows}) == 1
        assert rows[4].response_token_ids[3] is rows[5].response_token_ids[3]  # type: ignore[index]
        store.compact()
    # Two samples of a prompt lie side by side in a shard.
    assert rows[2].messages == rows[3].messages
    again = store.read()
    assert again[2].messages is again[3].messages


def test_only_some_texts_are_kept_to_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.exchanges.columns._KEPT", 3)
    shared = Shared()
    assert [shared.text(f"text {i % 7}") for i in range(20)] == [f"text {i % 7}" for i in range(20)]
    assert shared.parsed('{"a":1}') == {"a": 1}
    assert len(shared._texts) <= 3


def test_the_collector_is_as_it_was(tmp_path: Path) -> None:
    store = filled(tmp_path, ("train",))
    store.read()
    assert gc.isenabled()
    gc.disable()
    try:
        store.read()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_batches_go_on_while_others_read(tmp_path: Path) -> None:
    store = filled(tmp_path, ("train", "held_out") * 3)
    store.compact()
    passing = store.batches()
    first = next(passing)
    assert store.read("train") and store.ids()
    assert len(first) + sum(len(part) for part in passing) == 6


def test_marks_that_drop(tmp_path: Path) -> None:
    store = filled(tmp_path, ("train",) * 4)
    for compacted in (False, True):
        store.mark([Mark("id-001", "curate", compacted, ""), Mark("id-002", "terms", False, "x")])
        if compacted:
            store.compact()
        assert store.dropped() == ({"id-002"} if compacted else {"id-001", "id-002"})


def test_a_row_in_two_shards_is_read_once(tmp_path: Path) -> None:
    """As two writers may leave it: the later shard's counts, as it always did."""
    first = earlier_shard(tmp_path, [exchange(1, "train", "a"), exchange(2, "train", "a")])
    second = earlier_shard(tmp_path, [exchange(2, "train", "b"), exchange(3, "held_out", "b")])
    last = "b" if second.name > first.name else "a"
    store = ExchangeStore(tmp_path)
    words = {row.exchange_id: row.response[0] for row in store.read()}
    assert words == {"id-001": "a", "id-002": last, "id-003": "b"}
    assert len(store.read("train")) == 2 and len(store.outlines()) == 3


def test_another_answer_to_a_stored_prompt_is_told_from_the_stored_one(tmp_path: Path) -> None:
    """In shards and journals alike, and by the stored text alone: nothing else is held of it."""
    earlier_shard(tmp_path, [exchange(1, "train"), exchange(2, "train")])
    store = ExchangeStore(tmp_path)
    store.append([exchange(3, "train")])
    same = store._index().answers(["id-001", "id-003"])
    other: dict[str, Any] = ExchangeStore(tmp_path)._index().answers(["id-003", "id-002"])
    assert set(same) == {"id-001", "id-003"} and same["id-003"] == other["id-003"]
    assert other["id-002"] != same["id-001"]


def test_a_shard_is_digested_once_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, ("train",) * 4).compact()
    (path,) = (tmp_path / "exchanges").glob("*.parquet")
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr(shards, "_SETTLED_NS", -1)
    digested: list[Path] = []
    real = shards.digest_of_file
    monkeypatch.setattr(shards, "digest_of_file", lambda p: digested.append(p) or real(p))
    for _ in range(3):
        store = ExchangeStore(tmp_path)
        assert store.repair() == [] and len(store.read()) == 4
        store.close()
    assert digested == [path]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert ExchangeStore(tmp_path).repair() == [f"exchanges/{path.name}"]


def test_what_was_written_just_now_is_looked_at_again(tmp_path: Path) -> None:
    """A file's times do not tell of a change that follows within the clock's tick."""
    filled(tmp_path, ("train",) * 4).compact()
    (path,) = (tmp_path / "exchanges").glob("*.parquet")
    assert shards.is_intact(path)
    was = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert not shards.is_intact(path)


def test_who_has_targets_is_told_without_reading_them(tmp_path: Path) -> None:
    store = filled(tmp_path, ("train",) * 6)

    def target(number: int, scorer: str = "s") -> ExchangeTargets:
        states = HiddenStates(torch.ones(number, 3))
        return ExchangeTargets(f"id-{number:03d}", scorer, HIDDEN_FP16, states)

    store.append_targets([target(1), target(3)])
    store.compact()
    store.append_targets([target(5), target(2, "another")])
    asked = ["id-005", "id-002", "unknown", "id-001", "id-003"]
    for _ in range(2):
        assert store.with_targets("s", HIDDEN_FP16, asked) == ["id-005", "id-001", "id-003"]
        assert store.with_targets("another", HIDDEN_FP16, asked) == ["id-002"]
        assert store.target_positions() == {HIDDEN_FP16.name: 1 + 3 + 5 + 2}
        assert store.target_positions() == {u.spec: u.positions for u in store.usage()}
        store.compact()
