"""Nano teachers have the entropy that they state, and their languages have it exactly."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from potstill.models.load import load

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from zoo import nano_teachers
from zoo.nano_teachers import TAUGHT, Language, Training, own_entropy, rows_of, tokenizer_of


@pytest.mark.parametrize("nats", [0.85, 1.8, 2.7])
def test_a_language_has_the_entropy_that_it_states(nats: float) -> None:
    """By the stationary distribution over all words, found by walking the chain."""
    language = Language(nats)
    chances_WW = np.stack([language.chances(word) for word in range(len(language.words))])
    assert np.allclose(chances_WW.sum(1), 1)
    state_W = np.full(len(language.words), 1 / len(language.words))
    for _ in range(400):
        state_W = state_W @ chances_WW
    logs = np.log(chances_WW, out=np.zeros_like(chances_WW), where=chances_WW > 0)
    assert -(state_W[:, None] * chances_WW * logs).sum() == pytest.approx(nats, rel=1e-6)


def test_exchanges_follow_the_language_and_their_seed() -> None:
    language = Language(1.8)
    found = language.exchanges(40, seed=3)
    assert found == Language(1.8).exchanges(40, seed=3)
    assert found != language.exchanges(40, seed=4)
    number = {word: i for i, word in enumerate(language.words)}
    for prompt, response in found:
        said = [prompt.split()[-1], *response.replace(".", " .").split()]
        ids = [number[word] for word in said]
        assert all(language.chances(a)[b] > 0 for a, b in pairwise(ids))


def test_languages_of_one_seed_share_their_tokenizer_and_words_are_tokens() -> None:
    first, other = tokenizer_of(Language(0.85)), tokenizer_of(Language(2.7))
    assert first.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
    language = Language(2.7)
    assert all(len(first(f" {word}")["input_ids"]) == 1 for word in language.words)
    assert tokenizer_of(Language(2.7, seed=1)).backend_tokenizer.to_str() != (
        first.backend_tokenizer.to_str()
    )


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
