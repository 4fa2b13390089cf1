"""Steps on answers of the student's own, among steps on stored ones (on-policy distillation).

Agarwal et al. 2024, arXiv 2306.13649 (generalised knowledge distillation): the student writes, the
teacher's whole distribution is learnt at each token that it wrote, and no gradient goes through
the writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from potstill.errors import PotstillError
from potstill.exchanges.targets import TargetValues
from potstill.losses.targets import Targets
from potstill.models.counter import uniforms
from potstill.models.generate import Request
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.recipe import OnPolicyConfig
from potstill.train.examples import TrainingExample
from potstill.train.own_answers import DrawFigures, check_cut, learnt, own_answers
from potstill.train.own_teacher import OwnTeacher
from potstill.train.step_source import AsComputed, Planned
from potstill.work.stage_records import OwnTextLearnt
from potstill.work.step_plan import Order

Prompt = tuple[int, ...]


class _KeptAnswer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    def example(self) -> TrainingExample:
        return TrainingExample(self.key, self.prompt_ids, self.response_ids, own=True)


class _Kept(BaseModel):
    """What a checkpoint keeps: the answers of the last draw, by step, and all draws' figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: int
    steps: tuple[tuple[_KeptAnswer, ...], ...]
    draws: tuple[DrawFigures, ...]


class Rollouts:
    """Steps of both kinds, and the targets of the student's own text.

    The first steps, and later ones evenly among those on own answers, are stored ones as planned.
    `refresh_every` own steps form a group: their answers are written at once, by the student as it
    is before the group's first step. A group is written whole or not at all, and by numbers that
    come of the order, the step and the prompt alone: what is written again after a kill is the
    same.
    """

    waits = True

    def __init__(
        self,
        stored: Planned,
        config: OnPolicyConfig,
        order: Order,
        prompts: Sequence[Prompt],
        teacher: OwnTeacher,
        context: int,
        *,
        steps: int | None = None,
    ) -> None:
        """Take over what is planned, of which the first `steps` steps are taken (None: all)."""
        self._stored, self._config, self._order = stored, config, order
        self._prompts, self._teacher = list(dict.fromkeys(prompts)), teacher
        self._turn = lru_cache(maxsize=2)(self._drawn_turn)
        self._context = context
        self.planned = min(stored.planned, steps or stored.planned)
        self._owns = own_steps(self.planned, config)
        # How many own steps come before each step, and with it.
        self._upto = list(accumulate(self._owns))
        if not any(self._owns):
            raise PotstillError(
                f"none of the {self.planned} steps would learn from the student's own answers; "
                "raise train.on_policy.share, lower stored_first, or plan more steps (epochs, or "
                "a smaller batch_tokens)"
            )
        room = max(map(len, self._prompts)) + config.max_tokens
        self.longest = max(stored.longest, min(context, room))
        self.digest = self._digest()
        self._group: int | None = None
        self._steps: list[tuple[TrainingExample, ...]] = []
        self._values: dict[str, TargetValues] = {}
        self._kept_group = 0
        self.draws: tuple[DrawFigures, ...] = ()

    def follow(self, student: AsComputed, processes: int) -> None:
        """Take over how the student is got at when it has to write."""
        if processes > 1:
            raise PotstillError(
                "train.on_policy trains in one process; start it without torchrun, or take "
                "train.on_policy out"
            )
        self._student = student

    @property
    def config(self) -> OnPolicyConfig:
        """How the student writes."""
        return self._config

    @property
    def teacher(self) -> OwnTeacher:
        """Who tells what to make of the student's own text."""
        return self._teacher

    def student(self) -> LoadedModel:
        """Return the student as training computes it now."""
        return self._student()

    def check(self, student: LoadedModel) -> None:
        """Raise PotstillError where the teacher cannot read what the student will write.

        Looked at is a text as long as any may be: the longest prompt, and as an answer its own
        tokens over and over, with an end.
        """
        prompt = max(self._prompts, key=len)
        count = max(1, min(self._config.max_tokens, self._context - len(prompt)))
        again = (prompt * (count // len(prompt) + 1))[: count - 1]
        self._teacher.check(student, (prompt, (*again, student.eos_ids[0])))

    def step(self, number: int) -> Sequence[TrainingExample]:
        if not self._owns[number]:
            return self._stored.step(number - self._upto[number])
        group, place = self._place(number)
        if self._group != group:
            self._write(group)
        elif not self._values:
            self._read_again(group)
        return self._steps[place]

    def known(self) -> Sequence[TrainingExample]:
        return ()

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return what the teacher makes of own answers of the present group, as it is."""
        return self._teacher.targets([self._values[e.exchange_id] for e in examples])

    def stored_steps(self) -> Iterator[Sequence[TrainingExample]]:
        return self._stored.stored_steps()

    def figures(self, number: int) -> Mapping[str, float]:
        """Return what is logged of a step on own answers; of their draw, at its first step."""
        if not self._owns[number]:
            return {}
        found: dict[str, float] = {"own_answers": len(self.step(number))}
        if self._place(number)[1] == 0:
            draw = self.draws[-1]
            answers = len(draw.lengths)
            found |= {
                "own_cut": draw.cut / answers,
                "own_repeated": draw.repeated / answers,
                "own_overlap": draw.overlap,
                "own_length": sum(response for _, response in draw.lengths) / answers,
                "slots_busy": draw.busy / max(1, draw.offered),
                "writing_s": draw.writing_s,
                "scoring_s": draw.scoring_s,
            }
            told = self._teacher.told
            if told is not None and draw.untold is not None and draw.untold_teacher is not None:
                found |= {
                    "own_buckets": told + 1,
                    "own_untold": draw.untold,
                    "own_untold_teacher": draw.untold_teacher,
                }
        return found

    def kept(self) -> str | None:
        if self._group is None:
            return None
        # The checkpoint before this one stays, and may be what a run goes on from.
        self._teacher.forget_before(self._kept_group)
        self._kept_group = self._group
        steps = tuple(
            tuple(
                _KeptAnswer(key=e.exchange_id, prompt_ids=e.prompt_ids, response_ids=e.response_ids)
                for e in step
            )
            for step in self._steps
        )
        return _Kept(group=self._group, steps=steps, draws=self.draws).model_dump_json()

    def resume(self, kept: str | None) -> None:
        if kept is None:
            return
        found = _Kept.model_validate_json(kept)
        self._group, self.draws = found.group, found.draws
        self._steps = [tuple(answer.example() for answer in step) for step in found.steps]
        self._values = {}
        self._kept_group = found.group

    @property
    def said(self) -> str:
        """What becomes of the steps, in a sentence."""
        first, told = self._owns.index(True), self._teacher.told
        coarse = (
            ""
            if told is None
            else f"; there the divergence is that of {told + 1} buckets, the server's {told} "
            "likeliest tokens and the rest as one, which is no more than the whole one"
        )
        return (
            f"train: {self._upto[-1]} of {self.planned} steps learn from the student's own "
            f"answers, the first of them after {first} steps on stored ones{coarse}"
        )

    def record(self) -> OwnTextLearnt:
        """Return what a finished training records."""
        own = self._upto[-1]
        return learnt(self.draws, own, self.planned - own, self._teacher.record())

    def _place(self, number: int) -> tuple[int, int]:
        """Return the group of a step on own answers, and its place in it."""
        return divmod(self._upto[number] - 1, self._config.refresh_every)

    def _write(self, group: int) -> None:
        """Have the student write all answers of a group, and take them over."""
        numbers = [n for n, own in enumerate(self._owns) if own and self._place(n)[0] == group]
        by_step = [self._requests(number) for number in numbers]
        requests = [request for step in by_step for request in step]
        found = own_answers(
            self._student(), requests, self._teacher, self._config, numbers[0], group=group
        )
        written = iter(found.completions)
        steps = [
            tuple(
                TrainingExample(r.key, r.prompt_ids, next(written).token_ids, own=True)
                for r in step
            )
            for step in by_step
        ]
        draws = (*self.draws, found.figures)
        check_cut(draws, self._config)
        keys = [request.key for request in requests]
        self._group, self._steps, self.draws = group, steps, draws
        self._values = dict(zip(keys, found.values, strict=True))
        # Else the training pass takes as much beside it.
        release_freed()

    def _read_again(self, group: int) -> None:
        """Have the teacher read all answers of the group, in the batches as before."""
        examples = [example for step in self._steps for example in step]
        found = self._teacher.read([(e.prompt_ids, e.response_ids) for e in examples], group)
        self._values = {e.exchange_id: one for e, one in zip(examples, found, strict=True)}

    def _requests(self, number: int) -> list[Request]:
        """Return the prompts of a step, each with a key that is its own."""
        first = (self._upto[number] - 1) * self._config.prompts
        chosen = [self._prompt_at(first + i) for i in range(self._config.prompts)]
        return [
            Request(
                self._order.keyed(f"on-policy/step {number}/prompt {prompt}/sample {sample}"),
                self._prompts[prompt],
            )
            for sample, prompt in _counted(chosen)
        ]

    def _prompt_at(self, place: int) -> int:
        """Return the prompt that stands at a place: each comes once before any comes again."""
        turn, at = divmod(place, len(self._prompts))
        return int(self._turn(turn)[at])

    def _drawn_turn(self, turn: int) -> NDArray[np.int64]:
        drawn = uniforms(self._order.keyed(f"on-policy/prompts {turn}"), len(self._prompts))
        return np.argsort(drawn, kind="stable")

    def _digest(self) -> str:
        hasher = blake3(f"{self._stored.digest} {self.planned}".encode())
        hasher.update(self._config.model_dump_json().encode())
        hasher.update(repr(self._prompts).encode())
        return hasher.hexdigest(length=16)


def own_steps(planned: int, config: OnPolicyConfig) -> list[bool]:
    """Return for each step whether it learns from the student's own answers."""
    first = round(config.stored_first * planned)
    share = config.share
    return [
        n >= first and _whole((n - first + 1) * share) > _whole((n - first) * share)
        for n in range(planned)
    ]


def _whole(value: float) -> int:
    # 0.1 * 30 is a little less than 3.
    return int(value + 1e-9)


def _counted(chosen: Sequence[int]) -> list[tuple[int, int]]:
    """Return (how many of it came before, prompt) of each."""
    return [(chosen[:i].count(prompt), prompt) for i, prompt in enumerate(chosen)]
