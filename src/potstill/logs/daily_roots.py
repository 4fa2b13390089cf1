"""Roots of a serving log's days, each with the digest of the entry before: a chain.

A root that was published or timestamped in time shows later that the log of its day has not been
changed since, and a row with its proof shows that it was there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from potstill.canonical import canonical_json
from potstill.durable import append_line
from potstill.errors import PotstillError
from potstill.logs.merkle import inclusion_proof, is_included, leaf_hash, root_of

# No ending that a reader of logs would take for a log.
ROOTS = "roots.chain"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_HEX = r"^[0-9a-f]{64}$"


class DayRoot(BaseModel):
    """The root of one day's rows; `previous` is the SHA-256 of the entry before, as written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    form: Literal["potstill/serving-root/1"] = Field("potstill/serving-root/1", alias="schema")
    day: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    rows: int = Field(ge=0)
    root: str = Field(pattern=_HEX)
    previous: str | None = Field(None, pattern=_HEX)

    def line(self) -> bytes:
        """Return the entry as it is written."""
        return canonical_json(self.model_dump(by_alias=True))

    @property
    def digest(self) -> str:
        """What the entry after it states."""
        return hashlib.sha256(self.line()).hexdigest()


class RowProof(BaseModel):
    """What proves that a row is in a day's log: the other hashes up to the day's root, in hex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    day: str
    index: int = Field(ge=0)
    rows: int = Field(ge=1)
    path: tuple[str, ...]


def seal(folder: Path, *, before: str) -> list[DayRoot]:
    """Append the roots of all days before one that have none; return them.

    The caller sees to it that nobody writes. Raises PotstillError where the chain is damaged.
    """
    known = read_roots(folder)
    latest = known[-1].day if known else ""
    previous = known[-1].digest if known else None
    added: list[DayRoot] = []
    for file in _day_files(folder):
        if not latest < file.stem < before:
            continue
        leaves = leaves_of(file)
        entry = DayRoot(
            day=file.stem, rows=len(leaves), root=root_of(leaves).hex(), previous=previous
        )
        append_line(folder / ROOTS, entry.line())
        previous = entry.digest
        added.append(entry)
    return added


def read_roots(folder: Path) -> list[DayRoot]:
    """Return the chain of roots, empty where there is none.

    Raises PotstillError, naming the day, where an entry is damaged or does not follow the one
    before.
    """
    path = folder / ROOTS
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: list[DayRoot] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = DayRoot.model_validate_json(line)
        except ValidationError:
            raise PotstillError(_broken(path, number)) from None
        follows = found[-1].digest if found else None
        later = not found or found[-1].day < entry.day
        if entry.previous != follows or not later or entry.line() != line:
            raise PotstillError(_broken(path, number))
        found.append(entry)
    return found


def check_roots(folder: Path) -> list[DayRoot]:
    """Return the chain of roots once every day's rows have been hashed again.

    Raises PotstillError, naming the day, where its rows are not those that its root was taken of.
    """
    roots = read_roots(folder)
    for entry in roots:
        file = folder / f"{entry.day}.jsonl"
        leaves = leaves_of(file) if file.is_file() else []
        if len(leaves) != entry.rows or root_of(leaves).hex() != entry.root:
            raise PotstillError(
                f"the serving log of {entry.day} is not the one that its root was taken of "
                f"({len(leaves):,} rows, {entry.rows:,} then); restore {file} from a copy"
            )
    return roots


def proof_of(folder: Path, day: str, index: int) -> RowProof:
    """Return what proves that a day's row `index` is one of its root's.

    Raises PotstillError where there is no such row.
    """
    file = folder / f"{day}.jsonl"
    leaves = leaves_of(file) if _DAY.fullmatch(day) and file.is_file() else []
    if not 0 <= index < len(leaves):
        raise PotstillError(
            f"the serving log {folder} has no row {index} on {day}; check day and number"
        )
    path = tuple(node.hex() for node in inclusion_proof(leaves, index))
    return RowProof(day=day, index=index, rows=len(leaves), path=path)


def proves(proof: RowProof, row: bytes, root: DayRoot) -> bool:
    """Tell whether a proof shows that a row, as it is written, is one of a day's root's."""
    if (proof.day, proof.rows) != (root.day, root.rows):
        return False
    try:
        path = [bytes.fromhex(node) for node in proof.path]
    except ValueError:
        return False
    return is_included(leaf_hash(row), proof.index, proof.rows, path, bytes.fromhex(root.root))


def leaves_of(file: Path) -> list[bytes]:
    """Return the hash of each whole line of a file; half a line, left by a kill, is none."""
    return list(_leaves(file))


def _leaves(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield leaf_hash(line[:-1])


def _day_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.jsonl") if _DAY.fullmatch(p.stem))


def _broken(path: Path, number: int) -> str:
    return (
        f"entry {number} of {path} is damaged or does not follow the one before it; restore the "
        "file from a copy"
    )
