"""An exchange: one prompt with one response, and what is known of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from blake3 import blake3

Split = Literal["train", "validation", "held_out"]
Message = dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """One thing the teacher is asked.

    `prompt_id` is the digest of the messages, so that the same prompt has the same id wherever
    it came from. `source` names the origin in words (`starter`, `file:NAME`, `magpie`). `gold` is
    the right answer where it is known, and `slice` the group that its score counts in.
    """

    prompt_id: str
    messages: tuple[Message, ...]
    split: Split
    source: str
    gold: str | None = None
    slice: str | None = None


@dataclass(frozen=True)
class Exchange:
    """One row of the `exchanges` table; stored token ids are the truth.

    `response_token_ids` ends with the end-of-sequence token where `finish_reason` is `stop`.
    `sampling` holds temperature, top_p, top_k, max_tokens and seed. `engine`, `dtype` and
    `device` are stored but are no part of the identity.
    """

    exchange_id: str
    prompt_id: str
    split: Split
    messages: tuple[Message, ...]
    response: str
    prompt_token_ids: tuple[int, ...] | None
    response_token_ids: tuple[int, ...] | None
    tokenizer: str | None
    finish_reason: Literal["stop", "length"]
    teacher: str
    sampling: dict[str, Any]
    sample_index: int
    terms_decision: str
    source: str
    created_at: str
    latency_s: float | None = None
    reasoning: str | None = None
    tool_calls: str | None = None
    watermark_key_id: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    engine: str = "potstill"
    dtype: str = "float32"
    device: str = "cpu"
    returned_model: str | None = None
    system_fingerprint: str | None = None

    @property
    def ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (prompt ids, response ids); empty where the teacher does not give them."""
        return self.prompt_token_ids or (), self.response_token_ids or ()


def canonical_json(value: Any) -> bytes:
    """Return the one spelling of a JSON value: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def prompt_id_of(messages: tuple[Message, ...]) -> str:
    """Return the digest (32 hexadecimal digits) that names a prompt."""
    return blake3(canonical_json(list(messages))).hexdigest(length=16)


def exchange_id_of(
    teacher: str,
    messages: tuple[Message, ...],
    sampling: dict[str, Any],
    sample_index: int,
    *,
    tools: Any = None,
    watermark_key_id: str | None = None,
) -> str:
    """Return the content key of an exchange (64 hexadecimal digits).

    It covers everything that decides the response and nothing else: never an address, a
    batch or the order of rows.
    """
    key = {
        "teacher": teacher,
        "messages": list(messages),
        "tools": tools,
        "sampling": sampling,
        "watermark_key_id": watermark_key_id,
        "sample_index": sample_index,
    }
    return blake3(canonical_json(key)).hexdigest()
