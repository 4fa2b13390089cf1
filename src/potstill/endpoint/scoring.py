"""Given text, read by a server: `prompt_logprobs` of vLLM's completions. Pure functions.

The field is vLLM's own; it is asked for ids, so that nobody's template or tokenizer comes between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.endpoint.labels import shown_label
from potstill.endpoint.wire import (
    ScoredToken,
    UnreadableAnswer,
    as_float,
    is_id,
    is_number,
    json_object,
    usage_of,
)
from potstill.recipe.drawing import OF_ANSWERS


@dataclass(frozen=True)
class ScoredText:
    """What a server tells of given ids: `scores` has an entry for each id but the first.

    `scores` is None where the server tells nothing of given text, and where what it tells is not
    of that many ids. `model` and `fingerprint` are what the server says of itself.
    """

    scores: tuple[ScoredToken, ...] | None
    usage: dict[str, int]
    model: str | None
    fingerprint: str | None

    def says(self, word: str) -> bool:
        """Tell whether a word stands in what it says of itself."""
        return any(word in text for text in (self.model, self.fingerprint) if text)


def scoring_body(
    ids: Sequence[int],
    model: str,
    count: int,
    *,
    spell_out: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON body that asks for the `count` likeliest tokens at each of `ids`.

    One token has to be generated, which is thrown away. `spell_out` also states what truncates
    nothing, as for an answer: a server that tells its distribution after truncation tells it
    whole. `extra` is merged in but for what asks a chat for something.
    """
    body: dict[str, Any] = {"model": model, "temperature": 1.0, "top_p": 1.0}
    if spell_out:
        body |= {"top_k": -1, "min_p": 0.0}
    body |= {name: value for name, value in (extra or {}).items() if name not in OF_ANSWERS}
    body |= {"prompt": list(ids), "max_tokens": 1, "prompt_logprobs": count}
    return {name: value for name, value in body.items() if value is not None}


def parse_scores(content: bytes, ids: Sequence[int]) -> ScoredText:
    """Return what a response with status 200 tells of `ids`.

    Raises UnreadableAnswer where it is no answer at all: no JSON, an error, a page.
    """
    found = json_object(content)
    if found.get("error"):
        raise UnreadableAnswer("an error with status 200")
    choices = found.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise UnreadableAnswer("no choices in the response")
    return ScoredText(
        scores=_scores(first.get("prompt_logprobs"), ids),
        usage=usage_of(found.get("usage")),
        model=shown_label(found.get("model")),
        fingerprint=shown_label(found.get("system_fingerprint")),
    )


def _scores(raw: Any, ids: Sequence[int]) -> tuple[ScoredToken, ...] | None:
    """Return the entries of all ids but the first, which nothing precedes."""
    if not isinstance(raw, list) or len(raw) != len(ids):
        return None
    scored = [_score(entry, token_id) for entry, token_id in zip(raw[1:], ids[1:], strict=True)]
    whole = tuple(score for score in scored if score is not None)
    return whole if len(whole) == len(scored) else None


def _score(raw: Any, token_id: int) -> ScoredToken | None:
    """Return one position: the given token is always among those told, however unlikely it is."""
    if not isinstance(raw, Mapping):
        return None
    told: dict[int, tuple[str, float]] = {}
    for key, value in raw.items():
        if not is_id(str(key)) or int(key) in told or not isinstance(value, Mapping):
            return None
        text, logp = value.get("decoded_token"), value.get("logprob")
        if not is_number(logp):
            return None
        told[int(key)] = (text if isinstance(text, str) else "", as_float(logp))
    if token_id not in told:
        return None
    top = tuple((i, text, logp) for i, (text, logp) in told.items())
    return ScoredToken(token_id, told[token_id][0], top, told[token_id][1])
