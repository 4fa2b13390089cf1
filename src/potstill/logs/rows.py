"""One record of a file, and the place that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SourceRow:
    """One record of a source; `place` says where it is, for example `prompts.jsonl, line 3`.

    `structs`: the columns are typed, so that keys which a record lacks may be null.
    """

    values: dict[str, Any]
    place: str
    structs: bool = False
