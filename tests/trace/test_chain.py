"""A file that only grows: whatever is done to a record of it is said, by the record's number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.trace.chain import Chain, custody_digest, origin_of, read_chain, require_head

ORIGIN = origin_of("plan", "p")


def made(path: Path, count: int = 4) -> Chain:
    chain = Chain(path, ORIGIN)
    for number in range(count):
        chain.append({"what": f"item {number}"})
    return chain


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    chain = made(tmp_path / "c.jsonl")
    found = read_chain(tmp_path / "c.jsonl", ORIGIN)
    assert [link.content["what"] for link in found.links] == [f"item {n}" for n in range(4)]
    assert found.head == chain.head == custody_digest(lines_of(tmp_path / "c.jsonl")[-1])
    assert not found.torn
    require_head(tmp_path / "c.jsonl", found, chain.head, 4)


def test_many_are_added_as_one_by_one(tmp_path: Path) -> None:
    one, many = made(tmp_path / "one"), Chain(tmp_path / "many", ORIGIN)
    assert many.extend([]) == ()
    added = many.extend([{"what": f"item {n}"} for n in range(4)])
    assert [link.number for link in added] == [0, 1, 2, 3]
    assert many.head == one.head
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


def test_a_chain_goes_on_where_it_was(tmp_path: Path) -> None:
    made(tmp_path / "c", 2)
    again = Chain(tmp_path / "c", ORIGIN)
    again.append({"what": "item 2"})
    assert again.head == made(tmp_path / "other", 3).head


def test_an_absent_file_is_an_empty_chain(tmp_path: Path) -> None:
    found = read_chain(tmp_path / "none", ORIGIN)
    assert found.links == () and found.head == ORIGIN


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_changed_record_is_named(tmp_path: Path, number: int) -> None:
    path = tmp_path / "c"
    made(path)
    lines = lines_of(path)
    lines[number] = lines[number].replace(b"item", b"Item")
    write(path, lines)
    with pytest.raises(PotstillError, match=rf"record {number} of .* was changed"):
        read_chain(path, ORIGIN)


def test_a_changed_last_record_shows_against_its_head(tmp_path: Path) -> None:
    path = tmp_path / "c"
    head = made(path).head
    lines = lines_of(path)
    write(path, [*lines[:-1], lines[-1].replace(b"item", b"Item")])
    with pytest.raises(PotstillError, match=r"record 3 of .* was changed"):
        require_head(path, read_chain(path, ORIGIN), head, 4)


def test_a_record_spelt_otherwise_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    made(path)
    lines = lines_of(path)
    lines[1] = json.dumps(json.loads(lines[1]), indent=None).encode()
    write(path, lines)
    with pytest.raises(PotstillError, match=r"record 1 of .* was changed"):
        read_chain(path, ORIGIN)


def test_a_record_taken_out_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    made(path)
    lines = lines_of(path)
    write(path, lines[:1] + lines[2:])
    with pytest.raises(PotstillError, match=r"record 1 of .* is missing or moved: record 2"):
        read_chain(path, ORIGIN)


def test_records_that_changed_places_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    made(path)
    a, b, c, d = lines_of(path)
    write(path, [a, c, b, d])
    with pytest.raises(PotstillError, match=r"record 1 of .* is missing or moved"):
        read_chain(path, ORIGIN)


def test_records_missing_at_the_end_show_against_the_head(tmp_path: Path) -> None:
    path = tmp_path / "c"
    head = made(path).head
    write(path, lines_of(path)[:-1])
    found = read_chain(path, ORIGIN)
    with pytest.raises(PotstillError, match=r"ends after 3 records, and 4 were noted: record 3"):
        require_head(path, found, head, 4)


def test_records_added_at_the_end_show_against_the_head(tmp_path: Path) -> None:
    path = tmp_path / "c"
    chain = made(path)
    head = chain.head
    chain.append({"what": "late"})
    with pytest.raises(PotstillError, match=r"record 4 was added afterwards"):
        require_head(path, read_chain(path, ORIGIN), head, 4)


def test_a_chain_of_something_else_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "c")
    with pytest.raises(PotstillError, match="belongs to another plan or teacher"):
        read_chain(tmp_path / "c", origin_of("plan", "other"))


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"number":0}', b"\xff", b"NaN", b""])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, line: bytes) -> None:
    made(tmp_path / "c")
    write(tmp_path / "c", [*lines_of(tmp_path / "c")[:2], line])
    with pytest.raises(PotstillError, match=r"record 2 of .* cannot be read"):
        read_chain(tmp_path / "c", ORIGIN)


def test_what_stands_for_a_place_is_not_quoted(tmp_path: Path) -> None:
    made(tmp_path / "c.jsonl")
    lines = lines_of(tmp_path / "c.jsonl")
    lines[1] = lines[1].replace(b'"number":1', b'"number":"a secret"')
    write(tmp_path / "c.jsonl", lines)
    with pytest.raises(PotstillError, match=r"record 1 of .* cannot be read") as caught:
        read_chain(tmp_path / "c.jsonl", ORIGIN)
    assert "secret" not in str(caught.value)


def test_no_record_is_quoted(tmp_path: Path) -> None:
    made(tmp_path / "c")
    write(tmp_path / "c", [b'"a secret of somebody"'])
    with pytest.raises(PotstillError) as caught:
        read_chain(tmp_path / "c", ORIGIN)
    assert "secret" not in str(caught.value)


def test_half_a_line_is_dropped_and_said(tmp_path: Path) -> None:
    path = tmp_path / "c"
    head = made(path).head
    with path.open("ab") as file:
        file.write(b'{"number":4,"prev')
    assert read_chain(path, ORIGIN).torn
    chain = Chain(path, ORIGIN)
    assert chain.torn and chain.head == head
    chain.append({"what": "item 4"})
    assert not read_chain(path, ORIGIN).torn
    assert chain.head == made(tmp_path / "whole", 5).head


def test_a_folder_is_no_chain(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="cannot be read"):
        read_chain(tmp_path, ORIGIN)


KILLED = """
import os, signal, sys
from pathlib import Path
from potstill.trace.chain import Chain, origin_of
chain = Chain(Path(sys.argv[1]), origin_of("plan", "p"))
for n in range(3):
    chain.append({"what": f"item {n}"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed otherwise there")
def test_what_was_added_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "c"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL
    assert read_chain(path, ORIGIN).head == made(tmp_path / "whole", 3).head


@given(
    contents=st.lists(st.text(max_size=5), min_size=2, max_size=6),
    where=st.data(),
)
def test_no_single_byte_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str], where: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("chain") / "c"
    chain = Chain(path, ORIGIN)
    chain.extend([{"text": text} for text in contents])
    before = path.read_bytes()
    place = where.draw(st.integers(0, len(before) - 1))
    byte = where.draw(st.integers(0, 255).filter(lambda b: b != before[place]))
    path.write_bytes(before[:place] + bytes([byte]) + before[place + 1 :])
    with pytest.raises(PotstillError):
        require_head(path, read_chain(path, ORIGIN), chain.head, len(contents))
