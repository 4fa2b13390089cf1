"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from potstill import durable
from potstill.errors import PotstillError


def fail_with(code: int) -> object:
    def failing(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return failing


def test_bytes_are_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    durable.write_bytes(path, b"one")
    durable.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "file"
    durable.write_bytes(path, b"old")
    monkeypatch.setattr(durable.os, call, fail_with(code))
    with pytest.raises(PotstillError, match="disk is full or a size limit is reached; free some"):
        durable.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_known_through_what_libraries_make_of_it(tmp_path: Path) -> None:
    def as_safetensors() -> None:
        raise ValueError("Error while serializing: I/O error: No space left (os error 28)")

    def as_torch() -> None:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise RuntimeError("unexpected pos 768 vs 662")  # noqa: B904

    def as_another() -> None:
        raise ValueError("Error while serializing: I/O error: broken (os error 5)")

    for write in (as_safetensors, as_torch):
        with pytest.raises(PotstillError, match="disk is full"), durable.write_errors(tmp_path):
            write()
    with pytest.raises(ValueError, match="os error 5"), durable.write_errors(tmp_path):
        as_another()


def test_another_failure_is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.os, "replace", fail_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        durable.write_bytes(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


def test_a_missing_permission_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.os, "replace", fail_with(errno.EACCES))
    with pytest.raises(PotstillError, match="permission denied; choose another directory"):
        durable.write_bytes(tmp_path / "file", b"new")


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "student"
    for content in ("one", "two"):
        with durable.replaced_directory(path) as new:
            (new / "inner").mkdir()
            (new / "inner" / content).write_text(content)
    assert [p.name for p in (path / "inner").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


def test_a_directory_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "student"
    with durable.replaced_directory(path) as new:
        (new / "file").write_text("old")

    def write_half() -> None:
        with durable.replaced_directory(path) as new:
            (new / "file").write_text("half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(PotstillError, match="disk is full"):
        write_half()
    assert (path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["student"]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / ".hidden.tmp", tmp_path / "x.tmp", tmp_path / ".a.0123.tmp"]
    for path in kept:
        path.write_text("")
    (tmp_path / "deep").mkdir()
    durable.temporary_name(tmp_path / "deep" / "file").write_text("half")
    half_directory = durable.temporary_name(tmp_path / "student")
    half_directory.mkdir()
    (half_directory / "inner").write_text("half")
    durable.remove_leftovers(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
    assert not half_directory.exists()


def test_lines_are_added_and_half_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines"
    durable.append_line(path, b"one")
    durable.append_line(path, b"two")
    assert path.read_bytes() == b"one\ntwo\n"
    path.write_bytes(b"one\ntw")
    durable.append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"
    path.write_bytes(b"on")
    durable.append_line(path, b"four")
    assert path.read_bytes() == b"four\n"


def test_a_full_disk_leaves_the_lines_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    durable.append_line(path, b"one")
    monkeypatch.setattr(durable.os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(PotstillError, match="disk is full"):
        durable.append_line(path, b"two")
    assert path.read_bytes().startswith(b"one\n")
