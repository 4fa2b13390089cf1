"""From messages to prompt ids and from ids to an answer, for a model that is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.models.conversation import Messages, Reply, Tools
from potstill.models.loaded import LoadedModel


def prompt_ids(model: LoadedModel, messages: Messages, tools: Tools | None = None) -> list[int]:
    """Return the ids that precede the response."""
    return list(model.conversation.prompt_ids(messages, tools))


def reply_of(model: LoadedModel, ids: Sequence[int], *, tools: bool = False) -> Reply:
    """Return what a response says: answer, reasoning, calls of tools where some were on offer."""
    return model.conversation.read(ids, tools=tools)


def response_text(model: LoadedModel, ids: Sequence[int]) -> str:
    """Return the answer that a response gives, without reasoning or what ends it."""
    return reply_of(model, ids).text
