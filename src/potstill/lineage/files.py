"""The files of a directory with their digests, and which of them are not as they were listed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from potstill.canonical import digest_by_all_cores, digest_of_bytes
from potstill.errors import PotstillError


class FileEntry(BaseModel):
    """A file as a manifest lists it: its size, and the BLAKE3 digest (64 digits) of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: int
    blake3: str


def names_under(root: Path, left_out: frozenset[str] = frozenset()) -> list[str]:
    """Return the names of every file and link under `root`, with slashes, in order.

    `left_out` are names of files that lie in `root` itself. Links are not followed.
    """
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        within = "" if folder == str(root) else f"{Path(folder).relative_to(root).as_posix()}/"
        found += [within + name for name in (*files, *links)]
    return sorted(name for name in found if name not in left_out)


def entry_of(path: Path) -> FileEntry:
    """Return a file's size and digest, by every core."""
    return FileEntry(bytes=path.stat().st_size, blake3=digest_by_all_cores(path))


def entry_of_bytes(content: bytes) -> FileEntry:
    """Return the size and digest of a file that will hold these bytes."""
    return FileEntry(bytes=len(content), blake3=digest_of_bytes(content, 32))


def entries_under(root: Path, left_out: frozenset[str] = frozenset()) -> dict[str, FileEntry]:
    """Return every file under `root` by its name.

    Raises PotstillError for a link or a device, whose digest would vouch for something else.
    """
    names = names_under(root, left_out)
    for name in names:
        if (fault := _no_plain_file(root / name)) is not None:
            raise PotstillError(
                f"{name} in {root} {fault}; replace it by the file it points to, so that the "
                "manifest can vouch for it"
            )
    return {name: entry_of(root / name) for name in names}


def differences(
    root: Path, listed: Mapping[str, FileEntry], left_out: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Yield, one sentence a file, what is not as it was listed: what shows at once comes first.

    A file is read only where its name, its kind and its size are as they were.
    """
    names = names_under(root, left_out)
    found = set(names)
    yield from (f"{shown(name)} is missing" for name in sorted(listed.keys() - found))
    yield from (f"{shown(name)} is not listed" for name in names if name not in listed)
    to_read = []
    for name in sorted(listed.keys() & found):
        if (fault := _no_plain_file(root / name)) is not None:
            yield f"{shown(name)} {fault}"
        elif (root / name).stat().st_size != listed[name].bytes:
            yield f"{shown(name)} has changed"
        else:
            to_read.append(name)
    for name in to_read:
        if digest_by_all_cores(root / name) != listed[name].blake3:
            yield f"{shown(name)} has changed"


def shown(name: str) -> str:
    """Return a file's name as it may stand in a sentence: letters that do not print escaped."""
    return name if name.isprintable() else ascii(name)


def _no_plain_file(path: Path) -> str | None:
    """Return what a path is, in words, where it is no plain file."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a link"
    return None if stat.S_ISREG(mode) else "is no plain file"
