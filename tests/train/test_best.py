"""The student that training leaves is the best of those that were measured, also after a kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import LoraConfig, TrainConfig
from potstill.train.loop import train
from potstill.train.result import TrainResult
from training_inputs import ORDER, Scored, examples_of

Weights = dict[str, Tensor]
# Points of measurement of `config`: before the first of eight steps, after 3, 6 and 8.
STEPS = (0, 3, 6, 8)


def config(**values: Any) -> TrainConfig:
    plain = {"learning_rate": 1e-3, "batch_tokens": 64, "micro_batch_tokens": 64, "epochs": 2}
    return TrainConfig(**{**plain, "validate_every": 3, "checkpoint_every": 2, **values})


def weights(model: LoadedModel) -> Weights:
    return {name: p.detach().clone() for name, p in model.network.named_parameters()}


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class Judge:
    """Gives out figures by the point of training, and remembers the weights that it saw."""

    def __init__(self, figures: Sequence[float], name: str = "kl") -> None:
        self.figures, self.name = dict(zip(STEPS, figures, strict=True)), name
        self.seen: list[Weights] = []

    def __call__(self, model: LoadedModel) -> dict[str, float]:
        self.seen.append(weights(model))
        return {self.name: self.figures[STEPS[len(self.seen) - 1]]}


def run(
    path: Path,
    folder: Path,
    validate: Callable[[LoadedModel], dict[str, float]] | None,
    settings: TrainConfig | None = None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> tuple[TrainResult, LoadedModel]:
    student = load(str(path), precision="fp32", trainable=True)
    result = train(
        student,
        examples_of(student),
        config=settings or config(),
        seed=0,
        order=ORDER,
        targets=Scored(load(str(path), precision="fp32")),
        checkpoints=folder,
        validate=validate,
        log=log,
        progress=Silent(),
    )
    return result, student


@pytest.mark.parametrize("name", ["kl", "nll"])
@pytest.mark.parametrize(
    ("figures", "kept"),
    [
        ((1.0, 2.0, 3.0, 11.9), 0),  # every step made it worse
        ((4.0, 2.0, 3.0, 3.0), 3),  # the best lies in the middle
        ((4.0, 3.0, 2.0, 1.0), 8),  # as it should be
        ((1.0, 1.0, 1.0, 1.0), 0),  # no step made a difference
        ((float("nan"), 9.0, float("nan"), 9.5), 3),  # what is no number is no figure
    ],
)
def test_the_best_of_the_measured_points_is_kept_the_untrained_one_included(
    name: str, figures: Sequence[float], kept: int, nano_llama: Path, tmp_path: Path
) -> None:
    judge = Judge(figures, name)
    result, student = run(nano_llama, tmp_path, judge)
    assert (result.kept_step, result.steps, result.validated_by) == (kept, 8, name)
    assert equal(weights(student), judge.seen[STEPS.index(kept)])
    assert result.validation_kept == judge.figures[kept]
    assert result.validation_last == figures[-1] or figures[-1] != figures[-1]
    assert result.validation_before == figures[0] or figures[0] != figures[0]
    assert not student.network.training


def test_measuring_changes_no_step(nano_llama: Path, tmp_path: Path) -> None:
    """Not even where a measurement draws random numbers."""
    settings = config(lora=LoraConfig(rank=2, dropout=0.5))

    def draw(model: LoadedModel) -> dict[str, float]:
        torch.rand(3)
        return {"agreement": 1.0}

    def losses(folder: str, validate: Any) -> list[float]:
        found: list[float] = []
        run(
            nano_llama,
            tmp_path / folder,
            validate,
            settings.model_copy(update={"validate_every": 100}),
            lambda entry: found.append(entry["loss"]) if "loss" in entry else None,
        )
        return found

    assert losses("a", draw) == losses("b", None)


def test_without_a_measure_the_last_student_is_kept(nano_llama: Path, tmp_path: Path) -> None:
    result, _ = run(nano_llama, tmp_path, None)
    assert (result.kept_step, result.validated_by, result.validation_kept) == (8, None, None)
    other, _ = run(nano_llama, tmp_path / "other", lambda model: {"agreement": 0.5})
    assert (other.kept_step, other.validated_by) == (8, None)


@pytest.mark.parametrize(
    ("stop", "lora"), [(0, None), (1, None), (4, None), (8, None), (4, LoraConfig(rank=2))]
)
def test_a_kill_at_any_step_keeps_the_same_student(
    stop: int, lora: LoraConfig | None, nano_llama: Path, tmp_path: Path
) -> None:
    figures = dict(zip(STEPS, (4.0, 2.0, 3.0, 3.5), strict=True))
    step = [0]

    def measure(model: LoadedModel) -> dict[str, float]:
        return {"kl": figures[step[0]]}

    def counted(entry: dict[str, Any]) -> None:
        step[0] = {2: 3, 5: 6, 7: 8}.get(entry["step"], entry["step"])
        if entry["step"] == stop and not killed:
            killed.append(stop)
            raise RuntimeError("killed")

    settings, killed = config(lora=lora), [0]
    expected, whole = run(nano_llama, tmp_path / "whole", measure, settings, counted)
    assert expected.kept_step == 3
    killed.clear()
    step[0] = 0
    with pytest.raises(RuntimeError, match="killed"):
        run(nano_llama, tmp_path / "run", measure, settings, counted)
    step[0] = {0: 0, 1: 0, 4: 3, 7: 8, 8: 8}[stop]
    result, student = run(nano_llama, tmp_path / "run", measure, settings, counted)
    assert result.kept_step == 3
    assert (result.validation_before, result.validation_last) == (4.0, 3.5)
    assert equal(weights(student), weights(whole))


def test_ctrl_c_after_the_last_step_measures_the_end_all_the_same(
    nano_llama: Path, tmp_path: Path
) -> None:
    def interrupt(entry: dict[str, Any]) -> None:
        if entry["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(nano_llama, tmp_path, Judge((4.0, 3.0, 2.0, 1.0)), log=interrupt)
    logged: list[dict[str, Any]] = []
    result, _ = run(nano_llama, tmp_path, lambda model: {"kl": 1.0}, log=logged.append)
    assert (result.kept_step, result.validation_last) == (8, 1.0)
    assert logged == [{"step": 8, "kl": 1.0}]


def test_the_best_takes_the_room_of_the_weights_once(nano_llama: Path, tmp_path: Path) -> None:
    run(nano_llama, tmp_path, Judge((4.0, 3.0, 2.0, 5.0)))
    (stored,) = tmp_path.glob("best*")
    trained = load(str(nano_llama), precision="fp32", trainable=True)
    size = sum(p.numel() * 4 for p in trained.network.parameters())
    assert sum(f.stat().st_size for f in stored.iterdir()) < 1.05 * size


@pytest.mark.parametrize("name", ["model.safetensors", "best.json"])
def test_a_damaged_best_student_is_named(name: str, nano_llama: Path, tmp_path: Path) -> None:
    run(nano_llama, tmp_path, Judge((1.0, 2.0, 3.0, 4.0)))
    (tmp_path / "best" / name).write_bytes(b"no")
    with pytest.raises(
        PotstillError, match=r"best student so far.*damaged or cut off; delete the fol"
    ):
        run(nano_llama, tmp_path, Judge((1.0, 2.0, 3.0, 4.0)))


def test_a_best_student_that_was_deleted_is_found_again_as_far_as_it_can_be(
    nano_llama: Path, tmp_path: Path
) -> None:
    """The untrained one is measured again, before the checkpoint is put in place."""
    run(nano_llama, tmp_path, Judge((1.0, 2.0, 3.0, 4.0)))
    for file in (tmp_path / "best").iterdir():
        file.unlink()
    (tmp_path / "best").rmdir()
    seen: list[Weights] = []

    def measure(model: LoadedModel) -> dict[str, float]:
        seen.append(weights(model))
        return {"kl": float(len(seen))}

    result, student = run(nano_llama, tmp_path, measure)
    untrained = weights(load(str(nano_llama), precision="fp32", trainable=True))
    assert result.kept_step == 0
    assert equal(seen[0], untrained)
    assert equal(weights(student), untrained)
