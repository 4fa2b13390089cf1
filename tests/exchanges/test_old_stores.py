"""Stores that an older version wrote are read, gone on in and compacted; newer ones are refused."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.canonical import digest_of_file
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import EXCHANGES, SCHEMA_VERSION, exchange_to_row, response_digest
from potstill.exchanges.store import ExchangeStore

# As version 1 stored it: arguments as text, keys sorted, no tools.
OLD_CALL = (
    '[{"function":{"arguments":"{\\"b\\": 1, \\"a\\": 2}","name":"f"},"id":"c","type":"function"}]'
)
NEW_CALL = [
    {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}
]


def exchange(number: int, **changes: object) -> Exchange:
    plain = Exchange(
        exchange_id=f"id-{number}",
        prompt_id=f"prompt-{number}",
        split="train",
        messages=({"role": "user", "content": "日本"},),
        response="one",
        prompt_token_ids=None,
        response_token_ids=None,
        tokenizer=None,
        finish_reason="stop",
        teacher="maker/big@1",
        sampling={"temperature": 1.0},
        sample_index=0,
        terms_decision="allow",
        source="starter",
        created_at="2026-01-01T00:00:00Z",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def old_row(number: int, tool_calls: str | None) -> dict:
    row = exchange_to_row(exchange(number)) | {"tool_calls": tool_calls}
    del row["tools"]
    return row


def old_shard(root: Path, rows: list[dict], version: bytes | None = None) -> Path:
    """Write a shard in the columns that version 1 had, whose name is the digest of its bytes."""
    folder = root / "exchanges"
    folder.mkdir(exist_ok=True)
    columns = [field for field in EXCHANGES if field.name != "tools"]
    metadata = None if version is None else {b"potstill.exchanges": version}
    table = pa.Table.from_pylist(rows, schema=pa.schema(columns, metadata=metadata))
    pq.write_table(table, folder / "new")
    return (folder / "new").rename(folder / f"part-{digest_of_file(folder / 'new')}.parquet")


def old_journal(root: Path, rows: list[dict], version: int = 0) -> Path:
    folder = root / "exchanges"
    folder.mkdir(exist_ok=True)
    path = folder / "journal-0123.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE exchanges (exchange_id TEXT PRIMARY KEY, row TEXT NOT NULL)")
    connection.execute(f"PRAGMA user_version={version}")
    for row in rows:
        connection.execute(
            "INSERT INTO exchanges VALUES (?, ?)", (row["exchange_id"], json.dumps(row))
        )
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("write", [old_shard, old_journal])
def test_old_rows_are_read_with_their_calls_in_todays_form(tmp_path: Path, write) -> None:
    write(tmp_path, [old_row(0, None), old_row(1, OLD_CALL)])
    store = ExchangeStore(tmp_path)
    plain, calling = store.read()
    assert plain == exchange(0)
    assert calling.calls == NEW_CALL and calling.tools is None
    assert list(calling.calls[0]["function"]["arguments"]) == ["b", "a"]
    assert store.read("held_out") == []


@pytest.mark.parametrize("write", [old_shard, old_journal])
@pytest.mark.parametrize(
    "stored", ['[{"name": 7}]', "[7]", '{"type":"web_search"}', "no JSON", '["a"]']
)
def test_old_calls_that_cannot_be_read_stay_for_curation_to_drop(
    tmp_path: Path, write, stored: str
) -> None:
    write(tmp_path, [old_row(1, stored)])
    (row,) = ExchangeStore(tmp_path).read()
    assert row.tool_calls == stored and row.calls == [] and row.answer == "one"


def test_an_old_journal_is_gone_on_in_and_compacted(tmp_path: Path) -> None:
    old_journal(tmp_path, [old_row(1, OLD_CALL)])
    tools = '[{"type":"function","function":{"name":"f"}}]'
    later = exchange(2, tools=tools, tool_calls='[{"name":"as it is"}]', response="")
    store = ExchangeStore(tmp_path)
    store.append([exchange(1), later])
    for _ in range(2):
        before = store.read()
        assert [row.exchange_id for row in before] == ["id-1", "id-2"]
        assert before[0].calls == NEW_CALL and before[1] == later
        store.compact()
        store.close()
        store = ExchangeStore(tmp_path)
    (shard,) = (tmp_path / "exchanges").glob("part-*.parquet")
    metadata = pq.ParquetFile(shard).schema_arrow.metadata
    assert metadata[b"potstill.exchanges"] == str(SCHEMA_VERSION).encode()


def test_old_and_new_shards_lie_side_by_side(tmp_path: Path) -> None:
    old_shard(tmp_path, [old_row(1, OLD_CALL)])
    store = ExchangeStore(tmp_path)
    store.append([exchange(2, tools="[]")])
    store.compact()
    assert [row.tools for row in store.read("train")] == [None, "[]"]


@pytest.mark.parametrize("version", [b"3", b"17", b"?"])
def test_a_newer_shard_is_refused_by_name(tmp_path: Path, version: bytes) -> None:
    path = old_shard(tmp_path, [old_row(1, None)], version)
    with pytest.raises(PotstillError, match=f"{path.name} holds exchanges in a newer form"):
        ExchangeStore(tmp_path).read()


def test_a_newer_journal_is_refused_by_name(tmp_path: Path) -> None:
    old_journal(tmp_path, [old_row(1, None)], version=SCHEMA_VERSION + 1)
    with pytest.raises(PotstillError, match=r"journal-0123.sqlite holds exchanges in a newer form"):
        ExchangeStore(tmp_path).ids()


def test_the_same_text_with_another_call_is_another_response() -> None:
    """Targets of one must not be taken for the other's."""
    calls = [None, '[{"name":"f"}]', '[{"name":"g"}]']
    assert len({response_digest(None, "", call) for call in calls}) == 3
    assert response_digest((1, 2), "a", calls[1]) == response_digest((1, 2), "b")
