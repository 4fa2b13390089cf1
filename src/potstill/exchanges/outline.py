"""What is known of an exchange beside its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from potstill.exchanges.exchange import Split


@dataclass(frozen=True, slots=True)
class Outline:
    """An exchange without text and ids, for those who count: `prompt` and `response` are lengths
    in the teacher's tokens, None where these are not known.

    The other fields are those of `Exchange`.
    """

    exchange_id: str
    prompt_id: str
    split: Split
    teacher: str
    sampling: dict[str, Any]
    sample_index: int
    finish_reason: Literal["stop", "length"]
    usage: dict[str, int]
    source: str
    created_at: str
    latency_s: float | None
    returned_model: str | None
    system_fingerprint: str | None
    terms_decision: str
    prompt: int | None
    response: int | None
