"""A narrowed student computes what the whole one does with the removed parts silenced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shrink_text import error, text
from torch import nn
from transformers import AutoModelForCausalLM

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, load, save
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.shrink.blocks import drop_blocks
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.importance import rank
from potstill.shrink.making import pruned
from potstill.shrink.streams import TeacherStream, calibration_batches
from potstill.shrink.width import attentions, feed_forwards, narrow, possible_kv_heads

FAMILIES = ["llama", "qwen3", "gemma", "neox"]
GROUPED = ["llama", "qwen3", "gemma"]
IDS = torch.randint(5, 250, (2, 30), generator=torch.Generator().manual_seed(0))


def some(network: Any, width: int, kept: int) -> tuple[tuple[int, ...], ...]:
    """Return `kept` of `width` for each block, other ones in each."""
    generator = torch.Generator().manual_seed(1)
    return tuple(
        tuple(sorted(torch.randperm(width, generator=generator)[:kept].tolist()))
        for _ in blocks_of(network)
    )


def width_cut(model: LoadedModel, *, heads: bool) -> Cut:
    network = model.network
    return Cut(
        blocks=(1,),
        channels=some(network, feed_forwards(network)[0].channels, 100),
        kv_heads=some(network, attentions(network)[0].kv_heads, 1) if heads else None,
    )


def silenced(model: LoadedModel, cut: Cut) -> Any:
    """Return the teacher with hooks that set the removed inputs of its writers to zero."""
    network = load(str(model.directory), precision="fp32").network

    def silence(linear: nn.Linear, kept: list[int]) -> None:
        mask_F = torch.zeros(linear.in_features)
        mask_F[kept] = 1
        linear.register_forward_pre_hook(lambda module, args: (args[0] * mask_F,))

    for part, kept in zip(feed_forwards(network), cut.channels or (), strict=False):
        silence(part.writer, list(kept))
    for part, kept in zip(
        attentions(network) if cut.kv_heads else (), cut.kv_heads or (), strict=False
    ):
        width = part.group_width
        silence(part.writer, [k * width + i for k in kept for i in range(width)])
    block = blocks_of(network)[1]
    block.forward = lambda hidden, *args, **given: hidden
    return network


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrow_student_is_the_silenced_teacher_and_loads_as_an_ordinary_model(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    cut = width_cut(teacher, heads=family in GROUPED)
    student, _ = pruned(teacher, cut)
    save(student, tmp_path / "student")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    config = again.config.get_text_config()
    assert config.intermediate_size == 100
    if family in GROUPED:
        assert (config.num_attention_heads, config.num_key_value_heads) == (2, 1)
        assert config.head_dim == 16
    with torch.inference_mode():
        expected = silenced(teacher, cut)(IDS, use_cache=False).logits
        mine = student.network(IDS).logits
        assert torch.allclose(mine, expected, atol=1e-4)
        assert torch.allclose(again(IDS).logits, mine, atol=1e-5)
        longer = again.generate(IDS[:1], max_new_tokens=5, do_sample=False)
        plain = again.generate(IDS[:1], max_new_tokens=5, do_sample=False, use_cache=False)
    assert torch.equal(longer, plain)


@pytest.mark.parametrize(
    ("family", "axis"),
    [(family, "channels") for family in FAMILIES] + [(family, "heads") for family in GROUPED],
)
def test_healing_wins_back_part_of_the_width_on_other_text(
    family: str, axis: str, nano_model: Callable[[str], Path]
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    rows = text(teacher)
    batches = calibration_batches(teacher, rows[:-6])
    ranking = rank(
        teacher,
        batches,
        channels=axis == "channels",
        heads=axis == "heads",
        ridge=0.1,
        progress=Silent(),
    )
    if axis == "channels":
        cut = Cut(channels=ranking.kept_channels(100))
    else:
        cut = Cut(kv_heads=ranking.kept_kv_heads(1))
    student, _ = pruned(teacher, cut)
    plain = error(teacher, student, rows[-6:])
    refitted = heal(teacher, student, cut, batches, ridge=0.1, cascade=True)
    assert refitted == list(range(len(blocks_of(teacher.network))))
    assert error(teacher, student, rows[-6:]) < plain


def test_healing_a_width_with_a_kept_stream_is_the_same(nano_gemma: Path) -> None:
    teacher = load(str(nano_gemma), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 6))
    cut = Cut((2,), channels=some(teacher.network, 160, 80), kv_heads=some(teacher.network, 2, 1))
    stream = TeacherStream(teacher, batches, keep=True)
    weights = []
    for shared in (stream, stream, None):
        student, _ = pruned(teacher, cut)
        heal(teacher, student, cut, batches, ridge=0.3, cascade=True, stream=shared)
        weights.append(torch.cat([p.detach().flatten() for p in student.network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[0], weights[2], atol=1e-6)


def test_fused_heads_are_refused(nano_neox: Path) -> None:
    network = load(str(nano_neox), precision="fp32").network
    with pytest.raises(PotstillError, match="cannot cut attention heads of GPTNeoXForCausalLM"):
        narrow(network, None, ((0,),) * 4)


def test_blocks_of_different_widths_are_refused(nano_llama: Path) -> None:
    network = load(str(nano_llama), precision="fp32", trainable=True).network
    narrow(network, ((0, 1),) * 6, None)
    block = blocks_of(network)[0]
    block.mlp.down_proj = nn.Linear(3, 64)
    with pytest.raises(PotstillError, match="no plain feed-forward parts of one width"):
        feed_forwards(network)


class _Normed(nn.Module):
    """A feed-forward part with a norm over its channels, which a slice would change."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.up_proj, self.gate_proj, self.down_proj = old.up_proj, old.gate_proj, old.down_proj

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        inner = self.gate_proj(hidden) * self.up_proj(hidden)
        return self.down_proj(inner / inner.norm(dim=-1, keepdim=True))


def test_what_would_compute_something_else_is_refused(nano_llama: Path) -> None:
    network = load(str(nano_llama), precision="fp32", trainable=True).network
    for block in blocks_of(network):
        block.mlp = _Normed(block.mlp)
    with pytest.raises(PotstillError, match="would compute something else"):
        narrow(network, some(network, 160, 40), None)


def test_a_norm_over_the_channels_is_refused(nano_llama: Path) -> None:
    network = load(str(nano_llama), precision="fp32", trainable=True).network
    for block in blocks_of(network):
        block.mlp.act_fn = nn.Sequential(nn.SiLU(), nn.LayerNorm(160))
    with pytest.raises(PotstillError, match="would compute something else"):
        narrow(network, some(network, 160, 40), None)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 160), st.integers(0, 1), st.integers(0, 5), st.integers(0, 1000))
def test_blocks_channels_and_heads_go_independently_of_one_another(
    nano_llama: Path, channels: int, head: int, dropped: int, seed: int
) -> None:
    """The same student comes of the widths first and of the blocks first."""
    generator = torch.Generator().manual_seed(seed)
    kept = tuple(
        tuple(sorted(torch.randperm(160, generator=generator)[:channels].tolist()))
        for _ in range(6)
    )
    cut = Cut((dropped,), None, kept, ((head,),) * 6)
    teacher = load(str(nano_llama), precision="fp32")
    student, _ = pruned(teacher, cut)
    other = load(str(nano_llama), precision="fp32", trainable=True).network
    drop_blocks(other, [dropped])
    left = cut.kept_blocks(6)
    narrow(other, tuple(kept[i] for i in left), ((head,),) * 5)
    with torch.inference_mode():
        assert torch.allclose(student.network(IDS).logits, other(IDS).logits, atol=1e-5)


def test_blocks_that_the_config_cannot_tell_apart_are_refused(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    # A wider feed-forward part in one block, of which the config says nothing.
    network = teacher.network
    mlp = blocks_of(network)[0].mlp
    mlp.gate_proj, mlp.up_proj = nn.Linear(64, 9, bias=False), nn.Linear(64, 9, bias=False)
    mlp.down_proj = nn.Linear(9, 64, bias=False)
    with pytest.raises(PotstillError, match="cannot drop blocks of LlamaForCausalLM"):
        pruned(replace(teacher, directory=None), Cut((1,)))


def test_numbers_of_heads_that_the_config_forbids_are_refused(nano_llama: Path) -> None:
    network = load(str(nano_llama), precision="fp32", trainable=True).network
    assert possible_kv_heads(network) == [1]
    config = network.config
    config.hidden_size = 3  # two query heads no longer divide it
    assert possible_kv_heads(network) == []
    with pytest.raises(PotstillError, match=r"shrink.kv_heads is 1, but .* none fewer"):
        narrow(network, None, ((0,),) * 6)


@pytest.mark.parametrize("kept", [((0, 0),) * 6, ((0, 200),) * 6, ((0,),) * 5, ((),) * 6])
def test_channels_that_do_not_exist_are_refused(kept: Any, nano_llama: Path) -> None:
    network = load(str(nano_llama), precision="fp32").network
    with pytest.raises(PotstillError, match="must leave from 1 to 160"):
        narrow(network, kept, None)
