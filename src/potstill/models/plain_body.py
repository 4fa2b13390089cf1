"""The blocks of llama-like decoders, without what transformers does around each of them.

Norms, rotary angles and activations stay the network's own modules. What is done here is what takes
time when one token of many rows is read: products, rotation, and attention, which is the caller's.
Whether a network is built like this, its own forward says (`row_engines.py` compares the two):
names alone do not tell a scaled residual stream from a plain one. Maps are not made one (q|k|v,
gate|up), which would take all weights twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from potstill.models.int8 import Int8Linear
from potstill.models.load import body_of
from potstill.models.products import Product, product_for

_LINEAR = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_ATTENTION = (*(f"{name}_proj" for name in "qkvo"), "q_norm", "k_norm")
_NORMS = ("input_layernorm", "post_attention_layernorm")
_MORE_NORMS = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
_SCALES_QUERIES = {"llama_4_scaling_beta"}
_KINDS = ("full_attention", "sliding_attention")


class Attend(Protocol):
    """Keeps the keys and values of one block's new tokens, and reads what is there."""

    def __call__(
        self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, /
    ) -> Tensor:
        """Return context_NE, the heads' outputs side by side; queries come scaled."""
        ...


@dataclass(frozen=True)
class _Block:
    """One block's modules; the two norms behind its parts are None where it has none."""

    attention: Any
    mlp: Any
    before_attention: nn.Module
    behind_attention: nn.Module | None
    before_mlp: nn.Module
    behind_mlp: nn.Module | None


@dataclass(frozen=True)
class PlainBody:
    """A network's blocks as they are read here; `windows` is each block's window, None for all.

    Texts have their first token at position `first`.
    """

    body: Any
    blocks: tuple[_Block, ...]
    windows: tuple[int | None, ...]
    kinds: tuple[str, ...]
    kv_heads: int
    head_dim: int
    multiply: Product
    first: int = 0

    @classmethod
    def of(cls, network: Any) -> PlainBody | None:
        """Return a network's body, None where it has other parts than these."""
        body, config = body_of(network), network.config.get_text_config()
        layers = list(getattr(body, "layers", ()))
        blocks = [_block(layer) for layer in layers]
        kinds = tuple(getattr(config, "layer_types", None) or [_only_kind(config)] * len(layers))
        has_parts = all(hasattr(body, name) for name in ("embed_tokens", "norm", "rotary_emb"))
        if not layers or not has_parts or not set(kinds) <= set(_KINDS) or len(kinds) < len(layers):
            return None
        found = [block for block in blocks if block is not None]
        if len(found) < len(blocks) or getattr(config, "clip_qkv", None) is not None:
            return None
        attention = found[0].attention
        head_dim = int(attention.head_dim)
        embedded = next(body.embed_tokens.parameters())
        window = getattr(config, "sliding_window", None)
        return cls(
            body=body,
            blocks=tuple(found),
            windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
            kinds=kinds[: len(layers)],
            kv_heads=attention.k_proj.out_features // head_dim,
            head_dim=head_dim,
            multiply=product_for(embedded.device, embedded.dtype),
        )

    def read(self, ids_N: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Return final hidden states hidden_ND of tokens at their places, after the last norm.

        The tokens may belong to any rows: `attend` alone knows.
        """
        hidden_ND = self.body.embed_tokens(ids_N)
        turns = self._turns(hidden_ND, positions_N + self.first)
        for layer, block in enumerate(self.blocks):
            normed_ND = block.before_attention(hidden_ND)
            written_ND = self._attention(layer, block, normed_ND, turns[self.kinds[layer]], attend)
            if block.behind_attention is not None:
                written_ND = block.behind_attention(written_ND)
            hidden_ND = hidden_ND + written_ND
            written_ND = self._mlp(block, block.before_mlp(hidden_ND))
            if block.behind_mlp is not None:
                written_ND = block.behind_mlp(written_ND)
            hidden_ND = hidden_ND + written_ND
        final_ND: Tensor = self.body.norm(hidden_ND)
        return final_ND

    def _attention(
        self,
        layer: int,
        block: _Block,
        normed_ND: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Attend,
    ) -> Tensor:
        module = block.attention
        count = len(normed_ND)
        query, key, value = (
            self._linear(part, normed_ND).view(count, -1, self.head_dim)
            for part in (module.q_proj, module.k_proj, module.v_proj)
        )
        if getattr(module, "q_norm", None) is not None:
            query, key = module.q_norm(query), module.k_norm(key)
        query = _turned(query, *turn).mul_(module.scaling)
        context_NE = attend(layer, query, _turned(key, *turn), value)
        return self._linear(module.o_proj, context_NE)

    def _mlp(self, block: _Block, normed_ND: Tensor) -> Tensor:
        mlp = block.mlp
        gate_NF = mlp.act_fn(self._linear(mlp.gate_proj, normed_ND))
        return self._linear(mlp.down_proj, gate_NF.mul_(self._linear(mlp.up_proj, normed_ND)))

    def _linear(self, module: nn.Linear | Int8Linear, x_NI: Tensor) -> Tensor:
        if isinstance(module, Int8Linear):
            output_NO: Tensor = module(x_NI)
            return output_NO
        return self.multiply(x_NI, module.weight, module.bias)

    def _turns(self, hidden_ND: Tensor, positions_N: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return (cos_N1D, sin_N1D) of each kind of attention that there is."""
        turns = {}
        for kind in set(self.kinds):
            which = (kind,) if _turns_by_kind(self.body.rotary_emb) else ()
            cos_1ND, sin_1ND = self.body.rotary_emb(hidden_ND[None], positions_N[None], *which)
            turns[kind] = (cos_1ND[0][:, None], sin_1ND[0][:, None])
        return turns


def _turned(x_NHD: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
    """Return queries or keys rotated by their positions (Su et al. 2021, halves as in GPT-NeoX)."""
    half = x_NHD.shape[-1] // 2
    first, second = x_NHD[..., :half], x_NHD[..., half:]
    turned_NHD = x_NHD * cos_N1D
    turned_NHD[..., :half].addcmul_(second, sin_N1D[..., :half], value=-1)
    turned_NHD[..., half:].addcmul_(first, sin_N1D[..., half:])
    return turned_NHD


def _turns_by_kind(rotary: Any) -> bool:
    parameters: Callable[..., Any] = type(rotary).forward
    wrapped = getattr(parameters, "__wrapped__", parameters)
    return "layer_type" in wrapped.__code__.co_varnames


def _only_kind(config: Any) -> str:
    """Return the kind of a network whose blocks are all alike; Mistral's may all have a window."""
    return _KINDS[0 if getattr(config, "sliding_window", None) is None else 1]


def _block(layer: nn.Module) -> _Block | None:
    """Return a block's parts, None where it has others, or some that are not plain."""
    known = (*_NORMS, *_MORE_NORMS, "self_attn", "mlp")
    if any(name not in known and list(m.parameters()) for name, m in layer.named_children()):
        return None
    attention: Any = getattr(layer, "self_attn", None)
    mlp = getattr(layer, "mlp", None)
    norms = [getattr(layer, name, None) for name in (*_NORMS, *_MORE_NORMS)]
    linear = [_at(layer, name) for name in _LINEAR]
    if norms[0] is None or norms[1] is None or not all(map(_is_plain, linear)):
        return None
    needed = (getattr(attention, "scaling", None), getattr(attention, "head_dim", None))
    if None in needed or not hasattr(mlp, "act_fn") or (norms[2] is None) != (norms[3] is None):
        return None
    if getattr(attention, "attn_logit_softcapping", None) is not None:
        return None
    # Sinks, gates and the like: parameters that nothing here would read.
    if any(name.split(".")[0] not in _ATTENTION for name, _ in attention.named_parameters()):
        return None
    # Queries that are scaled from a position on: what differs may drown in the rounding of bf16.
    rotary = getattr(getattr(attention, "config", None), "rope_parameters", None) or {}
    if _SCALES_QUERIES & set(rotary):
        return None
    if norms[2] is None:
        return _Block(attention, mlp, norms[0], None, norms[1], None)
    return _Block(attention, mlp, norms[0], norms[1], norms[2], norms[3])


def _is_plain(module: Any) -> bool:
    """Tell whether a module is a linear map and nothing else: no adapter, no sharded weight."""
    return (
        (type(module) is Int8Linear or _holds_plainly(module))
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


def _holds_plainly(module: Any) -> bool:
    return type(module) is nn.Linear and type(module.weight) in (nn.Parameter, Tensor)


def _at(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module
