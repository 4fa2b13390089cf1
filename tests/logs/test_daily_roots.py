"""Roots of a serving log's days: a changed day is named, and a row proves that it was there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from served import served

from potstill.errors import PotstillError
from potstill.logs.daily_roots import check_roots, proof_of, proves, read_roots
from potstill.logs.serving_file import ServingLog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three days of rows, the first two with roots."""
    for day, rows in ((1, 5), (2, 1), (4, 2)):
        now = datetime(2026, 12, day, 9, tzinfo=UTC)
        ServingLog(tmp_path, clock=lambda now=now: now).append(  # type: ignore[misc]
            [served(10 * day + i) for i in range(rows)]
        )
    return tmp_path


def test_each_day_that_is_over_has_a_root(log: Path) -> None:
    first, second = check_roots(log)
    assert (first.day, first.rows, second.day, second.rows) == ("2026-12-01", 5, "2026-12-02", 1)
    assert first.previous is None
    assert second.previous == first.digest
    ServingLog(log, clock=lambda: datetime(2026, 12, 5, tzinfo=UTC)).seal()
    assert [entry.day for entry in check_roots(log)] == ["2026-12-01", "2026-12-02", "2026-12-04"]
    ServingLog(log, clock=lambda: datetime(2026, 12, 5, tzinfo=UTC)).seal()
    assert len(read_roots(log)) == 3


def test_a_changed_day_is_named(log: Path) -> None:
    file = log / "2026-12-01.jsonl"
    before = file.read_bytes()
    lines = before.splitlines(keepends=True)
    for wrong in (
        before.replace(b"Answer 12.", b"Answer 13."),
        b"".join(lines[:-1]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        before + lines[0],
        b"",
    ):
        file.write_bytes(wrong)
        with pytest.raises(PotstillError, match="the serving log of 2026-12-01 is not the one"):
            check_roots(log)
    file.write_bytes(before)
    assert len(check_roots(log)) == 2


def test_a_changed_chain_is_found_where_it_is_not_the_last_entry(log: Path) -> None:
    chain = log / "roots.chain"
    lines = chain.read_bytes().splitlines(keepends=True)
    for wrong, entry in (
        (lines[0].replace(b'"rows":5', b'"rows":4') + lines[1], 2),
        (lines[1], 1),
        (lines[1] + lines[0], 1),
        (lines[0] + lines[0], 2),
        (lines[0] + b"{}\n", 2),
    ):
        chain.write_bytes(wrong)
        with pytest.raises(PotstillError, match=f"entry {entry} of .* is damaged"):
            read_roots(log)


def test_a_row_proves_that_it_was_there(log: Path) -> None:
    root = read_roots(log)[0]
    lines = (log / "2026-12-01.jsonl").read_bytes().splitlines()
    for index, line in enumerate(lines):
        proof = proof_of(log, root.day, index)
        assert proves(proof, line, root)
        assert not proves(proof, lines[index - 1], root)
        assert not proves(proof.model_copy(update={"index": (index + 1) % 5}), line, root)
        assert not proves(proof.model_copy(update={"path": ("zz",)}), line, root)
        assert not proves(proof, line, read_roots(log)[1])


@pytest.mark.parametrize(("day", "index"), [("2026-12-01", 5), ("2026-12-03", 0), ("../x", 0)])
def test_there_is_no_proof_of_a_row_that_is_not_there(log: Path, day: str, index: int) -> None:
    with pytest.raises(PotstillError, match="has no row"):
        proof_of(log, day, index)
