"""How often each party used each piece of its prompts, counted in parts that fit into memory.

Rows lie in files by party meanwhile, so that no more than one part of the parties is held. Only
numbers are counted: the order of rows decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from potstill.watch.sketches import SLOT_BITS

Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
_FILES = 16


@dataclass(frozen=True)
class PieceUse:
    """Of E pairs of a party and a piece: places of parties in `names`, pieces, and how often each
    was used, sorted; `asked_P` are the requests of each party that have a sketch."""

    names: tuple[str, ...]
    party_E: Int32s
    piece_E: Int32s
    n_E: Int32s
    asked_P: Ints

    def of_parties(self, least: int, most: int) -> PieceUse:
        """Return the use of pieces that so many parties use."""
        count_F = np.bincount(self.piece_E)
        kept_E = (count_F >= least)[self.piece_E] & (count_F <= most)[self.piece_E]
        return PieceUse(
            self.names,
            self.party_E[kept_E],
            self.piece_E[kept_E],
            self.n_E[kept_E],
            self.asked_P,
        )


def piece_use(
    names: tuple[str, ...],
    batches: Iterable[tuple[Ints, NDArray[np.uint16]]],
    slots: tuple[int, ...],
    folder: Path,
    used: int,
    one_in: int,
) -> PieceUse:
    """Return which party used which piece `used` times or more, and in one of `one_in` requests.

    Batches are requests: places of their parties in `names`, and the values of `slots`, as
    [R, slots]. A piece is a value with its slot's number above it. Files are put into `folder`.
    """
    asked_P = np.zeros(len(names), np.int64)
    for party_R, value_RS in batches:
        asked_P += np.bincount(party_R, minlength=len(names))
        order = np.argsort(party_R % _FILES, kind="stable")
        edges = np.searchsorted(party_R[order] % _FILES, np.arange(_FILES + 1))
        for number in range(_FILES):
            mine = order[edges[number] : edges[number + 1]]
            _append(folder / f"{number}.party", party_R[mine].astype(np.int32))
            _append(folder / f"{number}.slots", value_RS[mine])
    found = [
        _counted(folder, number, slots, asked_P, used, one_in)
        for number in range(_FILES)
        if (folder / f"{number}.party").exists()
    ]
    if not found:
        found = [(np.zeros(0, np.int32),) * 3]
    party_E, piece_E, n_E = (np.concatenate(one) for one in zip(*found, strict=True))
    order = np.argsort((party_E.astype(np.int64) << 32) | piece_E)
    return PieceUse(names, party_E[order], piece_E[order], n_E[order], asked_P)


def _append(path: Path, values: NDArray[np.generic]) -> None:
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(values).tobytes())


def _counted(
    folder: Path, number: int, slots: tuple[int, ...], asked_P: Ints, used: int, one_in: int
) -> tuple[Int32s, Int32s, Int32s]:
    """Return parties, pieces and how often each was used, of the rows of one file."""
    party_R = np.fromfile(folder / f"{number}.party", np.int32)
    value_RS = np.fromfile(folder / f"{number}.slots", np.uint16).reshape(-1, len(slots))
    often = asked_P[party_R] >= used
    party_R, value_RS = party_R[often], value_RS[often]
    above_R = party_R.astype(np.uint64) << np.uint64(SLOT_BITS)
    found = []
    for place, slot in enumerate(slots):
        key_R = np.sort(above_R | value_RS[:, place])
        first = np.flatnonzero(np.concatenate(([True], key_R[1:] != key_R[:-1]))[: len(key_R)])
        n_E = np.diff(first, append=len(key_R))
        kept = n_E >= used
        first, n_E = first[kept], n_E[kept]
        party_E = (key_R[first] >> np.uint64(SLOT_BITS)).astype(np.int32)
        kept = n_E * one_in >= asked_P[party_E]
        value_E = (key_R[first[kept]] & np.uint64(2**SLOT_BITS - 1)).astype(np.int32)
        found.append((party_E[kept], value_E + (slot << SLOT_BITS), n_E[kept].astype(np.int32)))
    parties, pieces, counts = (np.concatenate(one) for one in zip(*found, strict=True))
    return parties, pieces, counts
