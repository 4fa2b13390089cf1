"""Marked texts in a file: kept by the owner, and disclosed to who makes scores again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from potstill.canonical import canonical_json
from potstill.durable import no_file, read_lines, write_bytes
from potstill.errors import PotstillError
from potstill.trace.marks_in_choices import MarkedText


def keep_texts(path: Path, texts: Sequence[MarkedText]) -> None:
    """Write marked texts into a file of the owner's."""
    lines = [canonical_json(text.model_dump(mode="json")) for text in texts]
    write_bytes(path, b"\n".join(lines) + b"\n")


def read_texts(path: Path) -> list[MarkedText]:
    """Return the marked texts of a file. Raises PotstillError for another file."""
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"the marked texts {path} {fault}; give the file as the plan left it")
    try:
        return [MarkedText.model_validate(row) for row in read_lines(path, strict=True)]
    except ValidationError:
        raise PotstillError(
            f"{path} holds no marked texts; give the file as the plan left it"
        ) from None
