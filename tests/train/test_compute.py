"""The body as training runs it: what is frozen, what is computed again, whose settings are set."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, body_of, head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.precision import multiplies_fp32_by_onednn
from potstill.train import attention, compute
from potstill.train.compute import ComputeBody

Way = Literal["none", "elementwise", "blocks"]
WAYS: list[Way] = ["none", "elementwise", "blocks"]
FAMILIES = ["llama", "qwen3", "gemma", "neox"]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def gradients(student: LoadedModel, body: ComputeBody) -> dict[str, Tensor | None]:
    hidden = body.hidden(torch.arange(5, 45).reshape(2, 20))
    logits = hidden.float() @ head_of(student).weight_VD.T
    logits.square().mean().backward()
    body.collect_gradients()
    found = {n: p.grad for n, p in student.network.named_parameters()}
    student.network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [0, 2])
def test_checkpointing_gives_the_same_gradients(
    frozen: int, precision: str, family: str, nano_model: Any
) -> None:
    student = load(str(nano_model(family)), precision=precision, trainable=True)
    found = []
    for checkpointing in WAYS:
        body = ComputeBody(
            student.network, student.compute_dtype, 20, frozen, checkpointing=checkpointing
        )
        body.train()
        found.append(gradients(student, body))
    plain, *others = found
    for name, gradient in plain.items():
        for again in others:
            other = again[name]
            if gradient is None or other is None:
                assert gradient is other
            else:
                assert torch.equal(gradient, other), name


def run_blocks(student: LoadedModel, checkpointing: Way) -> tuple[list[int], int]:
    """Return which blocks ran in forward and backward, and the bytes kept in between."""
    body = ComputeBody(student.network, torch.float32, 20, 2, checkpointing=checkpointing)
    body.train()
    calls: list[int] = []
    for number, block in enumerate(body._body.layers):
        block.self_attn.register_forward_hook(lambda *_, number=number: calls.append(number))
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = body.hidden(torch.arange(5, 45).reshape(2, 20))
    hidden.square().mean().backward()
    student.network.zero_grad(set_to_none=True)
    return sorted(calls), kept


def test_only_trained_blocks_are_computed_again_and_only_their_inputs_are_kept(
    nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is kept is counted by hooks around those that keep less of activation functions.
    monkeypatch.setattr("potstill.train.compute.recomputed_activations", nullcontext)
    student = load(str(nano_llama), precision="fp32", trainable=True)
    calls, kept = run_blocks(student, checkpointing="none")
    assert calls == [0, 1, 2, 3, 4, 5]
    calls, kept_checkpointing = run_blocks(student, checkpointing="blocks")
    assert calls == [0, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert kept_checkpointing < 0.2 * kept


def test_elementwise_keeps_the_products_and_does_not_compute_them_again(nano_llama: Path) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    flops = []
    for checkpointing in WAYS:
        body = ComputeBody(student.network, torch.float32, 20, checkpointing=checkpointing)
        body.train()
        with FlopCounterMode(display=False) as counter:
            body.hidden(torch.arange(5, 45).reshape(2, 20)).square().mean().backward()
        student.network.zero_grad(set_to_none=True)
        flops.append(counter.get_flop_counts()["Global"][torch.ops.aten.mm])
    assert flops[0] == flops[1]
    assert flops[2] > 1.2 * flops[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frozen", [0, 2])
def test_compiled_blocks_give_the_same_gradients(
    family: str, frozen: int, nano_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "_BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    student = load(str(nano_model(family)), device="cpu", precision="fp32", trainable=True)
    body = ComputeBody(student.network, torch.float32, 20, frozen)
    expected = gradients(student, body)
    body = ComputeBody(student.network, torch.float32, 20, frozen, compiled=True)
    body.train()
    found = gradients(student, body)
    assert counters["stats"]["unique_graphs"] > 0
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=5e-6)
    # The network itself goes on uncompiled.
    assert all(block._compiled_call_impl is None for block in blocks_of(student.network))


def test_blocks_that_cannot_be_computed_again_are_refused() -> None:
    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=40, n_positions=16)
    network = GPT2LMHeadModel(config)
    body_of(network).supports_gradient_checkpointing = False
    with pytest.raises(PotstillError, match=r"set train\.gradient_checkpointing to none"):
        ComputeBody(network, torch.float32, 8, checkpointing="blocks")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_training_sets_does_not_stay_with_the_network(
    precision: str, nano_llama: Path
) -> None:
    student = load(str(nano_llama), precision=precision, trainable=True)
    before = student.network.config._attn_implementation
    body = ComputeBody(student.network, student.compute_dtype, 20, checkpointing="blocks")
    # A CPU attends to short sequences by plain products wherever these are fast.
    products = precision == "bf16" or multiplies_fp32_by_onednn()
    expected = attention.NAME if products else before
    assert body._body.config._attn_implementation == expected and before != attention.NAME
    assert student.network.config._attn_implementation == before
    assert not any(block.gradient_checkpointing for block in blocks_of(student.network))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu, id="gpu")])
@pytest.mark.parametrize("untied", [False, True])
def test_the_embedding_gets_its_gradient_where_it_is_the_head_too(
    nano_llama: Path, untied: bool, device: str
) -> None:
    student = load(str(nano_llama), device=device, precision="fp32", trainable=True)
    network = student.network
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    if untied:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    else:
        head.weight = embedding.weight
    ids_BT = torch.tensor([[5, 6, 5, 7]], device=device)
    network.eval()
    network(ids_BT).logits.square().sum().backward()
    expected = [p.grad.clone() for p in (embedding.weight, head.weight)]
    network.zero_grad()
    body = ComputeBody(network, torch.float32, longest=4)
    (body.hidden(ids_BT) @ head.weight.T).square().sum().backward()
    body.collect_gradients()
    for parameter, wanted in zip((embedding.weight, head.weight), expected, strict=True):
        assert not parameter.grad.is_sparse
        # The network attends by another kernel, which adds up in another order.
        assert (parameter.grad - wanted).norm() < 1e-5 * wanted.norm()
