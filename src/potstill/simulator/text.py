"""Rows as text: prompts, messages, answers, put together from phrases by Arrow, without a loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.simulator.hashing import Keys, digit, uniform
from potstill.simulator.phrases import EARLIER, TEMPLATE, Book, book

Ints = NDArray[np.int64]
# Places of the streams of numbers that are drawn from a request's key; prompts use 0 to 31.
_ANSWER, _EARLIER, _REWORD, _TURN = 40, 60, 80, 120


@dataclass(frozen=True)
class Wording:
    """What decides the words of requests, one row each."""

    grammar: NDArray[np.int8]
    language: NDArray[np.int8]
    intent: NDArray[np.int8]
    wording: Keys
    system: Keys
    loose: NDArray[np.float32]
    item: Keys
    sweep: NDArray[np.int32]
    """Place in a list that is worked off in order of its nouns; -1 where there is no order."""
    request: Keys
    turns: NDArray[np.float32]
    answered: NDArray[np.bool_]


def texts(rows: Wording) -> dict[str, pa.Array]:
    """Return the columns system, prompt, messages and response."""
    words = book()
    prompt_NK = _prompts(words, rows)
    system_NK = _systems(words, rows)
    has_system = rows.system > 0
    earlier = uniform(rows.request, _TURN) < rows.turns
    messages = _messages(words, rows, system_NK, prompt_NK, earlier)
    answer_NK = _fixed(words.answer_LK, rows, _ANSWER)
    return {
        "system": _where(has_system, _joined(words.plain, system_NK)),
        "prompt": _joined(words.plain, prompt_NK),
        "messages": messages,
        "response": _where(rows.answered, pc.utf8_rtrim(_joined(words.plain, answer_NK), " ")),
    }


def _prompts(words: Book, rows: Wording) -> Ints:
    places = words.mode_GK.shape[1]
    numbers = np.zeros((places, len(rows.item)), dtype=np.int64)
    first = words.first_GLIK[rows.grammar, rows.language, rows.intent]
    width = words.width_GLIK[rows.grammar, rows.language, rows.intent]
    for k in range(places):
        by_template = words.mode_GK[rows.grammar, k] == TEMPLATE
        reworded = uniform(rows.request, _REWORD + k) < rows.loose
        key = np.where(by_template, np.where(reworded, rows.request, rows.wording), rows.item)
        numbers[k] = first[:, k] + digit(key, k, width[:, k])
    swept = np.flatnonzero(rows.sweep >= 0)
    noun = words.noun_L[rows.language[swept]]
    numbers[noun, swept] = first[swept, noun] + rows.sweep[swept] % width[swept, noun]
    return numbers


def _systems(words: Book, rows: Wording) -> Ints:
    """Return role and tag of the system prompt; both empty where there is none."""
    first, width = (part[rows.grammar] for part in words.system_G)
    role = first + digit(rows.system, 0, width)
    tag = words.tag[0] + digit(rows.system, 1, words.tag[1])
    return np.where(rows.system > 0, np.stack([role, tag]), 0)


def _fixed(pattern_LK: tuple[Ints, Ints], rows: Wording, stream: int) -> Ints:
    first, width = (part[rows.language] for part in pattern_LK)
    return np.stack(
        [first[:, k] + digit(rows.request, stream + k, width[:, k]) for k in range(first.shape[1])]
    )


def _joined(phrases: pa.Array, numbers_KN: Ints) -> pa.Array:
    parts = [phrases.take(pa.array(row)) for row in numbers_KN]
    return pc.binary_join_element_wise(*parts, "")


def _where(flags: NDArray[np.bool_], column: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(flags), column, pa.scalar(None, column.type))


def _chosen(flags: NDArray[np.bool_], text: str) -> pa.Array:
    """Return the text where a flag is set, nothing elsewhere."""
    return pa.array(["", text]).take(pa.array(flags.astype(np.int8)))


def _messages(
    words: Book, rows: Wording, system_NK: Ints, prompt_NK: Ints, earlier: NDArray[np.bool_]
) -> pa.Array:
    """Return the whole chat as JSON, the text of which is that of the other columns."""
    before_NK = np.where(earlier, _fixed(words.earlier_LK, rows, _EARLIER), 0)
    has_system = rows.system > 0
    escaped, asked = words.escaped, EARLIER.index("C")
    parts = [
        _chosen(has_system, '{"role":"system","content":"'),
        *(escaped.take(pa.array(row)) for row in system_NK),
        _chosen(has_system, '"},'),
        _chosen(earlier, '{"role":"user","content":"'),
        *(escaped.take(pa.array(row)) for row in before_NK[:asked]),
        _chosen(earlier, '"},{"role":"assistant","content":"'),
        *(escaped.take(pa.array(row)) for row in before_NK[asked:]),
        _chosen(earlier, '"},'),
        _chosen(np.ones(len(earlier), dtype=np.bool_), '{"role":"user","content":"'),
        *(escaped.take(pa.array(row)) for row in prompt_NK),
    ]
    inner = pc.binary_join_element_wise(*parts, "")
    return pc.binary_join_element_wise("[", inner, '"}]', "")
