"""Nano teachers have the entropy that they state."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from potstill.models.load import load

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from zoo import nano_teachers
from zoo.nano_teachers import TAUGHT, Language, Training, own_entropy, rows_of, tokenizer_of


def test_rows_end_or_are_cut() -> None:
    language = Language(1.8)
    tokenizer = tokenizer_of(language)
    rows = rows_of(language, tokenizer, 60, seed=0)
    ended = [ids[-1] == tokenizer.eos_token_id for _, ids in rows]
    assert any(ended) and not all(ended)
    assert max(len(ids) for _, ids in rows) == nano_teachers.MAX_TOKENS
    (prompt, _), text = language.exchanges(60, seed=0)[0], tokenizer.decode(rows[0][0])
    assert text == f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


def test_one_that_misses_its_entropy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nats instead of 2"):
        nano_teachers.nano_teacher(2.0, tmp_path, how=Training(steps=2))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="are made of"):
        nano_teachers.nano_teacher(1.5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("nats", sorted(TAUGHT))
def test_a_teacher_has_the_entropy_that_it_states(nats: float, tmp_path: Path) -> None:
    """On prompts that it was not made with; made once, then kept; the same from run to run."""
    made = nano_teachers.nano_teacher(nats, tmp_path / "a")
    assert abs(made.entropy - nats) <= nano_teachers.WITHIN * nats
    model = load(str(made.directory), device="cpu", precision="fp32")
    prompts = [prompt for prompt, _ in made.language_of().exchanges(128, seed=10**6)]
    entropy, tokens = own_entropy(model, prompts)
    assert entropy == pytest.approx(nats, rel=nano_teachers.WITHIN)
    assert tokens > 5000
    assert nano_teachers.nano_teacher(nats, tmp_path / "a") == made
    if nats == 2.0:
        again = nano_teachers.nano_teacher(nats, tmp_path / "b")
        weights = [(m.directory / "model.safetensors").read_bytes() for m in (made, again)]
        assert weights[0] == weights[1]
