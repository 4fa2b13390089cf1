"""How long each stage takes, from measured rates and from what there is to do. Pure arithmetic."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

# Rounds that speed is measured in, one of them thrown away (`evaluate.speed`).
_SPEED_ROUNDS = 4
# Positions that tokens are weighed at, however much text there is (`shrink.text_needs`).
_WEIGHED_AT_MOST = 20_000
# Times that a cut student is measured on validation prompts: plain, healed, before training.
_MEASURED_AROUND = 3


@dataclass(frozen=True)
class Rates:
    """Seconds that this machine takes for one of each, measured in this run; 0 for what it has not
    to do.

    `answer_token` is one that the teacher writes, many at a time, and `answer` what comes before
    the first; or a server's whole answer, as many open at a time as it takes. `teacher_token` is
    one that the teacher reads, `student_token` one that a student reads and is compared on,
    `text_token` what comes on top for each token of held-out text, however many students read it.
    `heal` and `heal_token` are the repair, its part that no text makes longer and a calibration
    token; `weigh` and `weigh_position` the same of weighing what tokens are worth. `cut` makes a
    cut student. `step_token` is one that is learnt. `task_token` is one of an answer to a task's
    row, of all who are asked here.
    `own_answer` and `own_token` are an answer that the student writes while it is trained, and each
    of its tokens, read by whoever teaches them.
    `speed_round` reads, and `speed_token` writes, what speed is measured by, all models together.
    """

    answer_token: float = 0.0
    answer: float = 0.0
    teacher_token: float = 0.0
    student_token: float = 0.0
    text_token: float = 0.0
    cut: float = 0.0
    weigh: float = 0.0
    weigh_position: float = 0.0
    heal: float = 0.0
    heal_token: float = 0.0
    step_token: float = 0.0
    speed_round: float = 0.0
    speed_token: float = 0.0
    task_token: float = 0.0
    own_answer: float = 0.0
    own_token: float = 0.0
    # Not a rate: the length that answers have, as far as the first tokens of some tell.
    answer_tokens: float = 0.0
    held_out_tokens: float = 0.0

    def record(self) -> dict[str, float]:
        """Return them as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, float]) -> Self:
        """Return what `record` gave."""
        return cls(**{f.name: values.get(f.name, 0.0) for f in fields(cls)})


@dataclass(frozen=True)
class RunSizes:
    """What a recipe has to do that no minutes change.

    `available` training prompts are there. `prompt`, `answer` and `held_out_answer` are mean
    lengths in tokens. `models` read the held-out text beside the teacher, `trained` of them the
    greedy text too. `search_rounds` and `search_others` say how many trials a search makes for a
    number of candidates, each on `trial_tokens`. A task's answers are `task_tokens` long in all.
    `loads` are models that evaluation makes or loads. `per_minute`: a server answers no more.
    `own_share` of all steps learn from `own_prompts` answers of the student's own, of at most
    `own_most` tokens each.
    `pairs` sample pairs of at most `pair_tokens` are written. `trainings` are made, one after
    another.
    """

    available: int
    validation: int
    held_out: int
    prompt: float
    answer: float
    held_out_answer: float
    batch_tokens: int
    models: int = 1
    trained: int = 1
    loads: int = 1
    trainings: int = 1
    # Share of held-out text that the teacher reads again: a trimmed vocabulary cuts it up anew.
    reread: float = 0.0
    heals: bool = False
    weighs: bool = False
    search_rounds: int = 0
    search_others: int = 0
    trial_tokens: int = 0
    speed_tokens: int = 0
    task_tokens: int = 0
    pairs: int = 0
    pair_tokens: int = 0
    per_minute: int = 0
    own_share: float = 0.0
    own_prompts: int = 0
    own_most: int = 0

    @property
    def text(self) -> float:
        """Tokens of one training exchange, prompt and answer."""
        return self.prompt + self.answer

    @property
    def own_length(self) -> float:
        """Tokens of an answer that the student writes while it is trained."""
        return min(self.own_most, self.answer)

    def trials(self, candidates: int) -> int:
        """Return how many trials a search makes for a number of candidates."""
        return self.search_rounds * (candidates + self.search_others)

    def record(self) -> dict[str, float]:
        """Return them as JSON values."""
        return {name: float(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, values: dict[str, float]) -> Self:
        """Return what `record` gave."""
        made: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in values:
                kind = {"int": int, "bool": bool, "float": float}[str(field.type)]
                made[field.name] = kind(values[field.name])
        return cls(**made)


@dataclass(frozen=True)
class Amounts:
    """How much a run does: what minutes are spent on.

    `prompts` training prompts with `samples` answers each, `candidates` of a search at a step,
    `steps` of the optimiser with `validations` among them, and whether greedy text is read too.
    """

    prompts: int
    samples: int
    calibration_tokens: int
    candidates: int
    steps: int
    validations: int
    greedy: bool

    @property
    def answers(self) -> int:
        """Training answers."""
        return self.prompts * self.samples


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of each stage."""

    collect: float
    shrink: float
    train: float
    evaluate: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.collect + self.shrink + self.train + self.evaluate

    def of(self, stage: str) -> float:
        """Return those of a stage by its name; a stage that is not foretold takes none."""
        return float(getattr(self, stage, 0.0))


def predict(rates: Rates, sizes: RunSizes, amounts: Amounts) -> StageSeconds:
    """Return how long each stage takes, in seconds. More of anything never takes less."""
    return StageSeconds(
        collect=collecting(rates, sizes, amounts),
        shrink=shrinking(rates, sizes, amounts),
        train=training(rates, sizes, amounts) * sizes.trainings,
        evaluate=evaluating(rates, sizes, amounts),
    )


def collecting(rates: Rates, sizes: RunSizes, amounts: Amounts) -> float:
    """Return how long the teacher's answers take: to learn from, to watch, to measure on."""
    asked = amounts.answers + sizes.validation * amounts.samples
    measured = sizes.held_out * (2 if amounts.greedy else 1)
    written = asked * sizes.answer + measured * sizes.held_out_answer
    seconds = written * rates.answer_token + (asked + measured) * rates.answer
    if sizes.per_minute:
        seconds = max(seconds, 60.0 * (asked + measured) / sizes.per_minute)
    return seconds


def measuring(rates: Rates, sizes: RunSizes) -> float:
    """Return how long one measurement of a student on validation prompts takes."""
    return sizes.validation * sizes.text * rates.student_token


def shrinking(rates: Rates, sizes: RunSizes, amounts: Amounts) -> float:
    """Return how long making the student takes: weighing tokens, searching, cutting, healing."""
    seconds = rates.cut + (_MEASURED_AROUND - 1) * measuring(rates, sizes)
    # The teacher reads validation text in the student's tokens once.
    seconds += sizes.validation * sizes.text * rates.teacher_token
    if sizes.weighs:
        positions = min(_WEIGHED_AT_MOST, amounts.answers * sizes.answer)
        seconds += rates.weigh + positions * rates.weigh_position
    if sizes.heals:
        seconds += rates.heal + amounts.calibration_tokens * rates.heal_token
    return seconds + sizes.trials(amounts.candidates) * trial(rates, sizes)


def trial(rates: Rates, sizes: RunSizes) -> float:
    """Return how long one trial of a search takes."""
    healed = rates.heal + sizes.trial_tokens * rates.heal_token
    return healed + measuring(rates, sizes)


def step(rates: Rates, sizes: RunSizes) -> float:
    """Return how long an optimiser step takes, the mean of those on stored and on own answers."""
    tokens = (1 - sizes.own_share) * sizes.batch_tokens
    tokens += sizes.own_share * sizes.own_prompts * (sizes.prompt + sizes.own_length)
    return tokens * rates.step_token + sizes.own_share * drawing(rates, sizes)


def drawing(rates: Rates, sizes: RunSizes) -> float:
    """Return how long the student's own answers for one step take to write and to be read."""
    return sizes.own_prompts * (rates.own_answer + sizes.own_length * rates.own_token)


def training(rates: Rates, sizes: RunSizes, amounts: Amounts) -> float:
    """Return how long one training takes, with what is measured on the way."""
    measured = (1 + amounts.validations) * measuring(rates, sizes)
    return amounts.steps * step(rates, sizes) + measured


def evaluating(rates: Rates, sizes: RunSizes, amounts: Amounts) -> float:
    """Return how long the held-out text takes to read, and speed and samples to measure."""
    a_text = sizes.prompt + sizes.held_out_answer
    tokens = sizes.held_out * a_text
    columns = 2 if amounts.greedy else 1
    seconds = columns * tokens * sizes.reread * rates.teacher_token
    seconds += tokens * (rates.text_token + sizes.models * rates.student_token)
    if amounts.greedy:
        seconds += tokens * (rates.text_token + sizes.trained * rates.student_token)
    seconds += sizes.loads * rates.cut
    seconds += _SPEED_ROUNDS * (rates.speed_round + sizes.speed_tokens * rates.speed_token)
    seconds += sizes.task_tokens * rates.task_token
    # A few rows at a time are written about as fast as one.
    return seconds + (sizes.pair_tokens * rates.speed_token if sizes.pairs else 0.0)
