"""A suspect whose weights are at hand: loaded as the plan says, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from potstill.errors import PotstillError
from potstill.models.generate import SLOTS, Completion, Request, completions
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Chooser, Sampling, drawn
from potstill.trace.suspect import WeightsSuspect

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


def loaded_suspect(
    suspect: WeightsSuspect,
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    date: str | None = None,
) -> LoadedModel:
    """Return a suspect's model.

    Raises PotstillError where it cannot be used, and where its weights or its tokenizer are not
    those that the plan fixes.
    """
    model = load(
        suspect.model,
        device=device,
        precision=precision,
        revision=suspect.revision,
        trust_remote_code=suspect.trust_remote_code,
        template_arguments=suspect.template_arguments,
        date=date,
    )
    stated = {"weights": (suspect.identity, model.identity)}
    stated["tokenizer"] = (suspect.tokenizer, model.tokenizer_id)
    for what, (planned, found) in stated.items():
        if planned is not None and planned != found:
            raise PotstillError(
                f"the {what} of the suspect {suspect.name} are not those of the plan (their digest "
                f"is {found}, planned was {planned}); give the ones that were planned, or make "
                "another plan"
            )
    return model


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
