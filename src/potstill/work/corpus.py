"""Exchanges in the ids of the model that learns them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Message
from potstill.models.conversation import Conversation, Reply
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.text.reasoning import split_trace
from potstill.text.tool_calls import spelled

# Reasoning that begins with its mark, or whose mark was opened in the prompt and closes a line.
_REASONS = re.compile(
    r"\s*<(think|thinking)>|(?s:(?!.*<(?:think|thinking)>).*?\n</(?:think|thinking)>\s*(?:\n|\Z))"
)
_LEAD = re.compile(r"\A(?:[ \t]*\n){0,2}")


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
    thought, text = _apart(row.response)
    reasoning = "\n".join(part for part in (row.reasoning or "", thought) if part)
    return Reply(text, reasoning or None, row.tool_calls)


def reply_of(message: Message) -> Reply:
    """Return what an assistant's message in a talk says."""
    content = str(message.get("content") or "")
    thought, text = _apart(content)
    calls = message.get("tool_calls")
    reasoning = str(message.get("reasoning_content") or "") or thought
    return Reply(text, reasoning or None, spelled(calls) if calls else None)


def _apart(response: str) -> tuple[str, str]:
    """Return reasoning and answer of a response, the answer's characters as they are.

    Only what stands between the marks of reasoning is laid out anew: an answer in tags of its own,
    or one that speaks of a mark, is all answer.
    """
    trace = split_trace(response)
    if not trace.closed_at or not _REASONS.match(response):
        return "", response
    answer = response[trace.closed_at :]
    return trace.reasoning, _LEAD.sub("", answer, count=1)


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
