"""From messages to prompt ids, the same way in every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.models.loaded import LoadedModel
from potstill.text.tool_calls import message_text

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


def prompt_ids(model: LoadedModel, messages: Messages, tools: Tools | None = None) -> list[int]:
    """Return the ids that precede the response: by chat template, or as plain text."""
    tokenizer = model.tokenizer
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    text = "\n".join(map(message_text, messages)) + "\n"
    return list(tokenizer(text)["input_ids"])


def response_text(model: LoadedModel, ids: Sequence[int]) -> str:
    """Return the text of a response, without the token that ends it."""
    kept = [i for i in ids if i not in model.eos_ids]
    return str(model.tokenizer.decode(kept, skip_special_tokens=True))
