"""Answers to learn from are drawn as the recipe says, those to measure on as the model is."""

from __future__ import annotations

from potstill.models.sampling import Sampling
from potstill.recipe import CollectConfig, EvaluateConfig
from potstill.work.samplings import Samplings, sampling_to_measure


def test_only_what_is_learnt_from_is_drawn_as_collect_says() -> None:
    collect = CollectConfig(temperature=0.7, top_p=0.9, top_k=40, max_tokens=30)
    evaluate = EvaluateConfig(max_tokens=20)
    found = Samplings.of(collect, evaluate, 5)
    assert found.training == Sampling(0.7, 0.9, 40, 30, 5)
    assert found.held_out == Sampling(temperature=1.0, max_tokens=20, seed=5)
    assert found.greedy == Sampling(temperature=0.0, max_tokens=20, seed=5)
    assert found.greedy == sampling_to_measure(evaluate, 5, greedy=True)
