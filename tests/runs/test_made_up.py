"""A made-up language is of the entropy that it states, and networks begin from their seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from potstill.runs.made_up import Language, tokenizer_of, untrained_network


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


def test_networks_differ_by_their_seed_alone() -> None:
    tokenizer = tokenizer_of(Language(1.8))
    drawn = torch.get_rng_state()
    one, same, other = (untrained_network(tokenizer, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), drawn)
    first, again, another = (n.model.layers[0].mlp.up_proj.weight for n in (one, same, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, another)
