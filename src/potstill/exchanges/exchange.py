"""An exchange: one prompt with one response, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from potstill.canonical import digest_of
from potstill.text.tool_calls import Call, Flaw, Tool, calls_in, with_calls
from potstill.text.turns import Message, Turns, tool_list

Split = Literal["train", "validation", "held_out"]


@dataclass(frozen=True)
class Prompt:
    """One thing the teacher is asked.

    `prompt_id` is the digest of the messages and tools, so that the same prompt has the same id
    wherever it came from. `source` names the origin in words (`starter`, `file:NAME`, `magpie`).
    `gold` is the right answer where it is known, and `slice` the group that its score counts in.
    `tools` is JSON text.
    """

    prompt_id: str
    messages: tuple[Message, ...]
    split: Split
    source: str
    gold: str | None = None
    slice: str | None = None
    tools: str | None = None

    @property
    def turns(self) -> Turns:
        """What a model is shown."""
        return Turns(self.messages, self.tools)

    @property
    def tool_list(self) -> list[Tool] | None:
        """The tools on offer, None where there are none."""
        return tool_list(self.tools)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One row of the `exchanges` table; stored token ids are the truth.

    `response_token_ids` ends with the end-of-sequence token where `finish_reason` is `stop`.
    `sampling` holds temperature, top_p, top_k, max_tokens and seed. `engine`, `dtype` and
    `device` are stored but are no part of the identity. `tools` (what was on offer) and
    `tool_calls` (what was called) are JSON text with keys as they were written, arguments as
    objects; arguments that are none stand as the text that they were, which curation drops.
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
    tools: str | None = None

    @property
    def tool_list(self) -> list[Tool] | None:
        """The tools that were on offer, None where there were none."""
        return tool_list(self.tools)

    @property
    def calls(self) -> list[Call]:
        """The calls of tools that the response holds, ids included; empty where there are none.

        What is stored and cannot be read as calls (by older versions) counts as none here, and
        curation drops its row.
        """
        found = calls_in(self.tool_calls, keep_text=True)
        return [] if isinstance(found, Flaw) else found

    @property
    def answer(self) -> str:
        """The response and its calls as text to read and to count, never to train on."""
        return with_calls(self.response, self.calls)

    @property
    def ids(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (prompt ids, response ids); empty where the teacher does not give them."""
        return self.prompt_token_ids or (), self.response_token_ids or ()


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
    return digest_of(key, 32)
