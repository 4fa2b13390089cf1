"""The rows of a training run, as its student read them, and the secret of their order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError
from potstill.models.score import PromptAndResponse
from potstill.progress import Progress, Silent
from potstill.recipe import TrainConfig
from potstill.runs.parts import Parts
from potstill.train.stage import learnt_from
from potstill.work.order_secret import SECRET_FILE, OrderSecret, read_order_secret
from potstill.work.records import TrainingOrder
from potstill.work.rundir import RunDir
from potstill.work.stage_records import TrainRecord
from potstill.work.step_plan import SecretOrder, plan_steps


@dataclass(frozen=True)
class OrderedRun:
    """What one run read: its rows in its own order, in the ids of the tokenizer with a digest.

    What its steps are planned from stands beside them. `quarters` says after how many quarters of
    an epoch the student was kept, where that was before the end.
    """

    rows: tuple[PromptAndResponse, ...]
    tokenizer: str
    secret: OrderSecret
    batch_tokens: int
    epochs: float
    quarters: int | None


def ordered_run(root: Path, progress: Progress | None = None) -> OrderedRun:
    """Return what a finished training read, and the secret of its order.

    Raises PotstillError where it has no secret, is not finished, or its answers changed since.
    """
    run = RunDir.reading(root)
    done, order = run.done(TrainRecord), run.done(TrainingOrder)
    if done is None:
        raise PotstillError(f"{root} has trained no student yet; finish that run first")
    if order is None:
        raise PotstillError(
            f"the training in {root} was in the order of its seed, which everybody can guess, and "
            "tells nobody who descends from it; take tests.order out"
        )
    secret = read_order_secret(root / SECRET_FILE)
    if secret.digest != order.secret:
        raise PotstillError(
            f"{root / SECRET_FILE} is not the secret that the training was begun with; bring that "
            "one back"
        )
    parts, config = Parts(run, run.recipe, progress or Silent()), run.recipe.train
    student = parts.opened.student(run.student, trainable=False)
    learnt = learnt_from(
        student, parts.corpus, parts.corpus.exchanges("train"), parts.vocabulary, config
    )
    rows = tuple((one.prompt_ids, one.response_ids) for one in learnt.examples)
    if [(len(p), len(r)) for p, r in rows] != [tuple(pair) for pair in done.lengths]:
        raise PotstillError(
            f"the answers in {root} are not those that its student learnt; bring them back"
        )
    return OrderedRun(
        rows=rows,
        tokenizer=student.tokenizer_id,
        secret=secret,
        batch_tokens=config.batch_tokens,
        epochs=config.epochs,
        quarters=_quarters(done, config.epochs, _planned(done, config, secret)),
    )


def _planned(done: TrainRecord, config: TrainConfig, secret: OrderSecret) -> int:
    """Return how many steps the epochs hold: more than were done, where `train.steps` ended it."""
    if config.steps is None:
        return done.steps
    lengths = [prompt + response for prompt, response in done.lengths]
    order = SecretOrder(secret)
    return len(
        plan_steps(lengths, batch_tokens=config.batch_tokens, epochs=config.epochs, order=order)
    )


def _quarters(done: TrainRecord, epochs: float, planned: int) -> int | None:
    """Return after how many quarters of an epoch the student was kept; None at the end.

    Steps on its own answers took the place of the last stored ones of the plan.
    """
    kept = done.steps if done.kept_step is None else done.kept_step
    if done.on_policy is not None:
        kept = min(kept, done.on_policy.stored_steps)
    if kept >= planned:
        return None
    return max(1, math.ceil(4 * epochs * kept / planned))
