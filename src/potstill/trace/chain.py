"""A file of lines that only grows, in which no line can be changed without its showing.

Each line is the canonical JSON of `{number, previous, content}`, where `previous` is the digest of
the line before as its bytes stand in the file; the first line's is the digest of what the chain
belongs to (a plan, a teacher). So a changed, missing, added or moved record is named. That records
are missing at the end shows against a head that somebody noted elsewhere: a verdict does. None of
it proves a date: who holds the file can write all of it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from potstill.canonical import canonical_json, digest_of_bytes, parsed
from potstill.durable import append_line, drop_half_line, no_file, os_reason, write_errors
from potstill.errors import PotstillError
from potstill.text.counts import many

# Bytes of a digest that others have to rely on: nobody finds two plans with one digest.
DIGEST_BYTES = 32
_KEYS = {"number", "previous", "content"}
_PATIENCE_S = 30.0
_ELSEWHERE = "choose another place for the file"


def custody_digest(content: bytes) -> str:
    """Return the digest by which a chain, a plan and a verdict name bytes: 64 digits."""
    return digest_of_bytes(content, DIGEST_BYTES)


def origin_of(kind: str, belongs_to: str) -> str:
    """Return what the first record of a chain is chained to."""
    return custody_digest(canonical_json({"potstill chain": kind, "of": belongs_to}))


@dataclass(frozen=True)
class Link:
    """One record: its place from 0 on, its content, and the digest of its line."""

    number: int
    content: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class ChainRead:
    """The records of a chain in order; `torn` tells that a kill left half a line behind them."""

    links: tuple[Link, ...]
    origin: str
    torn: bool = False

    @property
    def head(self) -> str:
        """The digest of the last record, or of what the chain belongs to where it has none."""
        return self.links[-1].digest if self.links else self.origin


def read_chain(path: Path, origin: str) -> ChainRead:
    """Return the records of a chain that belongs to `origin`; an absent file is an empty chain.

    Raises PotstillError that names the record where one was changed, moved, added or taken out,
    and where the chain belongs to something else.
    """
    content = _bytes_of(path)
    whole, _, rest = content.rpartition(b"\n")
    links: list[Link] = []
    for line in whole.split(b"\n") if whole else []:
        previous = links[-1].digest if links else origin
        links.append(_link(path, line, len(links), previous))
    return ChainRead(tuple(links), origin, bool(rest))


def require_head(path: Path, found: ChainRead, head: str, count: int) -> None:
    """Raise PotstillError, naming the record, unless a chain ends at a head that was noted."""
    length = len(found.links)
    if length < count:
        raise PotstillError(
            f"{path} ends after {many(length, 'record')}, and {count} were noted: record {length} "
            "is missing; get the whole file from whoever made it"
        )
    if length > count:
        raise PotstillError(
            f"{path} holds {many(length, 'record')}, and {count} were noted: record {count} was "
            "added afterwards; get the file as it was from whoever made it"
        )
    if found.head != head:
        raise _changed(path, max(0, length - 1), "noted for the end of the file")


@contextmanager
def chain_held(path: Path) -> Iterator[None]:
    """Let no other process read or add to a chain that several write, until the end.

    The lock is on the hidden file `.NAME.lock` beside it, which stays. Raises PotstillError where
    another process does not let go of it, and where nothing can be written there.
    """
    with write_errors(path.parent, _ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(str(path.with_name(f".{path.name}.lock")), timeout=_PATIENCE_S):
                yield
        except Timeout:
            raise PotstillError(
                f"another process has held {path} for {_PATIENCE_S:.0f} seconds; end it, and run "
                "the same command again"
            ) from None


class Chain:
    """A chain that is open for adding to; one process at a time writes it.

    Where several do, each holds it (`chain_held`) and reads it again before it adds to it.
    """

    def __init__(self, path: Path, origin: str) -> None:
        """Read what is there; half a line that a kill left is cut off, and `torn` tells of it.

        Raises PotstillError as `read_chain` does.
        """
        self.path = path
        self._origin = origin
        self.reread()

    def reread(self) -> None:
        """Take in what was added since by another process. Raises as opening it does."""
        found = read_chain(self.path, self._origin)
        self.torn = found.torn
        self._links = list(found.links)
        if found.torn:
            with write_errors(self.path.parent, _ELSEWHERE):
                drop_half_line(self.path)

    @property
    def links(self) -> Sequence[Link]:
        """The records so far."""
        return tuple(self._links)

    @property
    def head(self) -> str:
        """The digest of the last record."""
        return self._links[-1].digest if self._links else self._origin

    def append(self, content: Mapping[str, Any]) -> Link:
        """Add a record, durable on return. Raises PotstillError for a full disk."""
        (link,) = self.extend([content])
        return link

    def extend(self, contents: Sequence[Mapping[str, Any]]) -> tuple[Link, ...]:
        """Add records with one flush to the disk, durable on return."""
        lines, added = list(self._lines(contents)), []
        if not lines:
            return ()
        with write_errors(self.path.parent, _ELSEWHERE):
            append_line(self.path, b"\n".join(lines))
        for line, content in zip(lines, contents, strict=True):
            added.append(Link(len(self._links), content, custody_digest(line)))
            self._links.append(added[-1])
        return tuple(added)

    def _lines(self, contents: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
        previous, first = self.head, len(self._links)
        for number, content in enumerate(contents, first):
            line = canonical_json(
                {"number": number, "previous": previous, "content": dict(content)}
            )
            yield line
            previous = custody_digest(line)


def _link(path: Path, line: bytes, number: int, previous: str) -> Link:
    """Return the record of one line, which has to follow on the digest `previous`."""
    try:
        found = parsed(line.decode("utf-8"))
    except ValueError:
        found = None
    # What stands in a place's stead may be anybody's text, and is not repeated.
    if (
        not isinstance(found, dict)
        or set(found) != _KEYS
        or not isinstance(found["content"], dict)
        or not isinstance(found["number"], int)
    ):
        raise PotstillError(
            f"record {number} of {path} cannot be read; get the file as it was from whoever made it"
        )
    if found["number"] != number:
        raise PotstillError(
            f"record {number} of {path} is missing or moved: record {found['number']} stands in "
            "its place; get the file as it was from whoever made it"
        )
    if found["previous"] != previous:
        if number == 0:
            raise PotstillError(
                f"{path} belongs to another plan or teacher: its record 0 is chained to something "
                "else; give the file that belongs to it"
            )
        raise _changed(path, number - 1, f"that record {number} is chained to")
    return Link(number, found["content"], custody_digest(line))


def _changed(path: Path, number: int, noted: str) -> PotstillError:
    return PotstillError(
        f"record {number} of {path} was changed: it has not the digest {noted}; get the file as it "
        "was from whoever made it"
    )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        reason = os_reason(error) or no_file(path) or "it does not open"
        raise PotstillError(f"{path} cannot be read ({reason}); check it") from error
