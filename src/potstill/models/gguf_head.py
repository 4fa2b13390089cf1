"""What a GGUF file says of itself and where its tensors lie, without its vocabulary.

The package `gguf` builds an object for every token first, which takes seconds; terms are asked for
before anything else is done. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.models.files import INSTEAD, check_gguf

_STRING, _ARRAY = 8, 9
# Struct codes of the other types of values.
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_LONGEST_KEPT = 1_000  # values of a list; a vocabulary is longer
_ALIGNMENT = "general.alignment"


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in a file, of which ggml type and how many values it is."""

    kind: int
    count: int
    start: int


@dataclass(frozen=True)
class GgufHead:
    """A file's metadata but for long lists, its tensors' places, and its byte order (`<`, `>`)."""

    fields: dict[str, Any]
    tensors: dict[str, TensorPlace]
    order: str


def read_head(path: Path) -> GgufHead:
    """Return what a GGUF file says; raises PotstillError where it is none, or is cut off."""
    check_gguf(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return _Cursor(held).head()
    except (struct.error, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise PotstillError(
            f"{path.name} is cut off or damaged; download it again, or {INSTEAD}"
        ) from error


class _Cursor:
    def __init__(self, held: mmap.mmap) -> None:
        self._held, self._at = held, 8
        # Versions are small numbers: read in the wrong order they are large.
        version = struct.unpack_from("<I", held, 4)[0]
        self._order = "<" if version < 2**16 else ">"

    def head(self) -> GgufHead:
        tensors, keys = self._take("Q"), self._take("Q")
        fields = {}
        for _ in range(keys):
            name = self._text()
            value = self._value(self._take("I"))
            if value is not None:
                fields[name] = value
        placed = [self._tensor() for _ in range(tensors)]
        step = int(fields.get(_ALIGNMENT, 32))
        base = -(-self._at // step) * step
        return GgufHead(
            fields,
            {name: TensorPlace(kind, n, base + offset) for name, kind, n, offset in placed},
            self._order,
        )

    def _take(self, code: str) -> Any:
        (value,) = struct.unpack_from(self._order + code, self._held, self._at)
        self._at += struct.calcsize(self._order + code)
        return value

    def _skip(self, size: int) -> int:
        """Step over bytes that are there, and return where they began."""
        start, self._at = self._at, self._at + size
        if self._at > len(self._held):
            raise ValueError("ends early")
        return start

    def _text(self) -> str:
        start = self._skip(self._take("Q"))
        return self._held[start : self._at].decode("utf-8")

    def _value(self, kind: int) -> Any:
        """Return a value; None for a list that is too long to be kept, or of lists."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._take(_SCALARS[kind])
        inner, count = self._take("I"), self._take("Q")
        if inner not in (_STRING, _ARRAY) and count > _LONGEST_KEPT:
            self._skip(count * struct.calcsize("=" + _SCALARS[inner]))
            return None
        if inner == _STRING and count > _LONGEST_KEPT:
            for _ in range(count):
                self._skip(self._take("Q"))
            return None
        return [self._value(inner) for _ in range(count)]

    def _tensor(self) -> tuple[str, int, int, int]:
        name, count = self._text(), 1
        for _ in range(self._take("I")):
            count *= self._take("Q")
        return name, self._take("I"), count, self._take("Q")
