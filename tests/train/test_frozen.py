"""What frozen blocks give, kept: the same student, and the blocks run in the first epoch alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.models.load import load
from potstill.progress import Silent
from potstill.recipe import LoraConfig, TrainConfig
from potstill.train import frozen
from potstill.train.compute import ComputeBody
from potstill.train.loop import train
from training_inputs import ORDER, Scored, examples_of


def trained(path: Path, folder: Path, **settings: Any) -> tuple[list[float], int, list[str]]:
    """Return the losses, how many rows' first blocks were computed, and what was said."""
    student, teacher = (load(str(path), precision="fp32", trainable=t) for t in (True, False))
    plain = {"learning_rate": 1e-3, "batch_tokens": 64, "micro_batch_tokens": 64, "epochs": 3}
    losses: list[float] = []
    said: list[str] = []
    entered = ComputeBody.hidden
    computed = 0

    def counted(self: ComputeBody, ids: Any, places: Any = None, entry: Any = None) -> Any:
        nonlocal computed
        computed += entry is None
        return entered(self, ids, places, entry)

    class Noted(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComputeBody, "hidden", counted)
        for parameter in student.network.parameters():
            parameter.data.mul_(1.05)
        train(
            student,
            examples_of(student),
            config=TrainConfig(**plain, frozen_blocks=2, **settings),
            seed=0,
            order=ORDER,
            targets=Scored(teacher),
            checkpoints=folder,
            validate=None,
            log=lambda entry: losses.append(entry["loss"]),
            progress=Noted(),
        )
    return losses, computed, said


LORA = {"lora": LoraConfig(rank=2)}


@pytest.mark.parametrize(
    ("family", "settings"),
    [("qwen3", {}), ("qwen3", {"packing": "packed"}), ("neox", {}), ("gemma", LORA)],
)
def test_kept_states_train_the_same_student(
    family: str,
    settings: dict[str, Any],
    nano_model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses, computed, said = trained(nano_model(family), tmp_path / "a", **settings)
    monkeypatch.setattr(frozen, "_KEEP_BYTES", 0)
    plain, always, told = trained(nano_model(family), tmp_path / "b", **settings)
    assert losses == pytest.approx(plain, rel=1e-5, abs=1e-7)
    # Those of the first epoch, and the rows that packing tries.
    assert computed <= always / 3 + 3
    assert not said
    assert [("anew in each epoch" in line) for line in told] == [True]


def test_an_embedding_that_learns_as_the_head_is_not_taken_for_still(
    nano_llama: Path, tmp_path: Path
) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    assert not ComputeBody(student.network, student.compute_dtype, 32, 2).enters_the_same
    _, computed, said = trained(nano_llama, tmp_path)
    assert computed > 3
    assert not said
