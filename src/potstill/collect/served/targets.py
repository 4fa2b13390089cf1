"""A server's log-probabilities as targets, where the teacher's tokenizer is at hand.

Targets are rows of token ids: a token that the server names by its text alone counts only where
exactly one id has that text. An answer of which any token is left in doubt gets no targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from potstill.collect.served.distribution import NoTargets, check_told, likeliest_row
from potstill.endpoint.wire import ChatChoice, ScoredToken
from potstill.exchanges.targets import LikeliestTokens, with_rest
from potstill.models.teacher_tokens import PARTIAL, TeacherTokens

# Servers tell no mass of the rest. Half of fp32's step at logits of 16 to 32 is how far a
# log-probability may be off, and so what the likeliest tokens leave of 1.
_SUM_ERROR = 2.0**-20


def likeliest_tokens(
    choice: ChatChoice, tokens: TeacherTokens, count: int
) -> tuple[tuple[int, ...], LikeliestTokens]:
    """Return the ids of an answer and the `count` likeliest tokens at each of its positions.

    Raises NoTargets where the server gave too little, it is not certain which ids it means, or its
    figures are no distribution's.
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

    Raises NoTargets where the server gave too few, its ids have other texts or none that could be
    compared, or its figures are no distribution's.
    """
    if scores and all(_unprinted(text) for score in scores for _, text, _ in score.top):
        raise NoTargets("token ids alone, without the texts that they are compared by")
    for score in scores:
        _id(score.token_id, score.text, tokens)
    return _likeliest(scores, tokens, count)


def _likeliest(scores: Sequence[ScoredToken], tokens: TeacherTokens, count: int) -> LikeliestTokens:
    """Return them with the rest's mass, which is what they leave of 1, and no less than rounding
    hides of it."""
    id_of = partial(_id, tokens=tokens)
    rows = [likeliest_row(score, id_of, count, tokens.width) for score in scores]
    check_told(rows)
    told_RK = torch.tensor([[logp for _, logp in row] for row in rows], dtype=torch.float64)
    error_R = torch.full((len(rows),), _SUM_ERROR)
    logp_RK, rest_R = with_rest(told_RK, error_R, tokens.width)
    ids_RK = torch.tensor([[i for i, _ in row] for row in rows])
    return LikeliestTokens(ids_RK, logp_RK, rest_R, tokens.width)


def _id(token_id: int, text: str, tokens: TeacherTokens) -> int:
    if token_id < 0:
        found = tokens.id_of_text.get(text)
        if found is None:
            raise NoTargets("a token's text that has no id, or several")
        return found
    # Servers print special tokens as nothing and parts of characters each in its own way, up to the
    # whole character at the token that ends it: that the parts are there, the spelling tells.
    known = tokens.texts[token_id] if token_id < tokens.width else ""
    alike = _unprinted(text) or PARTIAL in text or PARTIAL in known or known == text
    if token_id >= tokens.width or not alike:
        raise NoTargets("a token's id that has another text: another tokenizer, perhaps")
    return token_id


def _unprinted(text: str) -> bool:
    return not text or text.startswith("token_id:")
