"""A model that is a table, as teacher and as reader: cheap enough for thousands of null trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from potstill.trace.marks_in_choices import MarkedText
from potstill.watermark.schemes import GreenList, Gumbel

VOCABULARY = 60
# How far the chances of next tokens are from even; gives about 3 nats a token.
_SPREAD = 1.2
_SALT = "0" * 16


@dataclass(frozen=True)
class Bigram:
    """Next-token chances chance_VV after each token."""

    chance_VV: NDArray[np.float64]

    @staticmethod
    def drawn(seed: int) -> Bigram:
        rng = np.random.default_rng(seed)
        weight = np.exp(_SPREAD * rng.normal(size=(VOCABULARY, VOCABULARY)))
        return Bigram(weight / weight.sum(1, keepdims=True))

    @property
    def entropy(self) -> float:
        """Mean entropy of a row, in nats."""
        return float(-(self.chance_VV * np.log(self.chance_VV)).sum(1).mean())

    def write(
        self,
        scheme: GreenList | Gumbel,
        prompts: list[list[int]],
        length: int,
        rng: np.random.Generator,
    ) -> list[list[int]]:
        """Return marked answers: the first k tokens and repeated windows are drawn unmarked."""
        k = scheme.window
        answers: list[list[int]] = [[] for _ in prompts]
        known: list[set[tuple[int, ...]]] = [set() for _ in prompts]
        for _ in range(length):
            windows = [tuple(ids[len(ids) - k :]) if len(ids) >= k else None for ids in answers]
            last = [(p + a)[-1] for p, a in zip(prompts, answers, strict=True)]
            weight_SV = self.chance_VV[last].copy()
            fresh = [i for i, window in enumerate(windows) if window and window not in known[i]]
            taken = {}
            if fresh:
                mark_FV = numbers_of(scheme, [windows[i] or () for i in fresh])
                if isinstance(scheme, GreenList):
                    weight_SV[fresh] *= np.where(mark_FV > 0, 1.0, np.exp(-scheme.delta))
                else:
                    cost_FV = -np.log(np.maximum(mark_FV, 2.0**-54)) / weight_SV[fresh]
                    taken = dict(zip(fresh, cost_FV.argmin(1).tolist(), strict=True))
            upto_SV = weight_SV.cumsum(1)
            uniform_S = rng.random(len(prompts)) * upto_SV[:, -1]
            for i, (answer, window) in enumerate(zip(answers, windows, strict=True)):
                drawn = int(np.searchsorted(upto_SV[i], uniform_S[i], side="right"))
                answer.append(taken.get(i, min(drawn, VOCABULARY - 1)))
                if window is not None:
                    known[i].add(window)
        return answers

    def choices(self, stream: list[int], at: int) -> int:
        """Return the likeliest token after stream[:at]."""
        return int(self.chance_VV[stream[at - 1]].argmax())


class Copying:
    """Reads along, and goes on as what it has read did: the last token behind the same two.

    It knows no key. Whoever scores it where it has seen how marked text goes on finds the mark in
    what it was shown.
    """

    def __init__(self, otherwise: Bigram) -> None:
        self.otherwise = otherwise
        self.after: dict[tuple[int, ...], int] = {}

    def read(self, stream: list[int], begin: int) -> list[int]:
        """Return its choice before each token from `begin` on, each made before that is read."""
        chosen = []
        for at in range(1, len(stream)):
            two = tuple(stream[max(0, at - 2) : at])
            if at >= begin:
                chosen.append(self.after.get(two, self.otherwise.choices(stream, at)))
            self.after[two] = stream[at]
        return chosen


def numbers_of(scheme: GreenList | Gumbel, windows: list[tuple[int, ...]]) -> NDArray[np.float64]:
    """Return for each window and token of the vocabulary 1 if green, or Gumbel's u."""
    tokens_N = np.tile(np.arange(VOCABULARY), len(windows))
    columns = [np.repeat(column, VOCABULARY) for column in np.array(windows).T]
    inputs = scheme.inputs(columns, tokens_N)
    made = scheme.green(inputs) if isinstance(scheme, GreenList) else scheme.uniforms(inputs)
    return np.asarray(made, dtype=np.float64).reshape(len(windows), VOCABULARY)


def marked_texts(
    teacher: Bigram, scheme: GreenList | Gumbel, texts: int, length: int, rng: np.random.Generator
) -> list[MarkedText]:
    """Return marked answers to prompts that share their beginning.

    Every third prompt quotes the answer two texts before, whole: contexts that depend on the key.
    """
    shared = [1, 2, 3]
    made: list[MarkedText] = []
    for first in range(0, texts, 2):
        prompts = []
        for number in range(first, min(first + 2, texts)):
            quoted = list(made[number - 2].ids) if number % 3 == 2 and number >= 2 else []
            prompts.append([*shared, *quoted, int(rng.integers(VOCABULARY))])
        answers = teacher.write(scheme, prompts, length, rng)
        made += [
            MarkedText(salt=_SALT, prompt_ids=tuple(p), ids=tuple(a))
            for p, a in zip(prompts, answers, strict=True)
        ]
    return made
