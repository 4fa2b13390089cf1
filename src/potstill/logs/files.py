"""The files that a log is in: one, several, or those of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from potstill.durable import os_reason
from potstill.errors import PotstillError

_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_WHOLE = (".json", ".json.gz")
SUFFIXES = (*_LINES, *_WHOLE, ".parquet", ".csv", ".tsv")
FileKind = Literal["lines", "json", "parquet", "csv", "tsv"]


@dataclass(frozen=True)
class LogFiles:
    """The files of a log, each once; `passed_over` are the names of others in its folders."""

    paths: tuple[str, ...]
    passed_over: tuple[str, ...] = ()


def files_in(paths: Sequence[str]) -> LogFiles:
    """Return the files that paths name; a folder stands for the logs that lie in it.

    Files of a folder that are of no known kind are passed over, hidden ones (`.x`, `_x`) without a
    word. Raises PotstillError for a folder without a log, and for what is no file.
    """
    found: list[str] = []
    others: list[str] = []
    for path in paths:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            found.append(path)
            continue
        inside = _inside(path, folder)
        logs = [p for p in inside if kind_of(p) is not None]
        if not logs:
            raise PotstillError(
                f"the folder {path} holds no log of calls; put files that end in "
                f"{', '.join(SUFFIXES)} there, or name another one in collect.calls.path"
            )
        found += [str(p) for p in logs]
        others += [p.name for p in inside if kind_of(p) is None]
    return LogFiles(tuple(dict.fromkeys(found)), tuple(others))


def kind_of(path: Path) -> FileKind | None:
    """Return how a file is read, as the end of its name says; None for other files."""
    name = path.name.lower()
    kinds: dict[FileKind, tuple[str, ...]] = {
        "lines": _LINES,
        "json": _WHOLE,
        "parquet": (".parquet",),
        "csv": (".csv",),
        "tsv": (".tsv",),
    }
    return next((kind for kind, ends in kinds.items() if name.endswith(ends)), None)


def _inside(path: str, folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] not in "._")
    except OSError as error:
        raise PotstillError(
            f"the folder {path} cannot be read ({os_reason(error) or 'it does not open'}); "
            "check collect.calls.path"
        ) from None
