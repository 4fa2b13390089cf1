"""The training loop on a nano model: exact under any cut, resumable, and it learns to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from potstill.errors import PotstillError
from potstill.losses.targets import DenseTargets
from potstill.models.load import blocks_of, head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.train import compute as compute_module
from potstill.train import step_loss as step_loss_module
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.compute import ComputeBody
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.train.result import TrainResult
from training_inputs import ORDER, Scored, examples_of


def config(**values: Any) -> TrainConfig:
    plain = {"learning_rate": 1e-3, "batch_tokens": 64, "micro_batch_tokens": 64, "epochs": 2}
    return TrainConfig(**{**plain, **values})


def run(
    path: Path, folder: Path, settings: TrainConfig, **options: Any
) -> tuple[TrainResult, list[dict[str, Any]], LoadedModel]:
    student = load(str(path), precision="fp32", trainable=True)
    teacher = load(str(path), precision="fp32")
    # A student that differs from its teacher has something to learn.
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in student.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    logged: list[dict[str, Any]] = []
    result = train(
        student,
        options.pop("examples", None) or examples_of(student),
        config=settings,
        seed=0,
        order=ORDER,
        targets=Scored(teacher),
        checkpoints=folder,
        validate=options.pop("validate", None),
        log=options.pop("log", logged.append),
        progress=Silent(),
    )
    return result, logged, student


def losses(logged: Sequence[dict[str, Any]]) -> list[float]:
    return [entry["loss"] for entry in logged]


def test_training_lowers_the_loss(nano_llama: Path, tmp_path: Path) -> None:
    result, logged, _ = run(nano_llama, tmp_path, config(epochs=8))
    assert result.steps == len(logged)
    assert sum(losses(logged)[-4:]) < 0.7 * sum(losses(logged)[:4])


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_cutting_a_step_differently_changes_nothing(
    family: str, nano_model: Any, tmp_path: Path
) -> None:
    whole = run(nano_model(family), tmp_path / "a", config(micro_batch_tokens=4096, epochs=1))
    cut = run(nano_model(family), tmp_path / "b", config(micro_batch_tokens=1, epochs=1))
    assert losses(whole[1]) == pytest.approx(losses(cut[1]), rel=1e-3, abs=1e-5)
    for entry, other in zip(whole[1], cut[1], strict=True):
        assert entry["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-3)


@pytest.mark.parametrize("frozen", [0, 2])
def test_packing_rows_changes_nothing(frozen: int, nano_gemma: Path, tmp_path: Path) -> None:
    settings = config(epochs=1, frozen_blocks=frozen)
    buckets = run(nano_gemma, tmp_path / "a", settings)
    rows = settings.model_copy(update={"packing": "packed", "micro_batch_tokens": 30})
    packed = run(nano_gemma, tmp_path / "b", rows)
    assert losses(packed[1]) == pytest.approx(losses(buckets[1]), rel=1e-3, abs=1e-5)
    for entry, other in zip(buckets[1], packed[1], strict=True):
        assert entry["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-3)


def test_what_has_no_distribution_is_taught_by_cross_entropy_beside_what_has_one(
    nano_llama: Path, tmp_path: Path
) -> None:
    """In one step the two kinds add up as if each were trained for itself."""
    examples = examples_of(load(str(nano_llama), precision="fp32"))
    half = [replace(e, by_text=i % 2 == 0) for i, e in enumerate(examples)]
    settings = config(epochs=1, batch_tokens=10_000)

    def first(kind: str, chosen: list[TrainingExample], **more: Any) -> tuple[float, int]:
        _, logged, _ = run(
            nano_llama, tmp_path / kind, settings.model_copy(update=more), examples=chosen
        )
        return logged[0]["loss"], sum(len(e.response_ids) for e in chosen)

    mixed, tokens = first("mixed", half)
    by_text, n = first("text", [e for e in half if e.by_text])
    plain = [replace(e, by_text=False) for e in half if e.by_text]
    certain, _ = first("certain", plain, cross_entropy=1.0)
    learnt, m = first("learnt", [e for e in half if not e.by_text])
    assert by_text == pytest.approx(certain, rel=1e-5)
    assert n + m == tokens
    assert mixed == pytest.approx((n * by_text + m * learnt) / tokens, rel=1e-5)
    assert abs(by_text - learnt) > 0.1


def test_a_resumed_run_repeats_the_uninterrupted_one_exactly(
    nano_llama: Path, tmp_path: Path
) -> None:
    settings = config(checkpoint_every=2)
    _, uninterrupted, expected = run(nano_llama, tmp_path / "a", settings)
    before: list[dict[str, Any]] = []

    def stop(entry: dict[str, Any]) -> None:
        before.append(entry)
        if entry["step"] == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(nano_llama, tmp_path / "b", settings, log=stop)
    assert [p.name for p in stored_checkpoints(tmp_path / "b")] == [
        "step-00000002",
        "step-00000004",
    ]
    result, after, resumed = run(nano_llama, tmp_path / "b", settings)
    assert after[0]["step"] == 5
    assert losses(before)[:4] + losses(after) == losses(uninterrupted)
    assert result.steps == len(uninterrupted)
    for one, other in zip(expected.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("family", ["llama", "neox"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_blocks_stay_and_the_others_get_the_same_gradient(
    family: str, precision: str, nano_model: Any, tmp_path: Path
) -> None:
    """Llama ties its embedding to the head, which goes on learning; NeoX does not."""
    student = load(str(nano_model(family)), precision=precision, trainable=True)
    gradients = []
    for frozen in (0, 2):
        body = ComputeBody(student.network, student.compute_dtype, 8, frozen)
        hidden = body.hidden(torch.arange(5, 13)[None])
        logits = hidden.float() @ head_of(student).weight_VD.T
        logits.square().mean().backward()
        body.collect_gradients()
        gradients.append({n: p.grad for n, p in student.network.named_parameters()})
        student.network.zero_grad(set_to_none=True)
    whole, cut = gradients
    blocks = len(blocks_of(student.network))
    inner = {n for n in whole if any(f".{i}." in n for i in range(blocks))}
    early = {n for n in inner if ".0." in n or ".1." in n}
    embedding = student.network.get_input_embeddings().weight
    tied = embedding is head_of(student).weight_VD
    for name in whole:
        if name in early:
            assert cut[name] is None
        elif name in inner:
            assert torch.equal(whole[name], cut[name])
    named = dict(student.network.named_parameters())
    (embedded,) = [n for n, p in named.items() if p is embedding]
    assert (cut[embedded] is not None) == tied


def test_no_gradient_crosses_the_frozen_blocks_to_learned_positions() -> None:
    torch.manual_seed(0)
    network = GPT2LMHeadModel(
        GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=40, n_positions=16)
    )
    body = ComputeBody(network, torch.float32, 8, 1)
    hidden = body.hidden(torch.arange(8)[None])
    (hidden @ network.lm_head.weight.T).square().mean().backward()
    assert network.transformer.wpe.weight.grad is None
    assert all(p.grad is None for p in network.transformer.h[0].parameters())
    assert network.transformer.h[1].mlp.c_fc.weight.grad is not None
    assert network.lm_head.weight.grad is not None


def test_a_frozen_run_moves_only_what_is_not_frozen(nano_llama: Path, tmp_path: Path) -> None:
    before = load(str(nano_llama), precision="fp32", trainable=True)
    result, logged, student = run(nano_llama, tmp_path, config(frozen_blocks=4, epochs=6))
    plain = dict(before.network.named_parameters())
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.network.named_parameters():
        start = plain[name] + 0.02 * torch.randn(parameter.shape, generator=generator)
        frozen = any(f"layers.{i}." in name for i in range(4))
        assert torch.equal(parameter, start) == frozen, name
    assert result.steps == len(logged)
    assert sum(losses(logged)[-4:]) < sum(losses(logged)[:4])


def test_freezing_every_block_is_refused(nano_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"train.frozen_blocks is 6, but .* has 6 blocks"):
        run(nano_llama, tmp_path, config(frozen_blocks=6))


def test_ctrl_c_saves_and_goes_on(nano_llama: Path, tmp_path: Path) -> None:
    def interrupt(entry: dict[str, Any]) -> None:
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(nano_llama, tmp_path, config(), log=interrupt)
    assert [p.name for p in stored_checkpoints(tmp_path)] == ["step-00000003"]
    _, logged, _ = run(nano_llama, tmp_path, config())
    assert logged[0]["step"] == 4


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = step_loss_module.distillation_loss
    calls = 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        loss, sums = plain(*args, **kwargs)
        return (loss * float("nan") if calls > 6 else loss), sums

    monkeypatch.setattr(step_loss_module, "distillation_loss", broken)
    with pytest.raises(PotstillError, match=r"at step \d+; checkpoint step-\d+ is kept"):
        run(nano_llama, tmp_path, config(checkpoint_every=1, micro_batch_tokens=4096))
    assert stored_checkpoints(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "position.json"])
def test_a_damaged_checkpoint_is_named(name: str, nano_llama: Path, tmp_path: Path) -> None:
    run(nano_llama, tmp_path, config(checkpoint_every=2))
    last = stored_checkpoints(tmp_path)[-1]
    (last / name).write_bytes(b"no")
    with pytest.raises(PotstillError, match=f"{last.name} is damaged or cut off"):
        run(nano_llama, tmp_path, config(checkpoint_every=2))


def test_a_checkpoint_of_other_data_is_refused(nano_llama: Path, tmp_path: Path) -> None:
    run(nano_llama, tmp_path, config(checkpoint_every=2))
    model = load(str(nano_llama), precision="fp32")
    with pytest.raises(PotstillError, match="other training data"):
        run(nano_llama, tmp_path, config(), examples=examples_of(model, 20))


def test_where_padding_is_the_end_of_sequence_the_student_still_learns_to_stop(
    nano_llama: Path, tmp_path: Path
) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    eos = student.eos_ids[0]
    student.tokenizer.pad_token_id = eos
    examples = [TrainingExample(f"e{i}", (7, 8, 9 + i), (20, 21, eos)) for i in range(16)]
    train(
        student,
        examples,
        config=config(epochs=20, learning_rate=3e-3, cross_entropy=1.0),
        seed=0,
        order=ORDER,
        targets=None,
        checkpoints=tmp_path,
        validate=None,
        log=lambda entry: None,
        progress=Silent(),
    )
    (hidden_RD,) = response_hidden(student, [((7, 8, 9), (20, 21, eos))])
    assert int(head_of(student).logits(hidden_RD[-1:]).argmax()) == eos


def test_validation_is_logged_and_leaves_training_mode(nano_llama: Path, tmp_path: Path) -> None:
    modes: list[bool] = []

    def measure(model: LoadedModel) -> dict[str, float]:
        modes.append(model.network.training)
        return {"kl": 0.5, "agreement": 0.9}

    _, logged, _ = run(nano_llama, tmp_path, config(validate_every=3), validate=measure)
    # Before the first step, on the way, and at the end.
    assert [e["step"] for e in logged if "kl" in e] == [0, 3, 6, 8]
    assert logged[0] == {"step": 0, "kl": 0.5, "agreement": 0.9}
    assert modes
    assert not any(modes)


def test_a_failing_target_source_is_not_swallowed(nano_llama: Path, tmp_path: Path) -> None:
    class Failing:
        def targets(self, examples: Sequence[TrainingExample]) -> DenseTargets:
            raise OSError("the disk is gone")

    student = load(str(nano_llama), precision="fp32", trainable=True)
    with pytest.raises(OSError, match="the disk is gone"):
        train(
            student,
            examples_of(student),
            config=config(),
            seed=0,
            order=ORDER,
            targets=Failing(),
            checkpoints=tmp_path,
            validate=None,
            log=lambda entry: None,
            progress=Silent(),
        )


def test_bf16_training_stays_close_to_fp32(nano_llama: Path, tmp_path: Path) -> None:
    _, exact, _ = run(nano_llama, tmp_path / "a", config())
    student = load(str(nano_llama), precision="bf16", trainable=True)
    teacher = load(str(nano_llama), precision="fp32")
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in student.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    logged: list[dict[str, Any]] = []
    train(
        student,
        examples_of(student),
        config=config(),
        seed=0,
        order=ORDER,
        targets=Scored(teacher),
        checkpoints=tmp_path / "b",
        validate=None,
        log=logged.append,
        progress=Silent(),
    )
    assert next(student.network.parameters()).dtype == torch.float32
    assert losses(logged)[-1] == pytest.approx(losses(exact)[-1], rel=0.1, abs=0.01)


@pytest.mark.parametrize(
    ("compile_", "device", "steps", "expected"),
    [
        ("always", "cpu", 1, True),
        ("never", "cuda", 10_000, False),
        ("auto", "cpu", 10_000, False),
        ("auto", "cuda", 10, False),
        ("auto", "cuda", 10_000, True),
    ],
)
def test_it_compiles_where_that_pays(
    compile_: str, device: str, steps: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_module, "find_spec", lambda name: object())
    settings = config(compile=compile_)
    assert compute_module.pays_to_compile(settings, torch.device(device), steps) is expected
