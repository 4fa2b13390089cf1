"""In which form targets are kept: the name that stands in the store beside each row of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TargetKind = Literal["hidden-fp16", "hidden-int8", "sampled", "top-k"]
_NAME = re.compile(r"(hidden-fp16|hidden-int8|sampled|top-k)(?:-(\d+))?(?:@([0-9.e+-]+))?")


@dataclass(frozen=True)
class TargetSpec:
    """One form of targets.

    `count` is the number of draws of `sampled` and of tokens of `top-k`, at each position; hidden
    targets have none. `temperature` is that of the distribution that `sampled` draws from.
    """

    kind: TargetKind
    count: int | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if (self.count is None) != self.is_hidden:
            raise ValueError(f"{self.kind} targets with count {self.count}")
        if self.temperature != 1.0 and self.kind != "sampled":
            raise ValueError(f"{self.kind} targets have no temperature")

    @property
    def is_hidden(self) -> bool:
        """Tell whether these are hidden states, which stand for the whole distribution."""
        return self.kind in ("hidden-fp16", "hidden-int8")

    @property
    def name(self) -> str:
        """What the store calls it, for example `hidden-int8`, `sampled-64` or `sampled-64@2`."""
        count = "" if self.count is None else f"-{self.count}"
        return f"{self.kind}{count}" + ("" if self.temperature == 1.0 else f"@{self.temperature!r}")

    @classmethod
    def parse(cls, name: str) -> TargetSpec:
        """Return the spec of a name; raises ValueError where it is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name} names no form of targets")
        kind, count, temperature = match.groups()
        return cls(kind, int(count) if count else None, float(temperature or 1.0))  # type: ignore[arg-type]


HIDDEN_FP16 = TargetSpec("hidden-fp16")
HIDDEN_INT8 = TargetSpec("hidden-int8")
