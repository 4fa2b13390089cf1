"""How a block writes to its residual stream is measured: plainly, times a number, after a norm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nano_deep import deep_network
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
    PhiConfig,
)

from potstill.models.load import blocks_of
from potstill.models.parts import attention_writer_of, weight_of, writer_of
from potstill.shrink.streams import calibration_batches
from potstill.shrink.writing import Writing, writing_of

SHAPE: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
IDS = SimpleNamespace(eos_token_id=0, pad_token_id=0, bos_token_id=0)


def network(family: str) -> Any:
    torch.manual_seed(0)
    if family in ("gemma2", "gemma3", "olmo2", "gpt_neox"):
        return deep_network(family, IDS, blocks=2).eval()
    made = {
        "llama": LlamaConfig,
        "granite": GraniteConfig,
        "phi": PhiConfig,
        "mixtral": MixtralConfig,
        "gpt2": GPT2Config,
    }[family]
    more: dict[str, Any] = {"residual_multiplier": 0.22} if family == "granite" else {}
    if family == "gpt2":
        more = {"n_positions": 64}
    if family == "mixtral":
        more = {"num_key_value_heads": SHAPE["num_attention_heads"]}
    return AutoModelForCausalLM.from_config(made(**SHAPE, **more)).eval()


def written(net: Any, number: int = 0) -> tuple[nn.Module, Writing | None]:
    model: Any = SimpleNamespace(network=net, device=torch.device("cpu"))
    (batch,) = calibration_batches(model, [list(range(5, 25))])
    block = blocks_of(net)[number]
    return block, writing_of(block, batch.hidden_BTD, batch.block_kwargs[number])


@pytest.mark.parametrize(
    ("family", "maps", "scale", "bias"),
    [
        ("llama", 1, 1.0, False),
        ("granite", 1, 0.22, False),
        ("gpt2", 1, 1.0, True),
        ("gpt_neox", 2, 1.0, True),
        ("phi", 2, 1.0, True),
    ],
)
def test_maps_without_a_norm_behind_them_are_told_from_one_another(
    family: str, maps: int, scale: float, bias: bool
) -> None:
    block, writing = written(network(family))
    assert writing is not None and writing.norm is None
    assert writing.maps == (attention_writer_of(block), writer_of(block))[2 - maps :]
    assert (writing.scale, writing.bias is not None) == (scale, bias)
    assert writing.widths == [weight_of(writer).shape[1] for writer in writing.maps]


@pytest.mark.parametrize(
    ("family", "offset", "eps"), [("gemma2", 1.0, 1e-6), ("gemma3", 1.0, 1e-6), ("olmo2", 0, 1e-5)]
)
def test_a_norm_behind_the_feed_forward_part_is_found_with_its_gain(
    family: str, offset: float, eps: float
) -> None:
    net = network(family)
    norm: Any = blocks_of(net)[1].post_feedforward_layernorm
    with torch.no_grad():
        norm.weight += 0.3 * torch.randn_like(norm.weight)
    block, writing = written(net, 1)
    assert writing is not None and writing.norm is not None
    assert writing.maps == (writer_of(block),) and writing.norm.module is norm
    assert (writing.norm.offset, writing.scale) == (offset, 1.0)
    assert writing.norm.eps == pytest.approx(eps, rel=0.01)
    output_ND = 1e-3 * torch.randn(5, norm.weight.numel())
    assert torch.allclose(writing.norm(output_ND), norm(output_ND), atol=1e-5)


def test_what_no_formula_describes_is_left_alone() -> None:
    assert written(network("mixtral"))[1] is None
    net = network("gemma3")
    block: Any = blocks_of(net)[0]
    # A norm that takes the mean away, too.
    block.post_feedforward_layernorm = nn.LayerNorm(64)
    assert written(net)[1] is None
    # A norm whose output is bent before it is added.
    block.post_feedforward_layernorm = nn.Sequential(nn.RMSNorm(64), nn.Tanh())
    assert written(net)[1] is None
