"""Packed rows: the same states, losses and gradients as one exchange a row."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from potstill.errors import PotstillError
from potstill.losses.chunked import distillation_loss
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.train import packing
from potstill.train.batches import micro_batches
from potstill.train.compute import ComputeBody
from potstill.train.examples import TrainingExample
from potstill.train.packing import RowShape, keeps_apart, laid_out, row_shape

FAMILIES = ["llama", "qwen3", "gemma", "neox"]
# Shorter and longer than the sliding window of the nano Gemma (24).
LENGTHS = [(3, 5), (9, 40), (4, 1), (1, 7), (20, 33), (2, 2), (30, 4), (5, 12)]


def examples() -> list[TrainingExample]:
    rng = random.Random(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(5, 200) for _ in range(n))

    return [TrainingExample(f"e{i}", ids(p), ids(r)) for i, (p, r) in enumerate(LENGTHS)]


def body_of(network: Any, longest: int = 100, **options: Any) -> ComputeBody:
    return ComputeBody(network, next(network.parameters()).dtype, longest, **options)


def gradients(
    student: LoadedModel, body: ComputeBody, row_tokens: int, micro: int, multiple: int = 1
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss of one step of all examples and its gradients."""
    chosen = examples()
    responses = sum(len(e.response_ids) for e in chosen)
    total = 0.0
    for part in micro_batches(range(len(chosen)), [e.length for e in chosen], micro, row_tokens):
        rows = laid_out([[chosen[i] for i in row] for row in part], multiple).to(student.device)
        row_N, column_N = rows.predicts_N2.unbind(-1)
        hidden_ND = body.hidden(rows.ids_BT, rows.positions_BT)[row_N, column_N]
        loss, _ = distillation_loss(
            hidden_ND, head_of(student), None, rows.label_N, normaliser=responses
        )
        loss.backward()
        body.collect_gradients()
        total += float(loss.detach())
    found = {
        name: parameter.grad.double()
        for name, parameter in student.network.named_parameters()
        if parameter.grad is not None
    }
    student.network.zero_grad(set_to_none=True)
    return total, found


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest relative difference of a parameter's gradient."""
    assert one.keys() == other.keys()
    return max(float((one[n] - other[n]).norm() / one[n].norm().clamp(min=1e-12)) for n in one)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("frozen", "micro"), [(0, 10**6), (2, 130)])
def test_packed_rows_give_the_same_loss_and_gradients(
    family: str, attention: str, frozen: int, micro: int, nano_model: Any
) -> None:
    student = load(str(nano_model(family)), precision="fp32", trainable=True)
    student.network.set_attn_implementation(attention)
    # Eager attention is what short sequences get, whatever the network has.
    body = body_of(student.network, 100 if attention == "eager" else 1000, frozen_blocks=frozen)
    loss, expected = gradients(student, body, row_tokens=0, micro=10**6)
    packed_loss, packed = gradients(student, body, row_tokens=120, micro=micro, multiple=16)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    assert apart(expected, packed) < 1e-3


def test_without_restarting_positions_the_gradients_would_differ(nano_gemma: Any) -> None:
    """What the test above would see if exchanges saw one another."""
    student = load(str(nano_gemma), precision="fp32", trainable=True)
    body = body_of(student.network)
    _, expected = gradients(student, body, row_tokens=0, micro=10**6)
    inner = body.hidden
    body.hidden = lambda ids_BT, positions_BT=None: inner(ids_BT)  # type: ignore[method-assign]
    _, mixed = gradients(student, body, row_tokens=120, micro=10**6)
    assert apart(expected, mixed) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_in_bf16_stay_close(family: str, nano_model: Any) -> None:
    student = load(str(nano_model(family)), precision="bf16", trainable=True)
    body = ComputeBody(student.network, torch.bfloat16, 100)
    loss, expected = gradients(student, body, row_tokens=0, micro=10**6)
    packed_loss, packed = gradients(student, body, row_tokens=120, micro=10**6)
    assert packed_loss == pytest.approx(loss, rel=0.02)
    assert apart(expected, packed) < 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_flex_attention_gives_the_same_states(family: str, nano_model: Any) -> None:
    """Its backward exists on GPUs alone, and compiling takes long; the mask is the same."""
    student = load(str(nano_model(family)), precision="fp32", trainable=True)
    chosen = examples()
    plain, flex = body_of(student.network), body_of(student.network)
    assert flex.use_flex_attention()
    single = laid_out([[e] for e in chosen])
    packed = laid_out([chosen], 128)
    assert packed.ids_BT.shape == (1, 256)
    with torch.no_grad():
        expected = plain.hidden(single.ids_BT)[tuple(single.predicts_N2.unbind(-1))]
        with torch.compiler.set_stance("force_eager"):
            found_BTD = flex.hidden(packed.ids_BT, packed.positions_BT)
    found = found_BTD[tuple(packed.predicts_N2.unbind(-1))]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", ["none", "elementwise", "blocks"])
def test_auto_packs_on_a_gpu_and_gives_the_same_gradients(
    checkpointing: Any, family: str, nano_model: Any
) -> None:
    student = load(str(nano_model(family)), device="cuda", precision="fp32", trainable=True)
    body = body_of(student.network, checkpointing=checkpointing)
    body.train()
    loss, expected = gradients(student, body, row_tokens=0, micro=10**6)
    shape = row_shape("auto", body, longest=60, micro_batch_tokens=256)
    assert shape.tokens >= 256
    packed_loss, packed = gradients(student, body, shape.tokens, 256, shape.multiple)
    assert packed_loss == pytest.approx(loss, rel=1e-4)
    assert apart(expected, packed) < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_these_families_keep_exchanges_apart(family: str, nano_model: Any) -> None:
    student = load(str(nano_model(family)), precision="bf16", trainable=True)
    body = ComputeBody(student.network, torch.bfloat16, 100)
    assert keeps_apart(body)
    shape = row_shape("packed", body, longest=700, micro_batch_tokens=4096)
    assert shape == RowShape(tokens=700)


def test_learned_positions_restart() -> None:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=200, n_positions=64)
    body = body_of(GPT2LMHeadModel(config).eval())
    assert keeps_apart(body)
    chosen = examples()
    packed, single = laid_out([chosen]), laid_out([[e] for e in chosen])
    torch.testing.assert_close(
        body.hidden(packed.ids_BT, packed.positions_BT)[tuple(packed.predicts_N2.unbind(-1))],
        body.hidden(single.ids_BT)[tuple(single.predicts_N2.unbind(-1))],
    )


def test_a_model_that_would_mix_them_is_refused() -> None:
    """Bloom counts positions by itself."""
    torch.manual_seed(0)
    network = BloomForCausalLM(BloomConfig(n_layer=2, hidden_size=16, n_head=2, vocab_size=200))
    body = body_of(network.eval())
    with pytest.raises(PotstillError, match=r"set train\.packing to buckets"):
        row_shape("packed", body, longest=60, micro_batch_tokens=256)
    assert row_shape("auto", body, longest=60, micro_batch_tokens=256) == RowShape()


@pytest.mark.parametrize(("tokens", "multiple"), [(4096, 1024), (1600, 512), (100, 128)])
def test_flex_rows_come_in_few_widths(tokens: int, multiple: int) -> None:
    assert packing._flex_rows(tokens) == RowShape(tokens, multiple)


def test_rows_say_where_each_response_token_is_predicted() -> None:
    one, two = TrainingExample("a", (1, 2), (3,)), TrainingExample("b", (4,), (5, 6))
    rows = laid_out([[one, two], [two]], multiple=4)
    assert rows.ids_BT.tolist() == [[1, 2, 3, 4, 5, 6, 0, 0], [4, 5, 6, 0, 0, 0, 0, 0]]
    assert rows.positions_BT is not None
    assert rows.positions_BT.tolist() == [[0, 1, 2, 0, 1, 2, 0, 0], [0, 1, 2, 0, 0, 0, 0, 0]]
    assert rows.predicts_N2.tolist() == [[0, 1], [0, 3], [0, 4], [1, 0], [1, 1]]
    assert rows.label_N.tolist() == [3, 5, 6, 5, 6]
    assert laid_out([[one], [two]]).positions_BT is None
