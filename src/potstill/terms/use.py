"""What a student is to be and what it is for: a licence may ask either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Intent = Literal["internal", "distribute", "host"]
StudentKind = Literal["classifier", "general"]
SurfaceKind = Literal["weights", "api", "app"]
# A teacher's outputs are learnt from; a base is the weights that a student is made from.
Role = Literal["teacher", "base", "rows"]
INTENTS: tuple[Intent, ...] = ("internal", "distribute", "host")
KINDS: tuple[StudentKind, ...] = ("classifier", "general")
SURFACES: tuple[SurfaceKind, ...] = ("weights", "api", "app")

_FOR = {
    None: "whose use is not stated",
    "internal": "for internal use",
    "distribute": "that is distributed",
    "host": "that is hosted for others",
}


@dataclass(frozen=True)
class Use:
    """What a student is for (`intent`), and whether it is a narrow classifier (`kind`).

    Where no intent is stated, the one that permits least counts.
    """

    intent: Intent | None = None
    kind: StudentKind = "general"

    @property
    def intents(self) -> tuple[Intent, ...]:
        """The intents that it may have."""
        return INTENTS if self.intent is None else (self.intent,)

    def __str__(self) -> str:
        kind = "a narrow classifier" if self.kind == "classifier" else "a general model"
        return f"{kind} {_FOR[self.intent]}"
