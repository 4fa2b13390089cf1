"""A made-up language is of the entropy that it states, and its networks begin from their seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from potstill.runs.made_up import Language, tokenizer_of, untrained_network


@pytest.mark.parametrize("nats", [1.0, 2.5])
def test_a_word_has_the_entropy_that_is_stated(nats: float) -> None:
    """From the chances of each word alone, under the chain's own long-run distribution."""
    language = Language(nats)
    chance_WW = np.array([language.chances(word) for word in range(len(language.words))])
    np.testing.assert_allclose(chance_WW.sum(-1), 1.0)
    long_run_W = np.full(len(language.words), 1 / len(language.words))
    for _ in range(200):
        long_run_W = long_run_W @ chance_WW
    logs_WW = np.log(np.where(chance_WW > 0, chance_WW, 1.0))
    found = -float(long_run_W @ (chance_WW * logs_WW).sum(-1))
    assert found == pytest.approx(nats, abs=0.02)


def test_texts_follow_the_chances_and_the_seed() -> None:
    language = Language(1.8)
    pairs = language.exchanges(40, 7)
    assert pairs == Language(1.8).exchanges(40, 7) != language.exchanges(40, 8)
    number = {word: n for n, word in enumerate(language.words)}
    for prompt, text in pairs:
        before = number[prompt.split()[-1]]
        for word in text.replace(".", " .").split():
            assert language.chances(before)[number[word]] > 0
            before = number[word]


def test_a_tokenizer_gives_texts_back_and_networks_differ_by_seed_alone() -> None:
    language = Language(1.8)
    tokenizer = tokenizer_of(language)
    text = language.exchanges(1, 1)[0][1]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    drawn = torch.get_rng_state()
    one, same, other = (untrained_network(tokenizer, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), drawn)
    weights = [network.model.layers[0].mlp.up_proj.weight for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
