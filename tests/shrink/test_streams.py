"""Blocks run one after another, against the whole model's own forward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import family_models
from potstill.errors import PotstillError
from potstill.models.inner import block_states
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.score import hidden_states
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.making import pruned
from potstill.shrink.streams import TeacherStream, calibration_batches


def texts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(6, 40, (count,), generator=generator).tolist()
    return [torch.randint(5, 200, (n,), generator=generator).tolist() for n in lengths]


def family(name: str, nano_llama: Path, directory: Path) -> LoadedModel:
    path = family_models.write(name, nano_llama, directory / "model", num_hidden_layers=4)
    return load(str(path), precision="fp32")


@pytest.mark.parametrize("name", ["Bloom", "Falcon", "MPT"])
def test_blocks_that_return_tuples_are_run_and_healed(
    name: str, nano_llama: Path, tmp_path: Path
) -> None:
    """Bloom and MPT tell positions by a bias on the scores: it has to come along."""
    teacher, rows = family(name, nano_llama, tmp_path), texts(40)
    batches = calibration_batches(teacher, rows)
    ends = zip(TeacherStream(teacher, batches).at(4), batches, strict=True)
    found = torch.cat([states_BTD[batch.real_BT] for states_BTD, batch in ends])
    expected = block_states(teacher, [(row[:1], [*row[1:], 0]) for row in rows], [3])[3]
    assert torch.allclose(found.sort(0).values, expected.sort(0).values, atol=1e-4)

    cut = Cut(blocks=(1,))
    student, _ = pruned(teacher, cut)

    def apart() -> float:
        own, other = (
            torch.cat([hidden_states(m, [row])[0] for row in rows]) for m in (teacher, student)
        )
        return float((own - other).norm() / own.norm())

    before = apart()
    assert heal(teacher, student, cut, batches, ridge=0.3, cascade=True) == [0, 2, 3]
    assert apart() < 0.8 * before


def test_blocks_that_do_not_stand_alone_are_refused(nano_llama: Path, tmp_path: Path) -> None:
    """Gemma 3n carries several states a token, and its last blocks read earlier ones' keys."""
    teacher = family("Gemma 3n", nano_llama, tmp_path)
    with pytest.raises(PotstillError, match=r"cannot cut Gemma3n.*one after another"):
        calibration_batches(teacher, texts(2))
