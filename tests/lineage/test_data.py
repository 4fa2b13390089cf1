"""The answers of a run as they lie in it, read by whoever verifies it: damaged ones are named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.errors import PotstillError
from potstill.lineage.data import stored_answers

GOOD = '[{"role": "user", "content": "a"}]'


def shard(root: Path) -> Path:
    path = root / "exchanges" / "part-0.parquet"
    path.parent.mkdir()
    return path


def table(messages: str | None, prompt: str | None = "p") -> pa.Table:
    columns = {"exchange_id": ["e"], "prompt_id": [prompt], "split": ["train"]}
    return pa.table({**columns, "messages": [messages]})


def test_answers_are_read_once_each(tmp_path: Path) -> None:
    pq.write_table(pa.concat_tables([table(GOOD), table(GOOD)]), shard(tmp_path))
    (row,) = stored_answers(tmp_path)
    assert row.prompt_id == "p" and row.messages == ({"role": "user", "content": "a"},)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_shard_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    shard(tmp_path).write_bytes(content)
    with pytest.raises(PotstillError, match=r"exchanges/part-0\.parquet holds no answers"):
        list(stored_answers(tmp_path))


@pytest.mark.parametrize(
    "rows",
    [
        pa.table({"a": [1]}),
        table(None),
        table("{"),
        table("3"),
        table("[1]"),
        table("[" * 100_000),
        table(GOOD, prompt=None),
    ],
)
def test_a_shard_of_other_rows_is_named(tmp_path: Path, rows: pa.Table) -> None:
    pq.write_table(rows, shard(tmp_path))
    with pytest.raises(PotstillError, match=r"exchanges/part-0\.parquet holds no answers"):
        list(stored_answers(tmp_path))
