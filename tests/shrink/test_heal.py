"""Dropping blocks leaves an ordinary model; healing is the regression it says it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nano_deep import build_deep
from shrink_text import error, text
from transformers import AutoModelForCausalLM

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, load, save
from potstill.models.loaded import LoadedModel
from potstill.models.parts import writer_of
from potstill.models.score import hidden_states
from potstill.progress import Silent
from potstill.shrink import heal as module
from potstill.shrink.blocks import drop_blocks
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.influence import block_influence
from potstill.shrink.ridge import NormalEquations, chosen_ridge
from potstill.shrink.search import search_blocks
from potstill.shrink.streams import TeacherStream, calibration_batches

FAMILIES = ["llama", "qwen3", "gemma", "neox"]


def without(path: Path, dropped: list[int]) -> tuple[LoadedModel, list[int]]:
    student = load(str(path), precision="fp32", trainable=True)
    count = len(blocks_of(student.network))
    drop_blocks(student.network, dropped)
    return student, [i for i in range(count) if i not in dropped]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_without_a_block_loads_as_an_ordinary_model(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    student, kept = without(nano_model(family), [1])
    save(student, tmp_path / "student")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    assert again.config.num_hidden_layers == len(kept)
    types = getattr(again.config, "layer_types", None)
    assert types is None or len(types) == len(kept)
    numbers = [
        m.layer_idx
        for b in blocks_of(student.network)
        for m in b.modules()
        if hasattr(m, "layer_idx")
    ]
    assert sorted(set(numbers)) == list(range(len(kept)))
    ids = torch.randint(5, 250, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(again(ids).logits, student.network(ids).logits, atol=1e-5)
        # With a cache too: blocks that kept their old numbers would read each other's keys.
        longer = again.generate(ids[:1], max_new_tokens=5, do_sample=False)
        plain = again.generate(ids[:1], max_new_tokens=5, do_sample=False, use_cache=False)
    assert torch.equal(longer, plain)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 8), st.integers(1, 5))
def test_the_correction_is_ridge_regression(
    seed: int, tokens: int, features: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    x, r = rng.normal(size=(tokens, features)), rng.normal(size=(tokens, outputs))
    sums = NormalEquations.empty(features, outputs, torch.device("cpu"))
    half = tokens // 2
    for part in (slice(0, half), slice(half, tokens)):
        sums.add(torch.tensor(x[part]), torch.tensor(r[part]))
    gram = x.T @ x
    pull = 0.3 * np.diag(gram).mean()
    expected = (np.linalg.inv(gram + pull * np.eye(features)) @ x.T @ r).T
    assert np.allclose(sums.correction(0.3).numpy(), expected, atol=1e-3)
    assert sums.tokens == tokens


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cascade", [False, True])
def test_healing_brings_the_student_closer_on_other_text(
    family: str, cascade: bool, nano_model: Callable[[str], Path]
) -> None:
    path = nano_model(family)
    teacher = load(str(path), precision="fp32")
    rows = text(teacher)
    student, kept = without(path, [1])
    plain = error(teacher, student, rows[-6:])
    batches = calibration_batches(teacher, rows[:-6])
    refitted = heal(teacher, student, Cut((1,)), batches, ridge=0.1, cascade=cascade)
    assert refitted == ([0] if not cascade else kept)
    assert error(teacher, student, rows[-6:]) < plain


@pytest.mark.parametrize("family", FAMILIES)
def test_what_healing_passes_on_is_what_the_student_computes(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    rows = text(teacher, 8)
    batches = calibration_batches(teacher, rows)
    stream = TeacherStream(teacher, batches)
    after = stream.at(len(blocks_of(teacher.network)))
    for batch, states in zip(batches, after, strict=True):
        for row, (state, real) in enumerate(zip(states, batch.real_BT, strict=True)):
            length = int(real.sum())
            match = [r for r in rows if len(r) == length]
            norm = [m for n, m in teacher.network.base_model.named_children() if "norm" in n][-1]
            with torch.inference_mode():
                mine = norm(state[:length])
            theirs = [hidden_states(teacher, [r])[0] for r in match]
            assert any(torch.allclose(mine, t, atol=1e-3) for t in theirs), row


def test_where_nothing_was_dropped_nothing_changes(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    student, _ = without(nano_llama, [])
    batches = calibration_batches(teacher, text(teacher, 6))
    assert heal(teacher, student, Cut(), batches, ridge=0.3, cascade=True) == []
    for one, other in zip(teacher.network.parameters(), student.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_block_that_writes_in_a_way_of_its_own_is_passed_over(nano_gemma: Path) -> None:
    teacher = load(str(nano_gemma), precision="fp32")
    student, _ = without(nano_gemma, [1])
    for block in [*blocks_of(teacher.network), *blocks_of(student.network)]:
        block.post_feedforward_layernorm = torch.nn.LayerNorm(64)
    before = {n: p.clone() for n, p in student.network.named_parameters()}
    assert writer_of(blocks_of(student.network)[0]) is not None
    batches = calibration_batches(teacher, text(teacher, 6))
    assert heal(teacher, student, Cut((1,)), batches, ridge=0.3, cascade=True) == []
    for name, parameter in student.network.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.fixture(scope="module")
def nano_olmo2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("olmo2")
    return build_deep("olmo2", folder / "olmo2", seed=0, steps=50, blocks=4)


@pytest.mark.parametrize("family", ["gemma", "neox", "olmo2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_and_parallel_parts_are_healed_far_and_load_as_an_ordinary_model(
    family: str,
    dtype: torch.dtype,
    nano_model: Callable[[str], Path],
    nano_olmo2: Path,
    tmp_path: Path,
) -> None:
    path = nano_olmo2 if family == "olmo2" else nano_model(family)
    teacher = load(str(path), precision="fp32")
    rows = text(teacher, 48)
    student, _ = without(path, [1])
    student = replace(student, compute_dtype=dtype)
    plain = error(teacher, student, rows[-6:])
    batches = calibration_batches(teacher, rows[:-6])
    heal(teacher, student, Cut((1,)), batches, ridge=0.1, cascade=True)
    assert error(teacher, student, rows[-6:]) < 0.5 * plain
    save(student, tmp_path / "student")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    ids = torch.randint(5, 250, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(again(ids).logits, student.network(ids).logits, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_states_after_a_refit_are_what_the_block_then_gives(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    student, _ = without(nano_model(family), [1])
    batches = calibration_batches(teacher, text(teacher, 10))
    stream = TeacherStream(teacher, batches, keep=True)
    block, states = blocks_of(student.network)[0], stream.at(0)
    with torch.no_grad():
        writing = module._writing(block, states, batches, 0)
        assert writing is not None
        told = module._refit(block, writing, states, stream.at(2), batches, 0, 0.1)
        ran = module._advanced(block, states, batches, 0)
    for one, other, batch in zip(told, ran, batches, strict=True):
        assert torch.allclose(one[batch.real_BT], other[batch.real_BT], atol=1e-4)


def test_two_maps_and_a_bias_are_ridge_regression_with_a_pull_for_each_map() -> None:
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(60, 6)) * [1, 1, 1, 5, 5, 1], rng.normal(size=(60, 3)) + 2
    x[:, 5] = 1
    sums = NormalEquations.empty(6, 3, torch.device("cpu"))
    sums.add(torch.tensor(x), torch.tensor(r))
    energy = (x**2).sum(0)
    pull = 0.3 * np.repeat([energy[:3].mean(), energy[3:5].mean(), 0], [3, 2, 1])
    # The bias, which nothing pulls, is what is left on average.
    expected = np.linalg.solve(x.T @ x + np.diag(pull), x.T @ r).T
    found = sums.correction(0.3, [3, 2]).numpy()
    assert np.allclose(found, expected, atol=1e-4)
    assert np.allclose((r - x @ found.T).mean(0), 0, atol=1e-4)


def test_text_that_was_held_back_says_how_strong_the_pull_is_to_be() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(tokens: int, noise: float) -> NormalEquations:
        x_NF = torch.randn(tokens, 12, generator=generator)
        residual_ND = x_NF[:, :2] + noise * torch.randn(tokens, 2, generator=generator)
        sums = NormalEquations.empty(12, 2, torch.device("cpu"))
        sums.add(x_NF, residual_ND)
        return sums

    # Plenty of clear text wants next to no pull, a little noisy text all of it.
    assert chosen_ridge(drawn(500, 0.1), drawn(100, 0.1), 0.3) < 0.01
    assert chosen_ridge(drawn(14, 3.0), drawn(100, 3.0), 1.0) == 1.0
    assert chosen_ridge(drawn(14, 3.0), drawn(0, 3.0), 0.3) == 0.3


def test_blocks_that_do_not_exist_are_refused(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    with pytest.raises(PotstillError, match="from 0 to 5"):
        drop_blocks(model.network, [6])
    with pytest.raises(PotstillError, match="keep at least one"):
        drop_blocks(model.network, list(range(6)))


def test_lists_in_the_config_are_cut_only_where_they_are_by_layer(nano_gemma: Path) -> None:
    network = load(str(nano_gemma), precision="fp32", trainable=True).network
    network.config.eos_token_id = [1, 2, 3, 4]
    network.config.mlp_only_layers = [0, 1, 3]
    network.config.moe_layers = [0, 1, 2, 3]
    drop_blocks(network, [1])
    assert network.config.eos_token_id == [1, 2, 3, 4]
    assert network.config.mlp_only_layers == [0, 2]
    assert network.config.moe_layers == [0, 1, 2]
    sliding, full = "sliding_attention", "full_attention"
    assert network.config.layer_types == [sliding, full, sliding]


def test_the_search_keeps_what_is_least_after_healing(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 6))
    asked: list[tuple[int, ...]] = []

    def loss(blocks: tuple[int, ...]) -> float:
        asked.append(tuple(blocks))
        return sum(abs(b - 3) for b in blocks)

    chosen, trials = search_blocks(
        teacher, batches, 2, candidates=4, beam=1, healed_loss=loss, progress=Silent()
    )
    assert chosen == min((t for t in trials if len(t.blocks) == 2), key=lambda t: t.kl).blocks
    assert 3 in chosen
    assert [t.blocks for t in trials] == asked
    influence = block_influence(teacher, batches)
    first = sorted(range(1, 5), key=lambda b: influence[b])
    assert [t.blocks for t in trials[:4]] == [(b,) for b in first]


def test_a_beam_finds_what_greed_misses(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 6))
    losses = {(1,): 0.1, (2,): 0.2, (3,): 0.3, (4,): 0.3, (2, 3): 0.4}

    def loss(blocks: tuple[int, ...]) -> float:
        return losses.get(tuple(blocks), 1.0)

    found = {}
    for beam in (1, 2):
        found[beam], trials = search_blocks(
            teacher, batches, 2, candidates=4, beam=beam, healed_loss=loss, progress=Silent()
        )
        assert len({t.blocks for t in trials}) == len(trials)
    assert 1 in found[1]
    assert found[2] == (2, 3)


def test_one_stream_serves_many_trials(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 6))
    stream = TeacherStream(teacher, batches, keep=True)
    weights = []
    for shared in (stream, stream, None):
        student, _ = without(nano_llama, [2])
        heal(teacher, student, Cut((2,)), batches, ridge=0.3, cascade=True, stream=shared)
        weights.append(torch.cat([p.detach().flatten() for p in student.network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[0], weights[2], atol=1e-6)
    assert replace(teacher).identity == teacher.identity


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_before_the_first_gap_run_in_the_teacher_alone(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    directory = nano_model(family)
    teacher = load(str(directory), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 6))
    student, _ = without(directory, [2])
    runs: list[int] = []
    for number, block in enumerate(blocks_of(student.network)):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    heal(teacher, student, Cut((2,)), batches, ridge=0.3, cascade=False)
    assert 0 not in runs
    assert 1 in runs
