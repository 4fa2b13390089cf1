"""A suspect whose weights are at hand, and the waves that it is asked in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from potstill.errors import PotstillError
from potstill.models.generate import SLOTS, Completion, Request, completions
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Chooser, Sampling, drawn

T = TypeVar("T")


@dataclass(frozen=True)
class LocalModel:
    """A model in memory, and the wave plan that it answers by.

    Questions are cut into waves of `slots * wave` in plan order; one of which anything is missing
    is answered again whole, so that what a kill interrupted gets the same logits.
    """

    model: LoadedModel
    slots: int = SLOTS
    wave: int = 1

    @property
    def wave_size(self) -> int:
        """How many questions a wave has."""
        return self.slots * self.wave


def waves(questions: Sequence[T], size: int, done: int) -> Iterator[tuple[Sequence[T], int]]:
    """Yield the waves of which anything is missing, and how many of each are done already.

    The first `done` questions are.
    """
    for start in range(0, len(questions), size):
        wave = questions[start : start + size]
        if start + len(wave) > done:
            yield wave, max(0, done - start)


def answered(
    local: LocalModel, requests: Sequence[Request], sampling: Sampling, choose: Chooser = drawn
) -> list[Completion]:
    """Return the answers of one wave, in the order of its requests."""
    return completions(local.model, requests, sampling, slots=local.slots, choose=choose)


def require_ids(
    model: LoadedModel, digest: str, tokens: Mapping[str, int] | None, *, what: str, test: str
) -> None:
    """Raise PotstillError unless a model reads the ids of the tokenizer with a digest.

    `tokens`, that tokenizer's own ids by token, let a model pass that has the same ones under
    another chat template.
    """
    if model.tokenizer_id == digest:
        return
    if tokens is not None and dict(model.tokenizer.get_vocab()) == dict(tokens):
        return
    raise PotstillError(
        f"the test {test} gives {what} the teacher's own token ids, and {what} has another "
        "tokenizer; take the test out of the plan, and ask it for text instead"
    )
