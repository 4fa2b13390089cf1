"""A teacher's tokenizer, read without its weights: a server names tokens by ids or by texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from potstill.models.conversation import Conversation
from potstill.models.conversation.templates import Messages
from potstill.models.identity import tokenizer_id_of
from potstill.models.load import load_conversation
from potstill.text.tool_calls import Tool

PARTIAL = "\ufffd"  # what stands for a part of a character


@dataclass(frozen=True)
class TeacherTokens:
    """The teacher's tokenizer, read without weights. `eos_ids` end a response.

    `conversation` is None where there is no chat template: then it is not known what was asked.
    """

    tokenizer: Any
    tokenizer_id: str
    eos_ids: tuple[int, ...]
    conversation: Conversation | None = None

    @classmethod
    def of(cls, directory: Path) -> TeacherTokens:
        """Return the tokens of a model directory."""
        spoken = load_conversation(str(directory))
        whole = spoken if spoken.template is not None else None
        return cls(spoken.tokenizer, tokenizer_id_of(directory), spoken.stop_ids, whole)

    @property
    def width(self) -> int:
        """How many tokens there are."""
        return len(self.tokenizer)

    @cached_property
    def texts(self) -> list[str]:
        """The text of every token."""
        return list(self.tokenizer.batch_decode([[i] for i in range(self.width)]))

    @cached_property
    def id_of_text(self) -> dict[str, int]:
        """The id of every text that only one token has."""
        found: dict[str, int | None] = {}
        for token_id, text in enumerate(self.texts):
            found[text] = None if text in found else token_id
        return {text: i for text, i in found.items() if i is not None and PARTIAL not in text}

    def prompt_ids(
        self, messages: Messages, tools: Sequence[Tool] | None = None
    ) -> tuple[int, ...] | None:
        """Return a prompt's ids by the chat template, None where there is no template."""
        return None if self.conversation is None else self.conversation.prompt_ids(messages, tools)
