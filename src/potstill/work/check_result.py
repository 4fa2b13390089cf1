"""What whoever verifies something is told: of a bundle, a run or a student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at: whether it holds, or why it could not be checked."""

    what: str
    state: Literal["holds", "not checked"]
    detail: str
