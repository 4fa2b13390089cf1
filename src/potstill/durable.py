"""Files that a kill or a full disk leaves as the old one or the new one, never half; reading them.

Everything is written under a unique temporary name in the same folder, flushed to the disk,
renamed, and the folder is flushed too, so that the rename itself survives a power cut. A file of
lines only grows: of its last line a kill may leave half, which is cut off before the next.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError

# EFBIG is what a file-size limit gives; to the user it is the same as a full disk.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_MANY_OPEN = {errno.EMFILE, errno.ENFILE}
# What else is wrong with a place and not with the program.
_PLACE = {
    errno.ENOTDIR: "a part of its path is a file and no folder",
    errno.EISDIR: "it is a directory",
    errno.EEXIST: "something else of that name is there",
    errno.ENOENT: "a part of its path is not there",
    errno.ELOOP: "its path is a link to itself",
    errno.ENAMETOOLONG: "its name is longer than the file system takes",
}
ELSEWHERE = "choose another directory with --out"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_SUFFIX = ".tmp"


def disk_full(where: Path) -> PotstillError:
    """Return the error that a full disk is reported with."""
    return PotstillError(
        f"cannot write to {where}: the disk is full or a size limit is reached; free some space "
        "and run the same command again, what was stored before is safe"
    )


@contextmanager
def write_errors(where: Path, way_out: str = ELSEWHERE) -> Iterator[None]:
    """Turn what the system refuses into a `PotstillError` that names `where` and the way out."""
    try:
        yield
    except PotstillError:
        raise
    except Exception as error:
        if is_full(error):
            raise disk_full(where) from error
        if out_of_files(error):
            raise too_many_open(where) from error
        reason = os_reason(error) if isinstance(error, OSError) else None
        if reason is None:
            raise
        more = " or change its permissions" if "permission" in reason else ""
        raise PotstillError(f"cannot write to {where}: {reason}; {way_out}{more}") from error


def os_reason(error: OSError) -> str | None:
    """Return why the system refused something, in words; None where that may be a bug of ours."""
    if error.errno in _FULL:
        return "the disk is full or a size limit is reached"
    if error.errno in _REFUSED:
        return "permission denied"
    if error.errno in _MANY_OPEN:
        return "the limit of open files is reached"
    return _PLACE.get(error.errno or 0)


def damage(error: Exception) -> str:
    """Return why a library could not read a file, in words; its own may quote what is in it."""
    if isinstance(error, EOFError):
        return "it ends early"
    reason = os_reason(error) if isinstance(error, OSError) else None
    return reason or "its content is not of the kind that its name says"


def no_file(path: Path) -> str | None:
    """Return what keeps a path from being read as a file, in words; None if nothing does."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link to what is not there" if path.is_symlink() else "does not exist"
    except ValueError:
        return "has a null character in its name"
    except OSError as error:
        return f"cannot be read ({os_reason(error) or str(error.strerror).lower()})"
    if stat.S_ISDIR(mode):
        return "is a directory"
    return None if os.access(path, os.R_OK) else "cannot be read (permission denied)"


def out_of_files(error: BaseException | None) -> bool:
    """Tell whether an exception comes of too many open files, however a library has wrapped it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _MANY_OPEN:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def too_many_open(where: Path) -> PotstillError:
    """Return the error that a used-up number of open files is reported with."""
    return PotstillError(
        f"cannot write to {where}: too many files are open; raise the limit of open files "
        "(ulimit -n), or lower teacher.endpoint.max_in_flight where a server is asked, and run "
        "the same command again"
    )


def is_full(error: BaseException | None) -> bool:
    """Tell whether a full disk is behind an exception, however a library has wrapped it.

    safetensors and tokenizers leave the system's number in their text only, torch leaves the
    `OSError` in the context of its own.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (found := _OS_ERROR.search(str(error))):
            number = int(found[1])
        if number in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def temporary_name(path: Path) -> Path:
    """Return a unique hidden name beside `path`, of the kind that `remove_leftovers` removes.

    Raises `PotstillError` for a path without a name, `.` or `/`, and for a device or a pipe:
    nothing takes its place.
    """
    if not path.name:
        raise PotstillError(f"cannot replace {path}: it is a directory in use; {ELSEWHERE}")
    # These answer no where a folder may not be looked into, which writing then tells.
    plain = os.path.islink(path) or os.path.isfile(path) or os.path.isdir(path)
    if os.path.exists(path) and not plain:
        raise PotstillError(f"cannot replace {path}: it is a device or a pipe; {ELSEWHERE}")
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SUFFIX}")


def fsync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the platform can."""
    if os.name == "nt":
        return
    fsync_file(folder)


def write_bytes(path: Path, data: bytes, way_out: str = ELSEWHERE) -> None:
    """Put `data` at `path`, durable on return; on failure `path` is as it was before.

    Raises `PotstillError` for a full disk or a missing permission, which ends on `way_out`.
    """
    temporary = temporary_name(path)
    if path.is_dir() and not path.is_symlink():
        raise PotstillError(f"cannot write to {path}: {_PLACE[errno.EISDIR]}; {way_out}")
    with write_errors(path.parent, way_out):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def read_object(path: Path, remedy: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is no file, or something else in it.

    Raises `PotstillError` that ends on `remedy` where it is no JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise PotstillError(f"{path} is not readable JSON; {remedy}") from error
    return value if isinstance(value, dict) else None


def append_line(path: Path, line: bytes, way_out: str = ELSEWHERE) -> None:
    """Add one line to a file, durable on return; what a kill left of the line before is cut off.

    Raises `PotstillError` for a full disk or a missing permission, which ends on `way_out`.
    """
    with write_errors(path.parent, way_out):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        drop_half_line(path)
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            fsync_folder(path.parent)


def read_lines(path: Path, *, strict: bool = False) -> list[dict[str, Any]]:
    """Return the JSON objects of a file of lines; a half line, left by a kill, is none.

    Any other damaged line is none either, where what it held is made again. With `strict` it
    raises PotstillError: it was evidence, and no kill leaves one.
    """
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(whole.split(b"\n"), 1):
        if (value := _object(line)) is not None:
            found.append(value)
        elif strict and line.strip():
            raise PotstillError(
                f"line {number} of {path} is damaged; put the file back from a copy, or delete "
                "that line to have what it held made again"
            )
    return found


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def drop_half_line(path: Path) -> None:
    """Cut off what a kill left of the last line, so that the next line stands alone."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give an empty folder that is gone when the block ends.

    Raises `PotstillError` where there is no place for temporary files, or where it is full. What
    the system refuses of another place is not said of this one.
    """
    try:
        where = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PotstillError(
            "no folder for temporary files can be written; set TMPDIR to one that can"
        ) from error
    elsewhere: OSError | None = None
    with (
        write_errors(where, "set TMPDIR to a folder that you may write"),
        tempfile.TemporaryDirectory() as name,
    ):
        try:
            yield Path(name)
        except OSError as error:
            if error.filename is None or _within(str(error.filename), name):
                raise
            elsewhere = error
    if elsewhere is not None:
        raise elsewhere


def _within(path: str, folder: str) -> bool:
    return Path(folder) in (Path(path), *Path(path).parents)


@contextmanager
def staged(folder: Path, way_out: str = ELSEWHERE) -> Iterator[Path]:
    """Give a unique temporary path in `folder`, removed when the block leaves it there.

    The block writes the file and moves it to its final name with `publish`. Raises
    `PotstillError` for a full disk or a missing permission, which ends on `way_out`.
    """
    with write_errors(folder, way_out):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(folder / "part")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def publish(temporary: Path, final: Path) -> None:
    """Flush a finished temporary file and give it its final name, durable on return."""
    fsync_file(temporary)
    os.replace(temporary, final)
    fsync_folder(final.parent)


@contextmanager
def replaced_directory(path: Path, way_out: str = ELSEWHERE) -> Iterator[Path]:
    """Give an empty temporary directory that becomes `path` when the block succeeds.

    An older `path` is replaced. If the block fails the older one stays. Raises `PotstillError`
    for a full disk or a missing permission, which ends on `way_out`.
    """
    temporary = temporary_name(path)
    with write_errors(path.parent, way_out):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            _fsync_tree(temporary)
            if path.exists():
                older = temporary_name(path)
                os.replace(path, older)
                os.replace(temporary, path)
                shutil.rmtree(older)
            else:
                os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_folder(path.parent)


def remove_leftovers(root: Path) -> None:
    """Remove what killed writers left under `root`; call it only where nobody else writes."""
    _remove([p for p in root.rglob(f".*{_SUFFIX}") if is_leftover(p.name)])


def remove_leftovers_of(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; call it only where nobody else writes
    that path."""
    beside = list(path.parent.iterdir()) if path.parent.is_dir() else []
    length = len(temporary_name(path).name)
    _remove(
        p
        for p in beside
        if p.name.startswith(f".{path.name}.") and len(p.name) == length and is_leftover(p.name)
    )


def _remove(leftovers: Iterable[Path]) -> None:
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Tell whether a file name is one that `temporary_name` gave out."""
    stem, dot, middle = name.removesuffix(_SUFFIX).rpartition(".")
    return (
        name.startswith(".")
        and name.endswith(_SUFFIX)
        and bool(stem and dot)
        and len(middle) == 32
        and all(c in "0123456789abcdef" for c in middle)
    )


def _fsync_tree(folder: Path) -> None:
    for inside in sorted(folder.rglob("*")):
        if inside.is_dir():
            fsync_folder(inside)
        else:
            fsync_file(inside)
    fsync_folder(folder)
