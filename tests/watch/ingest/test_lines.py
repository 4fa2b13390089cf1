"""Lines of any file: none is lost, whatever is wrong with others."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from traffic_logs import Ingest, held, request, write_lines

from potstill.watch.ingest import lines
from potstill.watch.ingest.fields import FLAW, LINE, PLACE
from potstill.watch.ingest.lines import DAMAGED, NOT_UTF8, TOO_LONG, line_batches

Row = tuple[int, str | None, str | None]


def read(path: Path) -> list[Row]:
    """Return number, flaw and text of every line."""
    found: list[Row] = []
    for batch in line_batches(path):
        columns = [batch.column(name).to_pylist() for name in (PLACE, FLAW, LINE)]
        for place, flaw, line in zip(*columns, strict=True):
            found.append((place, flaw, line and line.removesuffix("\n")))
    return found


@pytest.fixture(params=[7, 64, 4 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Read blocks of several sizes: what is said must not depend on it."""
    monkeypatch.setattr(lines, "_BLOCK", request.param)
    return int(request.param)


def test_lines_are_numbered_and_blank_ones_are_none(block: int, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{}\r\n\n  \n{"a": "\xc3\xa9"}\n\xff\n\nlast')
    assert read(path) == [
        (1, None, "{}\r"),
        (4, None, '{"a": "é"}'),
        (5, NOT_UTF8, None),
        (7, None, "last"),
    ]


@pytest.mark.parametrize("end", ["", ".gz", ".zst"])
def test_every_line_comes_once(block: int, end: str, tmp_path: Path) -> None:
    drawn = random.Random(3)
    texts = [json.dumps({"n": n, "x": "y" * drawn.randrange(200)}) for n in range(300)]
    path = write_lines(tmp_path / f"x.jsonl{end}", *texts)
    assert [(number, text) for number, _, text in read(path)] == list(enumerate(texts, 1))


def test_a_line_that_is_too_long_costs_no_other(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    path = write_lines(tmp_path / "x.jsonl", "first", "x" * 5000, "third")
    found = read(path)
    if block > 5000:  # the whole line is at hand, and no harm
        assert [number for number, _, _ in found] == [1, 2, 3]
    else:
        assert found == [(1, None, "first"), (2, TOO_LONG, None), (3, None, "third")]


def test_compressed_data_that_is_cut_off_says_so(tmp_path: Path) -> None:
    texts = [json.dumps({"n": n, "x": random.Random(n).random()}) for n in range(2000)]
    packed = gzip.compress("\n".join(texts).encode())
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    found = read(path)
    assert found[-1][1:] == (DAMAGED, None)
    whole = [text for _, flaw, text in found if flaw is None]
    assert whole[:-1] == texts[: len(whole) - 1] and len(whole) > 100


def test_several_members_of_gzip_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n") + gzip.compress(b"[]\n"))
    assert [text for _, _, text in read(path)] == ["{}", "[]"]


HOSTILE = {
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "nul": '{"request_id": "a\\u0000b", "account_id": "x", "time": "2026-03-01T00:00:00Z"}',
    "surrogate": '{"account_id": "\\ud800"}',
    "constant": '{"account_id": NaN}',
    "raw nul": '{"a": "\x00"}',
    "number": '{"account_id": 1e999, "time": 1e999}',
    "trailing": '{"a": 1} x',
    "array": "[1, 2]",
    "text": '"x"',
    "quotes": '{"account_id": "\'; DROP TABLE x; --", "time": "2026-03-01T00:00:00Z"}',
}


def test_hostile_lines_are_set_aside_or_taken_and_cost_no_other(
    ingest: Ingest, tmp_path: Path
) -> None:
    rows: list[Any] = [request(0), *HOSTILE.values(), request(1)]
    report = ingest(write_lines(tmp_path / "log.jsonl", *rows))
    tally = report.files[0].tally
    assert tally["rows"] == len(rows)
    assert tally["kept"] + sum(tally["aside"].values()) == len(rows)
    names = {row["request_id"] for row in held(tmp_path / "store")}
    assert {"r0", "r1", "a\x00b"} <= names
    assert "'; DROP TABLE x; --" in {row["account_id"] for row in held(tmp_path / "store")}


def broken_middle(path: Path, rows: int, bad: int) -> None:
    """Write many requests, with lines in the middle that no reader can make sense of."""
    drawn = random.Random(11)
    filler = "lorem ipsum " * 120
    kinds = [b'{"account_id": "a", ', b"\xff\xfe\x00", b"}{", b"x" * 70_000, b'{"a":1}{"b":2}']
    with path.open("wb") as file:
        for n in range(rows):
            if rows // 2 <= n < rows // 2 + bad:
                file.write(drawn.choice(kinds) + b"\n")
            file.write(json.dumps(request(n, system=filler, time=1_772_359_200 + n)).encode())
            file.write(b"\n")


def test_a_broken_middle_loses_nothing_else(ingest: Ingest, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    broken_middle(path, 1_500, 40)
    tally = ingest(path).files[0].tally
    assert (tally["rows"], tally["kept"], sum(tally["aside"].values())) == (1_540, 1_500, 40)
    assert {row["request_id"] for row in held(tmp_path / "store")} == {
        f"r{n}" for n in range(1_500)
    }


@pytest.mark.slow
def test_two_gigabytes_with_a_broken_middle_lose_nothing_else(
    ingest: Ingest, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    broken_middle(path, 1_250_000, 1_000)
    assert path.stat().st_size > 2 << 30
    tally = ingest(path, privacy="metadata").files[0].tally
    assert (tally["kept"], sum(tally["aside"].values())) == (1_250_000, 1_000)
    import pyarrow.parquet as pq

    parts = list((tmp_path / "store/requests").rglob("*.parquet"))
    names = pa.concat_tables([pq.read_table(p, columns=["row"]) for p in parts])["row"]
    assert len(names.unique()) == 1_250_000
