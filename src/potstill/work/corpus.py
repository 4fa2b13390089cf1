"""Exchanges in the ids of the model that learns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Message
from potstill.models.conversation import Conversation, Reply
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.text.reasoning import reasoning_of, split_trace
from potstill.text.tool_calls import spelled


@dataclass(frozen=True)
class Text:
    """One exchange in the student's ids; `unchanged` where these are the teacher's, one to one."""

    exchange: Exchange
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    unchanged: bool


def tokenised(row: Exchange, spoken: Conversation, reasoning: Literal["keep", "leave_out"]) -> Text:
    """Return an exchange in the ids of who learns it, ended where the teacher ended.

    Raises PotstillError where the chat template cannot lay it out.
    """
    reply = reply_in(row)
    tools = row.tool_list
    response = spoken.reply_ids(
        row.messages, reply, tools, reasoning=reasoning, whole=row.finish_reason == "stop"
    )
    return Text(row, spoken.prompt_ids(row.messages, tools), response, unchanged=False)


def reply_in(row: Exchange) -> Reply:
    """Return what an exchange says, its reasoning apart wherever it stands."""
    trace = split_trace(row.response)
    text = trace.answer if trace.closed_at else row.response
    return Reply(text, reasoning_of(row) or None, row.tool_calls)


def reply_of(message: Message) -> Reply:
    """Return what an assistant's message in a talk says."""
    content = str(message.get("content") or "")
    trace = split_trace(content)
    calls = message.get("tool_calls")
    text = trace.answer if trace.closed_at else content
    return Reply(text, trace.reasoning or None, spelled(calls) if calls else None)


def fitting(texts: Sequence[Text], student: LoadedModel) -> tuple[list[Text], int]:
    """Return the texts that a student can read at once, and how many others there are.

    Raises PotstillError where there are only others.
    """
    room = context_length(student)
    kept = [t for t in texts if len(t.prompt_ids) + len(t.response_ids) <= room]
    if texts and not kept:
        raise PotstillError(
            f"all {len(texts)} answers are longer than the {room:,} tokens that the student reads "
            "at once; shorten prompts and answers, or take a student with a longer context"
        )
    return kept, len(texts) - len(kept)
