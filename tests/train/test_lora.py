"""Adapters: peft's own gradients, merged without a trace, resumable, in the one training loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, head_of, load, save
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import LoraConfig, TrainConfig
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.compute import ComputeBody
from potstill.train.loop import train
from potstill.train.lora import adapted, adapter_weights
from potstill.train.result import TrainResult
from training_inputs import ORDER, Scored, examples_of

FAMILIES = ["llama", "qwen3", "gemma", "neox"]
IDS = torch.arange(5, 45).reshape(2, 20)


def config(lora: LoraConfig | None = None, **values: Any) -> TrainConfig:
    plain = {"learning_rate": 5e-3, "batch_tokens": 64, "micro_batch_tokens": 64, "epochs": 2}
    return TrainConfig(lora=lora or LoraConfig(rank=4), **{**plain, **values})


def student_of(path: Path, precision: str = "fp32") -> LoadedModel:
    """Return a student that differs from its teacher, so that it has something to learn."""
    student = load(str(path), precision=precision, trainable=True)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in student.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return student


def run(
    path: Path, folder: Path, settings: TrainConfig, precision: str = "fp32", **options: Any
) -> tuple[TrainResult, list[dict[str, Any]], LoadedModel]:
    student = student_of(path, precision)
    logged: list[dict[str, Any]] = []
    result = train(
        student,
        examples_of(student),
        config=settings,
        seed=0,
        order=ORDER,
        targets=Scored(load(str(path), precision="fp32")),
        checkpoints=folder,
        validate=None,
        log=options.pop("log", logged.append),
        progress=Silent(),
    )
    return result, logged, student


def losses(logged: Sequence[dict[str, Any]]) -> list[float]:
    return [entry["loss"] for entry in logged]


def learned(network: Any) -> None:
    """Move every adapter off its start, where the second factor is zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def gradients(student: LoadedModel, frozen: int = 0, **options: Any) -> dict[str, Tensor | None]:
    body = ComputeBody(student.network, student.compute_dtype, 20, frozen, **options)
    logits = body.hidden(IDS).float() @ head_of(student).weight_VD.T
    logits.square().mean().backward()
    body.collect_gradients()
    found = {n: p.grad for n, p in student.network.named_parameters()}
    student.network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_pefts_own_wrapper(
    family: str, dora: bool, nano_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = load(str(nano_model(family)), precision="fp32", trainable=True)
    peer = AutoModelForCausalLM.from_pretrained(nano_model(family), dtype=torch.float32)
    # The chunked loss caps Gemma's logits itself.
    peer.config.final_logit_softcapping = None
    wrapped = peft.get_peft_model(
        peer, peft.LoraConfig(r=4, lora_alpha=6, use_dora=dora, target_modules="all-linear")
    )
    learned(wrapped)
    wrapped(input_ids=IDS).logits.square().mean().backward()
    settings = LoraConfig(rank=4, alpha=6, dora=dora)
    with adapted(student.network, settings):
        named = dict(student.network.named_parameters())
        for name, parameter in wrapped.named_parameters():
            named[name.removeprefix("base_model.model.")].data.copy_(parameter.data)
        found = gradients(student)
    expected = {n.removeprefix("base_model.model."): p.grad for n, p in wrapped.named_parameters()}
    assert found.keys() == expected.keys()
    trained = [name for name, gradient in expected.items() if gradient is not None]
    assert any("lora_A" in name for name in trained)
    assert all("lora_" in name for name in trained)
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_adapters_get_about_the_same_gradients(
    family: str, dora: bool, nano_model: Any
) -> None:
    norms = []
    for precision in ("fp32", "bf16"):
        student = load(str(nano_model(family)), precision=precision, trainable=True)
        with adapted(student.network, LoraConfig(rank=4, dora=dora)):
            learned(student.network)
            found = gradients(student)
        flat = [g.flatten() for g in found.values() if g is not None]
        assert all(g.dtype == torch.float32 for g in flat)
        norms.append(torch.cat(flat))
    exact, rough = norms
    assert float((exact - rough).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_it_gives_the_same_logits_from_plain_layers(
    family: str, dora: bool, nano_model: Any, tmp_path: Path
) -> None:
    student = load(str(nano_model(family)), precision="fp32", trainable=True)
    network = student.network
    types = [type(module) for module in network.modules()]
    names = [name for name, _ in network.named_parameters()]
    with adapted(network, LoraConfig(rank=4, dora=dora)):
        learned(network)
        with torch.no_grad():
            before = network(input_ids=IDS).logits
    assert [type(module) for module in network.modules()] == types
    assert [name for name, _ in network.named_parameters()] == names
    assert all(p.requires_grad for p in network.parameters())
    with torch.no_grad():
        merged = network(input_ids=IDS).logits
        plain = load(str(nano_model(family)), precision="fp32").network(input_ids=IDS).logits
    torch.testing.assert_close(merged, before, rtol=1e-5, atol=1e-5)
    assert float((merged - plain).abs().max()) > 1e-2
    save(student, tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, merged, rtol=1e-5, atol=1e-5)


def test_at_first_an_adapter_changes_nothing_and_a_seed_decides_it(nano_llama: Path) -> None:
    starts = []
    for seed in (0, 0, 1):
        student = load(str(nano_llama), precision="fp32", trainable=True)
        before = torch.get_rng_state()
        with torch.no_grad():
            plain = student.network(input_ids=IDS).logits
            with adapted(student.network, LoraConfig(), seed=seed):
                assert torch.equal(student.network(input_ids=IDS).logits, plain)
                named = student.network.named_parameters()
                starts.append(torch.cat([p.flatten() for n, p in named if "lora_A" in n]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss_and_leaves_embedding_and_norms(
    family: str, precision: str, nano_model: Any, tmp_path: Path
) -> None:
    _, logged, student = run(nano_model(family), tmp_path, config(epochs=4), precision)
    assert sum(losses(logged)[-4:]) < 0.9 * sum(losses(logged)[:4])
    before = student_of(nano_model(family)).network.state_dict()
    blocks = {id(p) for block in blocks_of(student.network) for p in block.parameters()}
    for name, parameter in student.network.named_parameters():
        matrix = parameter.dim() == 2 and id(parameter) in blocks
        assert torch.equal(parameter, before[name]) != matrix, name


@pytest.mark.parametrize("lora", [LoraConfig(rank=4, dropout=0.2), LoraConfig(rank=4, dora=True)])
def test_a_resumed_run_repeats_the_uninterrupted_one_exactly(
    lora: LoraConfig, nano_llama: Path, tmp_path: Path
) -> None:
    settings = config(lora, checkpoint_every=2)
    _, uninterrupted, expected = run(nano_llama, tmp_path / "a", settings)
    before: list[dict[str, Any]] = []

    def stop(entry: dict[str, Any]) -> None:
        before.append(entry)
        if entry["step"] == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(nano_llama, tmp_path / "b", settings, log=stop)
    stored = load_file(stored_checkpoints(tmp_path / "b")[-1] / "model.safetensors")
    assert stored
    assert all("lora_" in name for name in stored)
    _, after, resumed = run(nano_llama, tmp_path / "b", settings)
    assert after[0]["step"] == 5
    assert losses(before)[:4] + losses(after) == losses(uninterrupted)
    for one, other in zip(expected.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_frozen_blocks_get_no_adapter(nano_llama: Path, tmp_path: Path) -> None:
    settings = config(frozen_blocks=4)
    _, logged, student = run(nano_llama, tmp_path, settings)
    assert losses(logged)[-1] < losses(logged)[0]
    before = blocks_of(student_of(nano_llama).network)
    for number, (block, old) in enumerate(zip(blocks_of(student.network), before, strict=True)):
        same = torch.equal(block.mlp.up_proj.weight, old.mlp.up_proj.weight)
        assert same == (number < 4)


def test_only_the_named_layers_get_an_adapter(nano_llama: Path) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    with adapted(student.network, LoraConfig(targets=("q_proj", "v_proj"))):
        trained = {n for n, p in student.network.named_parameters() if p.requires_grad}
    assert len(trained) == 6 * 2 * 2
    assert {n.split(".")[-4] for n in trained} == {"q_proj", "v_proj"}


@pytest.mark.parametrize("way", ["elementwise", "blocks"])
def test_checkpointing_gives_the_same_gradients(way: Any, nano_llama: Path) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    with adapted(student.network, LoraConfig(rank=4)):
        learned(student.network)
        plain, again = gradients(student), gradients(student, checkpointing=way)
    for name, gradient in plain.items():
        if gradient is None:
            assert again[name] is None
        else:
            torch.testing.assert_close(again[name], gradient)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_layers_that_keep_their_weights_transposed_are_merged_right() -> None:
    torch.manual_seed(0)
    settings = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
    network = GPT2LMHeadModel(settings).eval()
    with torch.no_grad():
        with adapted(network, LoraConfig(rank=2)):
            learned(network)
            before = network(input_ids=IDS).logits
        torch.testing.assert_close(network(input_ids=IDS).logits, before, rtol=1e-5, atol=1e-5)


def test_a_name_that_no_layer_has_is_refused(nano_neox: Path) -> None:
    student = load(str(nano_neox), precision="fp32", trainable=True)
    known = "dense, dense_4h_to_h, dense_h_to_4h, query_key_value"
    with (
        pytest.raises(PotstillError, match=rf"targets is q_proj, but .* blocks are {known}"),
        adapted(student.network, LoraConfig(targets=("q_proj",))),
    ):
        pass


def test_freezing_every_block_is_refused(nano_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"train.frozen_blocks is 6, but .* has 6 blocks"):
        run(nano_llama, tmp_path, config(frozen_blocks=6))


def test_without_peft_the_way_out_is_named(
    nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    student = load(str(nano_llama), precision="fp32", trainable=True)
    with (
        pytest.raises(PotstillError, match=r'pip install "potstill\[lora\]"'),
        adapted(student.network, LoraConfig()),
    ):
        pass


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_of_adapters_are_counted_before_there_are_any(
    family: str, nano_model: Any
) -> None:
    network = load(str(nano_model(family)), precision="fp32").network
    settings = LoraConfig(rank=4)
    counted = adapter_weights(network, settings, frozen_blocks=1)
    with adapted(network, settings, frozen_blocks=1):
        assert counted == sum(p.numel() for p in network.parameters() if p.requires_grad)
