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


def test_only_leftovers_of_one_path_are_removed(tmp_path: Path) -> None:
    mine, other = tmp_path / "c", tmp_path / "c.d"
    kept = [durable.temporary_name(other), tmp_path / ".c.0123.tmp", mine]
    for path in kept:
        path.write_text("")
    durable.temporary_name(mine).mkdir()
    durable.temporary_name(mine).write_text("half")
    durable.remove_leftovers_of(mine)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    durable.remove_leftovers_of(tmp_path / "nowhere" / "c")


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


def test_a_damaged_line_of_evidence_is_named_and_one_of_a_cache_is_none(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n\n[2]\n{"a": 3}\n{"a"')
    assert durable.read_lines(path) == [{"a": 1}, {"a": 3}]
    with pytest.raises(PotstillError, match=r"^line 3 of .*lines is damaged; "):
        durable.read_lines(path, strict=True)
    path.write_bytes(b'{"a": 1}\n\n{"a": 3}\n{"a"')
    assert durable.read_lines(path, strict=True) == [{"a": 1}, {"a": 3}]
    assert durable.read_lines(tmp_path / "none", strict=True) == []


def test_a_full_disk_leaves_the_lines_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    durable.append_line(path, b"one")
    monkeypatch.setattr(durable.os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(PotstillError, match="disk is full"):
        durable.append_line(path, b"two")
    assert path.read_bytes().startswith(b"one\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "permission denied; choose another directory with --out or change its"),
        (errno.ENOTDIR, "a part of its path is a file and no folder; choose another directory"),
        (errno.ENAMETOOLONG, "its name is longer than the file system takes; choose another"),
        (errno.ELOOP, "its path is a link to itself; choose another directory with --out"),
        (errno.EMFILE, "too many files are open; raise the limit of open files"),
        (errno.ENFILE, "too many files are open; raise the limit of open files"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.os, "replace", fail_with(number))
    with pytest.raises(PotstillError, match=words):
        durable.write_bytes(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


def test_what_keeps_a_path_from_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    (tmp_path / "own").symlink_to(tmp_path / "own")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "good").symlink_to(file)
    found = {
        file: None,
        tmp_path / "good": None,
        Path(os.devnull): None,
        tmp_path: "is a directory",
        tmp_path / "none": "does not exist",
        tmp_path / "no" / "file": "does not exist",
        tmp_path / "dangling": "is a link to what is not there",
        tmp_path / "own": "cannot be read (its path is a link to itself)",
        file / "inside": "cannot be read (a part of its path is a file and no folder)",
        tmp_path / ("x" * 300): "cannot be read (its name is longer than the file system takes)",
        Path("a\0b"): "has a null character in its name",
    }
    for path, words in found.items():
        assert durable.no_file(path) == words
    monkeypatch.setattr(durable.os, "access", lambda *_: False)
    assert durable.no_file(file) == "cannot be read (permission denied)"


def test_a_temporary_folder_is_gone_afterwards() -> None:
    with durable.temporary_folder() as folder:
        (folder / "file").write_text("text")
    assert not folder.exists()
    with pytest.raises(PotstillError, match="mine"), durable.temporary_folder() as folder:
        raise PotstillError("mine")
    assert not folder.exists()


def test_what_another_place_refuses_is_not_said_of_the_temporary_folder(tmp_path: Path) -> None:
    """Much runs inside of one: who is told to set TMPDIR would look in the wrong place."""
    with (
        pytest.raises(IsADirectoryError) as refused,
        durable.temporary_folder() as folder,
    ):
        tmp_path.read_bytes()
    assert refused.value.filename == str(tmp_path) and not folder.exists()
    with (
        pytest.raises(PotstillError, match="set TMPDIR to a folder that you may write"),
        durable.temporary_folder() as folder,
    ):
        folder.read_bytes()


def test_a_place_that_cannot_be_written_ends_on_the_callers_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "x"
    with pytest.raises(PotstillError, match=r"; go elsewhere$"):
        durable.append_line(inside / "lines", b"{}", "go elsewhere")
    with (
        pytest.raises(PotstillError, match=r"; go elsewhere$"),
        durable.staged(inside, "go elsewhere"),
    ):
        pass
    with (
        pytest.raises(PotstillError, match=r"; go elsewhere$"),
        durable.replaced_directory(inside / "y", "go elsewhere"),
    ):
        pass


@pytest.mark.parametrize("path", [Path(), Path("/")])
def test_a_place_without_a_name_is_refused(path: Path) -> None:
    with pytest.raises(PotstillError, match=r"it is a directory in use; choose another"):
        durable.write_bytes(path, b"x")
    with (
        pytest.raises(PotstillError, match=r"it is a directory in use"),
        durable.replaced_directory(path),
    ):
        pass


def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(PotstillError, match=r"it is a device or a pipe; choose another"):
        durable.write_bytes(path, b"x")
    with (
        pytest.raises(PotstillError, match=r"it is a device or a pipe"),
        durable.replaced_directory(path),
    ):
        pass
    assert path.is_fifo()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]
