"""Counts against hand-made sums and against PyTorch's own operation counter."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen3Config,
)

from potstill.evaluate.cost import (
    ModelShape,
    cost_section,
    forward_flops,
    from_scratch,
    generation_flops,
    matmul_flops_per_token,
    model_shape,
    stage_cost,
    total_cost,
    training_flops,
)
from potstill.recipe import CostConfig, LoraConfig
from potstill.train.lora import adapted, adapter_weights

SMALL = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": LlamaConfig(
        **SMALL, intermediate_size=48, num_key_value_heads=2, tie_word_embeddings=True
    ),
    "qwen3": Qwen3Config(**SMALL, intermediate_size=48, num_key_value_heads=2, head_dim=16),
    "gemma3": Gemma3TextConfig(**SMALL, intermediate_size=48, num_key_value_heads=2, head_dim=16),
    "neox": GPTNeoXConfig(**SMALL, intermediate_size=48),
    "gpt2": GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4),
}


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager")
    return model.eval()


def test_llama_by_hand() -> None:
    shape = model_shape(network("llama"))
    # A block: q and o 32x32, k and v 32x16 (two of four heads), three of 32x48.
    block = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert shape.body == 2 * block
    assert shape.head == 2 * 96 * 32
    assert shape.attention == ((4.0 * 32, None), (4.0 * 32, None))
    # Tied embedding counted once; two norms a block and one at the end.
    assert shape.parameters == block + 96 * 32 + 5 * 32
    assert matmul_flops_per_token(network("llama")) == shape.body + shape.head


def test_mixture_counts_visited_experts_only() -> None:
    config = MixtralConfig(
        **SMALL, intermediate_size=48, num_key_value_heads=4, num_local_experts=8,
        num_experts_per_tok=2,
    )  # fmt: skip
    shape = model_shape(AutoModelForCausalLM.from_config(config))
    attention, experts = 4 * 32 * 32, 2 * 3 * 32 * 48
    router = 32 * 8
    assert shape.body - 2 * 2 * (attention + experts) in (0, 2 * 2 * router)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_forward_equals_what_torch_counts(name: str) -> None:
    model, length = network(name), 7
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(length)[None])
    shape = model_shape(model)
    pair = shape.attention[0][0]
    # Eager attention computes the whole square; we count the causal half.
    square = len(shape.attention) * pair * length * length
    ours = forward_flops(shape, [length], length)
    causal = len(shape.attention) * pair * length * (length + 1) / 2
    # Rotary frequencies are a tiny product of their own in some families.
    assert ours - causal + square == pytest.approx(counter.get_total_flops(), rel=2e-3)


def test_sliding_window_limits_attention() -> None:
    config = Gemma3TextConfig(
        **SMALL,
        intermediate_size=48,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
    )
    shape = model_shape(AutoModelForCausalLM.from_config(config))
    assert [window for _, window in shape.attention] == [4, None]
    scores = forward_flops(shape, [10], 0) - 10 * shape.body
    pairs = sum(min(position, 4) for position in range(1, 11)) + sum(range(1, 11))
    assert scores == 4.0 * 4 * 16 * pairs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=6))
def test_generation_equals_token_by_token(exchanges: list[tuple[int, int]]) -> None:
    shape = ModelShape(parameters=1, body=3.0, head=5.0, attention=((7.0, None), (7.0, 6)))
    expected = 0.0
    for prompt, response in exchanges:
        for position in range(1, prompt + response if response else 0):
            expected += 3.0 + 7.0 * position + 7.0 * min(position, 6)
        expected += 5.0 * response
    assert generation_flops(shape, exchanges) == pytest.approx(expected)


def test_training_is_three_forwards() -> None:
    shape = ModelShape(parameters=1, body=3.0, head=5.0, attention=())
    assert training_flops(shape, [4, 6], 5) == 3 * (10 * 3.0 + 5 * 5.0)


def test_frozen_blocks_have_no_backward_pass() -> None:
    """One of two blocks frozen: half of the body and its attention are run forward only."""
    shape = ModelShape(parameters=0, body=4.0, head=5.0, attention=((2.0, None), (2.0, None)))
    pairs = 3 * 4 // 2
    block = 3 * 2.0 + pairs * 2.0
    assert training_flops(shape, [3], 1, 1) == block + 3 * block + 3 * 5.0
    assert training_flops(shape, [3], 1, 0) == 6 * block + 3 * 5.0


def test_checkpointing_runs_trained_blocks_forward_twice() -> None:
    shape = ModelShape(parameters=0, body=4.0, head=5.0, attention=((2.0, None), (2.0, None)))
    block = 3 * 2.0 + 3 * 4 // 2 * 2.0
    assert training_flops(shape, [3], 1, 1, checkpointing=True) == block + 4 * block + 3 * 5.0
    assert training_flops(shape, [3], 1, checkpointing=True) == 8 * block + 3 * 5.0


def test_adapters_spare_the_gradients_of_the_weights_that_they_sit_on() -> None:
    """Of two blocks with 2 FLOPs a token in attention pairs: twice products, thrice the rest."""
    shape = ModelShape(parameters=0, body=4.0, head=5.0, attention=((2.0, None), (2.0, None)))
    tokens, pairs, adapter = 3, 3 * 4 // 2, 2 * 7.0
    products, attention = tokens * 2.0, pairs * 2.0
    block = 2 * products + 3 * attention
    assert training_flops(shape, [3], 1, adapters=7) == 2 * block + 3 * tokens * adapter + 2 * 5.0
    frozen = products + attention
    one = frozen + block + 3 * tokens * adapter + 2 * 5.0
    assert training_flops(shape, [3], 1, 1, adapters=7) == one
    again = products + attention + tokens * adapter
    assert training_flops(shape, [3], 1, 1, checkpointing=True, adapters=7) == one + again


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")])
def test_training_adapters_is_what_torch_counts(
    targets: str | tuple[str, ...], frozen: int
) -> None:
    pytest.importorskip("peft")
    model, length, config = network("llama"), 7, LoraConfig(rank=3, targets=targets)
    weights = adapter_weights(model, config, frozen_blocks=frozen)
    ours = training_flops(model_shape(model), [length], length, frozen, adapters=weights)
    attention = model_shape(model).attention
    pair = attention[0][0]
    with adapted(model, config, frozen_blocks=frozen), FlopCounterMode(display=False) as counter:
        model(input_ids=torch.arange(length)[None]).logits.sum().backward()
    # Eager attention computes the whole square; we count the causal half.
    passes = 3 * (len(attention) - frozen) + frozen
    ours += passes * pair * length * (length - (length + 1) / 2)
    # The first block that learns takes no gradient of its input, so none through what reads it.
    readers = 3 if targets == "all-linear" else 1
    spared = 2 * length * (32 * 32 + 2 * 32 * 16 + readers * 3 * 32)
    if targets != "all-linear":
        # Keys and values without adapters take none either: two of attention's four products.
        spared += pair * length * length
    assert ours - spared == pytest.approx(counter.get_total_flops(), rel=2e-3)


def test_from_scratch_is_chinchilla() -> None:
    # Hoffmann et al. 2022, table 3: 1e9 parameters, 20.2e9 tokens, 1.21e20 operations.
    estimate = from_scratch(
        10**9, CostConfig(accelerator_hour=3.6, accelerator_flops=1e15, currency="EUR")
    )
    assert estimate.tokens == 20 * 10**9
    assert estimate.flops == pytest.approx(1.2e20)
    assert estimate.money == pytest.approx(1.2e20 / 1e15 / 3600 * 3.6)
    assert "20" in estimate.formula


def test_cost_section() -> None:
    prices = CostConfig(machine_hour=0.5)
    stages = {
        "collection": stage_cost(1e12, 1000, 1800, prices, joules=40.0),
        "training": stage_cost(3e12, 2000, 3600, prices, joules=60.0),
    }
    section = cost_section(stages, student_parameters=1000, prices=prices)
    assert section.collection is not None and section.training is not None
    assert section.collection.model_dump() == asdict(stages["collection"])
    assert section.training.money == pytest.approx(0.5)
    assert section.total.flops == 4e12
    assert section.total.joules == 100.0
    assert section.total.money == pytest.approx(0.75)
    assert section.ratio_flops == pytest.approx(4e12 / (6 * 1000 * 20000))
    assert section.shrink is None
    with pytest.raises(ValueError, match="cooking"):
        cost_section({"cooking": stages["training"]}, student_parameters=1, prices=prices)


def test_total_energy_needs_every_stage() -> None:
    known = stage_cost(1, 1, 1, CostConfig(), joules=5.0)
    unknown = stage_cost(1, 1, 1, CostConfig())
    assert total_cost([known, unknown]).joules is None
    assert total_cost([known, known]).joules == 10.0
    assert total_cost([]).joules is None
