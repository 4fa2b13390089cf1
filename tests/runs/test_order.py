"""A run's order: drawn from a secret that it keeps, and goes on with."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline_runs
from potstill.errors import PotstillError
from potstill.lineage import manifest
from potstill.models.identity import identity_of
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.order import order_of
from potstill.runs.parts import Parts
from potstill.runs.trace_order import ordered_run
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.step_source import plan_digest
from potstill.train.stage import learnt_from
from potstill.work.order_secret import (
    SECRET_FILE,
    OrderSecret,
    new_secret,
    read_order_secret,
    write_order_secret,
)
from potstill.work.records import TrainingOrder
from potstill.work.rundir import RunDir
from potstill.work.stage_records import TrainRecord
from potstill.work.step_plan import PublicOrder, SecretOrder, plan_steps


def recipe(secret: Path | None = None) -> Recipe:
    train = {"order_secret": None if secret is None else str(secret)}
    return Recipe.model_validate(
        {"name": "r", "seed": 5, "prompts": {"source": "starter"}, "train": train}
        | {"teacher": {"model": "t"}, "shrink": {"drop_layers": 1}}
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    with RunDir.open(tmp_path / "run", recipe()) as opened:
        yield opened


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    write_order_secret(tmp_path / "stated", OrderSecret(bytes(32)))
    return tmp_path / "stated"


def order(run: RunDir, secret: Path | None = None) -> tuple[Any, list[str]]:
    noted = pipeline_runs.Noted()
    return order_of(run, recipe(secret), noted), noted.notes


def begin(run: RunDir) -> None:
    (run.root / "checkpoints").mkdir()


def test_a_run_draws_a_secret_and_keeps_it(run: RunDir) -> None:
    first, notes = order(run)
    kept = run.root / SECRET_FILE
    assert first == SecretOrder(read_order_secret(kept)) and not notes
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    known = run.done(TrainingOrder)
    assert known is not None and known.secret == first.secret.digest
    begin(run)
    assert order(run) == (first, [])
    # Training again, without its checkpoints, is in the same order too.
    run.forget("train")
    assert order(run) == (first, [])


def test_what_a_kill_leaves_before_the_record_is_taken(run: RunDir) -> None:
    first, _ = order(run)
    run.forget_record(TrainingOrder)
    assert order(run)[0] == first


def test_a_stated_secret_is_taken(run: RunDir, stated: Path) -> None:
    order(run)
    assert order(run, stated)[0] == SecretOrder(OrderSecret(bytes(32)))
    known = run.done(TrainingOrder)
    assert known is not None and known.secret == OrderSecret(bytes(32)).digest
    assert read_order_secret(run.root / SECRET_FILE) == OrderSecret(bytes(32))


def test_a_begun_training_takes_no_other_secret(run: RunDir, stated: Path) -> None:
    first, _ = order(run)
    begin(run)
    with pytest.raises(PotstillError, match=r"train\.order_secret is not the secret that"):
        order(run, stated)
    kept = run.root / SECRET_FILE
    kept.unlink()
    with pytest.raises(PotstillError, match=r"order\.secret is gone"):
        order(run)
    write_order_secret(kept, new_secret())
    with pytest.raises(PotstillError, match=r"order\.secret is not the secret that"):
        order(run)
    # Stated, the lost one is put back.
    kept.unlink()
    copy = run.root.parent / "copy"
    write_order_secret(copy, first.secret)
    assert order(run, copy)[0] == first
    assert read_order_secret(kept) == first.secret


def test_a_training_from_before_secrets_goes_on_in_the_order_of_its_seed(
    run: RunDir, stated: Path
) -> None:
    begin(run)
    found, notes = order(run)
    assert found == PublicOrder(5)
    assert any("begun before orders were drawn from a secret" in note for note in notes)
    assert run.done(TrainingOrder) is None and not (run.root / SECRET_FILE).exists()
    with pytest.raises(PotstillError, match="has begun in the order of its seed"):
        order(run, stated)
    run.forget("train")
    assert isinstance(order(run)[0], SecretOrder)


def test_a_damaged_record_is_no_new_secret(run: RunDir) -> None:
    order(run)
    run.record_path("order").write_text("{")
    with pytest.raises(PotstillError, match=r"order\.json is damaged"):
        order(run)


def test_two_runs_draw_two_orders_unless_one_states_the_others(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, shrink={"blocks": [3]}, train={"order_secret": None}
    )
    one, _ = pipeline_runs.run(values, tmp_path / "one")
    other, _ = pipeline_runs.run(values, tmp_path / "other")
    values["train"]["order_secret"] = str(tmp_path / "one" / SECRET_FILE)
    same, _ = pipeline_runs.run(values, tmp_path / "same")
    stated = [json.loads(run.manifest_path.read_text()) for run in (one, other, same)]
    digests = [content["training_order"]["secret"] for content in stated]
    assert digests[0] == digests[2] != digests[1]
    losses = [[line.get("loss") for line in run.metrics()] for run in (one, other, same)]
    assert losses[0] == losses[2] != losses[1]
    assert identity_of(one.student) == identity_of(same.student)
    secret = (one.root / SECRET_FILE).read_text().strip()
    assert SECRET_FILE in stated[0]["files"] and manifest.verify(one.root) == []
    written = [p for p in one.root.rglob("*") if p.is_file() and p.name != SECRET_FILE]
    assert not [p for p in written if secret.encode() in p.read_bytes()]


def test_the_rows_of_a_run_and_their_order_are_those_that_it_trained_on(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, shrink={"blocks": [3]})
    finished, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    with RunDir.open(finished.root, finished.recipe) as run:
        parts = Parts(run, run.recipe, Silent())
        order = ordered_run(run.root)
        rows, secret = order.rows, order.secret
        trained = run.done(TrainRecord)
        assert trained is not None and [(len(p), len(r)) for p, r in rows] == list(trained.lengths)
        lengths = [len(prompt) + len(response) for prompt, response in rows]
        steps = plan_steps(
            lengths, batch_tokens=256, epochs=run.recipe.train.epochs, order=SecretOrder(secret)
        )
        assert len(steps) == trained.steps
        # Checkpoints name the rows of each step.
        student = parts.opened.student(parts.untrained)
        found = learnt_from(
            student, parts.corpus, parts.corpus.exchanges("train"), None, run.recipe.train
        )
        (first, *_) = stored_checkpoints(run.checkpoints)
        position = json.loads((first / "position.json").read_text())
        assert position["plan"] == plan_digest(found.examples, steps)
        parts.store.close()
        run.forget("train")
        with pytest.raises(PotstillError, match="has trained no student yet"):
            ordered_run(run.root)
