"""A server's log-probabilities as targets, where the teacher's tokenizer is at hand.

Targets are rows of token ids: a token that the server names by its text alone counts only where
exactly one id has that text. An answer of which any token is left in doubt gets no targets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from potstill.exchanges.exchange import Message
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.endpoint.wire import Choice, ScoredToken
from potstill.models.identity import tokenizer_id_of
from potstill.models.load import load_tokenizer
from potstill.text.tool_calls import Tool

_PARTIAL = "\ufffd"  # what stands for a part of a character


class NoTargets(ValueError):
    """Why an answer has no targets, in fixed words."""


@dataclass(frozen=True)
class TeacherTokens:
    """The teacher's tokenizer, read without weights. `eos_ids` end a response."""

    tokenizer: Any
    tokenizer_id: str
    eos_ids: tuple[int, ...]

    @classmethod
    def of(cls, directory: Path) -> TeacherTokens:
        """Return the tokens of a model directory."""
        tokenizer = load_tokenizer(directory)
        file = directory / "generation_config.json"
        stated = json.loads(file.read_text()).get("eos_token_id") if file.is_file() else None
        ids = [tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])]
        eos_ids = tuple(dict.fromkeys(i for i in ids if i is not None))
        return cls(tokenizer, tokenizer_id_of(directory), eos_ids)

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
        return {text: i for text, i in found.items() if i is not None and _PARTIAL not in text}

    def prompt_ids(
        self, messages: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> tuple[int, ...] | None:
        """Return a prompt's ids by the chat template, None where there is no template."""
        if not self.tokenizer.chat_template:
            return None
        text = self.tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=True
        )
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def likeliest_tokens(
    choice: Choice, tokens: TeacherTokens, count: int
) -> tuple[tuple[int, ...], LikeliestTokens]:
    """Return the ids of an answer and the `count` likeliest tokens at each of its positions.

    Raises NoTargets where the server gave too little, or it is not certain which ids it means.
    """
    if choice.scores is None:
        raise NoTargets("the server gave no log-probabilities")
    if choice.reasoning or choice.tool_calls:
        raise NoTargets("the response is more than its text")
    ids = tuple(_id(score.token_id, score.text, tokens) for score in choice.scores)
    whole = choice.finish == "stop"
    if whole and ids[-1] not in tokens.eos_ids:
        raise NoTargets("no log-probabilities of the end of the response")
    text = tokens.tokenizer.decode(ids[:-1] if whole else ids, skip_special_tokens=True)
    if text.strip() != choice.text.strip():
        raise NoTargets(
            "the tokens do not spell the response: some are missing, or another tokenizer's"
        )
    return ids, _likeliest(choice.scores, tokens, count)


def given_tokens(
    scores: Sequence[ScoredToken], tokens: TeacherTokens, count: int
) -> LikeliestTokens:
    """Return the `count` likeliest tokens at each position of text that a server was given by ids.

    Raises NoTargets where the server gave too few, or its ids have other texts.
    """
    for score in scores:
        _id(score.token_id, score.text, tokens)
    return _likeliest(scores, tokens, count)


def _likeliest(scores: Sequence[ScoredToken], tokens: TeacherTokens, count: int) -> LikeliestTokens:
    rows = [_row(score, tokens, count) for score in scores]
    return LikeliestTokens(
        torch.tensor([[i for i, _ in row] for row in rows]),
        torch.tensor([[logp for _, logp in row] for row in rows], dtype=torch.float32),
        tokens.width,
    )


def _row(score: ScoredToken, tokens: TeacherTokens, count: int) -> list[tuple[int, float]]:
    """Return the likeliest `count` as (id, log-probability), ids ascending."""
    best = sorted(score.top, key=lambda entry: -entry[2])[:count]
    row = sorted((_id(token_id, text, tokens), logp) for token_id, text, logp in best)
    if len({i for i, _ in row}) < count:
        raise NoTargets("the server gave fewer likeliest tokens than were asked for")
    if not all(-6e4 < logp <= 1e-3 for _, logp in row):
        raise NoTargets("a log-probability that is none")
    return row


def _id(token_id: int, text: str, tokens: TeacherTokens) -> int:
    if token_id < 0:
        found = tokens.id_of_text.get(text)
        if found is None:
            raise NoTargets("a token's text that has no id, or several")
        return found
    # Servers print special tokens as nothing and parts of characters each in its own way, up to the
    # whole character at the token that ends it: that the parts are there, the spelling tells.
    known = tokens.texts[token_id] if token_id < tokens.width else ""
    unprinted = not text or text.startswith("token_id:")
    alike = unprinted or _PARTIAL in text or _PARTIAL in known or known == text
    if token_id >= tokens.width or not alike:
        raise NoTargets("a token's id that has another text: another tokenizer, perhaps")
    return token_id
