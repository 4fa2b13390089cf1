"""What this machine takes for one of each: small trials of the very code that the stages run.

Each takes a second or a few. Nothing that they compute is kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch

from potstill.durable import temporary_folder
from potstill.evaluate.speed import PREFILL_TOKENS, measure_speed
from potstill.evaluate.text import HeldOut, measure_text
from potstill.losses.targets import DenseTargets, Targets
from potstill.losses.teacher import TeacherHead
from potstill.models.alignment import Alignment
from potstill.models.generate import SLOTS, Completion, Request, completions
from potstill.models.load import context_length, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import OnPolicyConfig, ShrinkConfig, TrainConfig
from potstill.runs.minutes.predict import Rates
from potstill.shrink.cut import Cut
from potstill.shrink.shrink import healed
from potstill.shrink.vocabulary import merges_of, removal_cost
from potstill.train.examples import TrainingExample
from potstill.train.hidden_matching import matching_of
from potstill.train.loop import train
from potstill.train.teacher_blocks import TeacherBlocks
from potstill.work.step_plan import PublicOrder

Clock = Callable[[], float]
Ids = Sequence[int]
Pairs = Sequence[tuple[tuple[int, ...], tuple[int, ...]]]

# Answers that are written at once, and tokens of each: the first of them tell how many end early.
_WRITTEN_ROWS, _WRITTEN_TOKENS = 64, 8
_READ_ROWS = 7
_HEALED_TOKENS = (256, 1024)
_WEIGHED_POSITIONS = 128
# Tokens of a tried step: a larger one takes as long a token.
_STEP_TOKENS = 1024
_STEPS = 3
_SPEED_TOKENS = 4


@dataclass(frozen=True)
class ProbedStudent:
    """A student cut somewhere, as large as the run's will be, with what it was cut from.

    `seconds` are those that cutting took.
    """

    parent: LoadedModel
    student: LoadedModel
    vocabulary: VocabularyMap | None
    cut: Cut
    seconds: float


def seconds_of(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return how long something takes."""
    start = clock()
    work()
    return clock() - start


def pairs_of(prompts: Sequence[Ids], length: int, tokens: int) -> Pairs:
    """Return prompts with answers of so many tokens; what these say does not matter for speed."""
    answer = tuple((11 + 29 * i) % tokens for i in range(max(1, length)))
    return [(tuple(prompt), answer) for prompt in prompts]


def writing(
    teacher: LoadedModel, prompts: Sequence[Ids], sampling: Sampling, slots: int
) -> tuple[float, float, float]:
    """Return the seconds of an answer before its first token, those of each token that the teacher
    writes, and how often an answer ends at a token.

    As many are written at once as there are slots. Two lengths tell the two apart.
    """
    rows = list(prompts)[: min(_WRITTEN_ROWS, slots)]
    requests = [Request(f"probe {i}", tuple(ids)) for i, ids in enumerate(rows)]

    def written(count: int, tokens: int) -> tuple[float, list[Completion]]:
        few = replace(sampling, max_tokens=min(tokens, sampling.max_tokens))
        start = time.perf_counter()
        found = completions(teacher, requests[:count], few, slots=count, keep_hidden=True)
        return time.perf_counter() - start, found

    # Memory and threads that a first use makes are made here.
    written(min(2, len(rows)), 2)
    short, few = written(len(rows), 2)
    long, many = written(len(rows), _WRITTEN_TOKENS)
    tokens = sum(len(one.token_ids) for one in many)
    more = max(1, tokens - sum(len(one.token_ids) for one in few))
    token = max(long - short, 0.1 * long) / more
    before = max(0.0, long - tokens * token) / len(rows)
    return before, token, sum(one.finish_reason == "stop" for one in many) / max(1, tokens)


def expected_length(ends: float, most: int) -> float:
    """Return the mean length of answers of at most `most` tokens whose first tokens end so often.

    It lies between that of answers which are as likely to end later on, and the longest: longer
    answers are less likely to end. The middle is taken.
    """
    alike = float(most) if ends <= 0 else (1 - (1 - ends) ** most) / ends
    return (alike + most) / 2


def reading(model: LoadedModel, pairs: Pairs) -> float:
    """Return the seconds a token that a model reads."""
    few = pairs[:_READ_ROWS]
    response_hidden(model, few[:1])
    seconds = seconds_of(lambda: response_hidden(model, few))
    return seconds / sum(len(p) + len(r) for p, r in few)


def comparing(tried: ProbedStudent, pairs: Pairs) -> tuple[float, float]:
    """Return the seconds that a token of held-out text takes: for each student, and beside that.

    The teacher's states are stored, as those of text that a trimmed vocabulary leaves as it is.
    """
    align = Alignment.of(tried.parent.tokenizer, tried.student.tokenizer, tried.vocabulary)
    width = head_of(tried.parent).weight_VD.shape[1]
    rows = [
        HeldOut(
            prompt_id=str(i),
            messages=(),
            prompt_ids=prompt,
            response_ids=response,
            response="x",
            teacher_prompt_ids=tuple(align.to_teacher(prompt)),
            teacher_response_ids=tuple(align.to_teacher(response)),
            teacher_hidden_RD=torch.zeros(len(response), width, dtype=torch.float16),
        )
        for i, (prompt, response) in enumerate(_fitting(pairs[:_READ_ROWS], tried.student))
    ]
    tokens = sum(len(row.prompt_ids) + len(row.response_ids) for row in rows)
    student = _as_computed(tried.student)

    def read(names: str) -> float:
        students = dict.fromkeys(names, student)
        return seconds_of(
            lambda: measure_text(
                tried.parent, students, rows, tried.vocabulary, progress=Silent(), name="probe"
            )
        )

    # Memory and threads that a first use makes are made here.
    response_hidden(student, [(rows[0].prompt_ids, rows[0].response_ids)])
    one, three = read("a"), read("abc")
    each = max((three - one) / 2, 0.1 * one) / tokens
    return each, max(0.0, one / tokens - each)


def own_writing(
    tried: ProbedStudent, prompts: Sequence[Ids], config: OnPolicyConfig
) -> tuple[float, float]:
    """Return the seconds of an answer that the student writes while it is trained before its first
    token, and those of each token."""
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens
    )
    at_once = min(SLOTS, config.prompts * config.refresh_every)
    rows = [_within(prompts[i % len(prompts)], tried.student) for i in range(at_once)]
    before, token, _ = writing(_as_computed(tried.student), rows, sampling, at_once)
    return before, token


def _as_computed(student: LoadedModel) -> LoadedModel:
    """Return a student as evaluation and training read it: in the dtype that it computes in."""
    network = copy.deepcopy(student.network).to(student.compute_dtype)
    return replace(student, network=network)


def healing(tried: ProbedStudent, pairs: Pairs, config: ShrinkConfig) -> tuple[float, float]:
    """Return the seconds of a repair that no text makes longer, and those of a token.

    Heals the tried student.
    """
    if config.heal == "none" or replace(tried.cut, kept_tokens=None) == Cut():
        return 0.0, 0.0
    found = []
    for tokens in _HEALED_TOKENS:
        rows = _rows(pairs, tokens)
        heal = partial(healed, tried.parent, tried.student, tried.cut, rows, config, Silent())
        found.append((sum(map(len, rows)), seconds_of(heal)))
    (few, short), (many, long) = found
    token = max(long - short, 0.05 * long) / max(1, many - few)
    return max(0.0, short - few * token), token


def weighing(parent: LoadedModel) -> tuple[float, float]:
    """Return the seconds of weighing tokens that no text makes longer, and those of a position."""
    head, start = head_of(parent), time.perf_counter()
    width = head.weight_VD.shape[0]
    first_V = merges_of(parent.tokenizer).first_parts(width)
    fixed = time.perf_counter() - start
    hidden_ND = torch.zeros(64, head.weight_VD.shape[1], dtype=parent.compute_dtype)
    hidden_ND = hidden_ND.to(parent.device)

    def weigh() -> None:
        for _ in range(_WEIGHED_POSITIONS // 64):
            removal_cost(head.logits(hidden_ND).softmax(-1), first_V)

    return fixed, seconds_of(weigh) / _WEIGHED_POSITIONS


class _NoDistribution:
    """Targets of the right shapes, without a distribution worth learning."""

    def __init__(self, head: TeacherHead, width: int) -> None:
        self._head, self._width = head, width

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return what the loss takes."""
        rows = sum(len(e.response_ids) for e in examples)
        return DenseTargets(torch.ones(rows, self._width, dtype=torch.float16), self._head)


def learning(tried: ProbedStudent, pairs: Pairs, config: TrainConfig) -> float:
    """Return the seconds of a training token. Trains the tried student for a few steps."""
    student = tried.student
    tokens = min(config.batch_tokens, _STEP_TOKENS)
    few: list[TrainingExample] = []
    while sum(e.length for e in few) < (_STEPS + 0.5) * tokens:
        prompt, response = pairs[len(few) % len(pairs)]
        few.append(
            TrainingExample(
                f"probe {len(few)}", _within(prompt, student), _within(response, student)
            )
        )
    targets = matching = None
    if config.cross_entropy < 1:
        head = head_of(tried.parent)
        width = head.weight_VD.shape[1]
        arranged = TeacherHead.of(head, tried.vocabulary, dtype=student.compute_dtype)
        targets = _NoDistribution(arranged, width)
        reader = TeacherBlocks(tried.parent, tried.vocabulary)
        matching = matching_of(student, config, width, tried.cut.blocks or None, reader)
    speeds: list[float] = []

    def log(entry: dict[str, Any]) -> None:
        speeds.append(entry["tokens_per_s"])

    changed = {
        "batch_tokens": tokens,
        "epochs": 1.0,
        "steps": _STEPS,
        "checkpoint_every": _STEPS + 1,
        "compile": "never",
        # So that no weight goes where no gradient leads.
        "learning_rate": 1e-12,
    }
    with temporary_folder() as folder:
        train(
            student,
            few,
            config=config.model_copy(update=changed),
            seed=0,
            order=PublicOrder(0),
            targets=targets,
            checkpoints=folder,
            validate=None,
            log=log,
            progress=Silent(),
            matching=matching,
        )
    return 1 / median(speeds[1:])


def speaking(tried: ProbedStudent, teacher: LoadedModel | None) -> tuple[float, float]:
    """Return the seconds of a round of reading, and of a token of writing, all models together."""
    models = {"student": tried.student} | ({} if teacher is None else {"teacher": teacher})
    found = measure_speed(models, decode_tokens=_SPEED_TOKENS, repeats=1)
    read = min(PREFILL_TOKENS, context_length(tried.student) // 2)
    return (
        sum(read / one.prefill_tok_s for one in found.values()),
        sum(1 / one.decode_tok_s for one in found.values()),
    )


def local_rates(
    tried: ProbedStudent,
    teacher: LoadedModel | None,
    pairs: Pairs,
    shrink: ShrinkConfig,
    how: TrainConfig,
) -> Rates:
    """Return what everything but asking takes; the tried student is of no use afterwards."""
    read = reading(tried.parent, pairs)
    if teacher is not None:
        each, beside = comparing(tried, pairs)
    else:
        each, beside = reading(tried.student, _fitting(pairs, tried.student)), 0.0
    weigh, position = (0.0, 0.0) if tried.vocabulary is None else weighing(tried.parent)
    round_seconds, token_seconds = speaking(tried, teacher)
    fixed, token = healing(tried, pairs, shrink)
    return Rates(
        teacher_token=read,
        student_token=each,
        text_token=beside,
        cut=tried.seconds,
        weigh=weigh,
        weigh_position=position,
        heal=fixed,
        heal_token=token,
        step_token=learning(tried, pairs, how),
        speed_round=round_seconds,
        speed_token=token_seconds,
    )


def _fitting(pairs: Pairs, model: LoadedModel) -> Pairs:
    return [(_within(prompt, model), _within(response, model)) for prompt, response in pairs]


def _within(ids: Ids, model: LoadedModel) -> tuple[int, ...]:
    """Return as many ids, all of them a model's."""
    width = max(1, len(model.tokenizer))
    return tuple(i % width for i in ids)


def _rows(pairs: Pairs, tokens: int) -> list[Ids]:
    """Return texts of so many tokens in all, taken again where there are too few."""
    rows: list[Ids] = []
    while sum(map(len, rows)) < tokens:
        prompt, response = pairs[len(rows) % len(pairs)]
        rows.append(prompt + response)
    return rows
