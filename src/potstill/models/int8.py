"""A model whose linear maps multiply bytes, for CPUs that do so fast (VNNI).

With q_w a weight in int8 (one scale an output), q_x what it reads in int8 (one scale a token), and
O the few channels that are left as they are,

    x W^T  is taken as  s_x s_w (q_x q_w^T) + x_O W_O^T

(Dettmers et al. 2022, LLM.int8(), arXiv 2208.07339, section 3.2: a few channels reach so far that
they would leave the others no steps.) There O is looked for in every batch; here it is read off
calibration text once, so that what a row is rounded to depends on no row beside it. Byte products
are added up in int32, which is exact.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.checked import first_words
from potstill.models.load import body_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import hidden_states

# Channels that stay as they are, at most; benchmarks/int8.py measures what others leave.
OUTLIERS = 64
_STEPS = 127
# Any of these multiplies bytes four at a time.
_FAST = ("avx512_vnni", "avx_vnni", "amx_int8")


class Int8Linear(nn.Module):
    """A linear map with its weight in int8, but for the columns of some channels."""

    def __init__(self, linear: nn.Linear, outliers_C: Tensor) -> None:
        super().__init__()
        weight_OK = linear.weight.detach().float().clone()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.outliers_C = outliers_C
        # In fp32 too where the model computes in bf16: they are few, and carry most.
        self.outlier_weight_CO = weight_OK[:, outliers_C].T.contiguous()
        weight_OK[:, outliers_C] = 0
        self.scale_O = weight_OK.abs().amax(1).clamp(min=1e-12) / _STEPS
        self.weight_OK = torch.round(weight_OK / self.scale_O[:, None]).to(torch.int8)
        self.bias_O = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, input: Tensor) -> Tensor:
        """Return the map of `input` [..., K] in its own dtype, as [..., O]."""
        rows_NK = input.reshape(-1, self.in_features).float()
        outlying_NC = rows_NK[:, self.outliers_C]
        plain_NK = rows_NK.index_fill(1, self.outliers_C, 0.0)
        scale_N1 = plain_NK.abs().amax(1, keepdim=True).clamp_(min=1e-12) / _STEPS
        bytes_NK = plain_NK.div_(scale_N1).round_().to(torch.int8)
        products_NO = torch._int_mm(bytes_NK, self.weight_OK.T)
        output_NO = products_NO.float().mul_(scale_N1).mul_(self.scale_O)
        output_NO.addmm_(outlying_NC, self.outlier_weight_CO)
        if self.bias_O is not None:
            output_NO += self.bias_O
        return output_NO.to(input.dtype).view(*input.shape[:-1], self.out_features)


@dataclass(frozen=True)
class Rounded:
    """A model that multiplies bytes, and which share of its body's parameters are such."""

    model: LoadedModel
    share: float


def require_bytes(device: torch.device) -> None:
    """Raise PotstillError where byte products are not fast, or not there."""
    way = "leave teacher.precision out"
    if device.type != "cpu":
        raise PotstillError(f"teacher.precision int8 is for CPUs, and this is {device.type}; {way}")
    able = torch.cpu.get_capabilities()
    if not any(able.get(name) for name in _FAST):
        raise PotstillError(
            "teacher.precision int8 needs a CPU that multiplies bytes fast (VNNI), and this one "
            f"does not; {way}"
        )


def in_int8(
    model: LoadedModel, calibration: Sequence[Sequence[int]], *, outliers: int = OUTLIERS
) -> Rounded:
    """Return a copy of a model whose body's linear maps multiply bytes; the head stays as it is.

    `calibration` is rows of ids, on which each map's furthest-reaching channels are found.
    Embeddings and norms are shared with `model`. Raises PotstillError where the body has no
    linear map or does not read with such ones, and where `require_bytes` does.
    """
    require_bytes(model.device)
    body = body_of(model.network)
    maps = {n: m for n, m in body.named_modules() if type(m) is nn.Linear}
    if not maps:
        raise PotstillError(
            f"{model.source} has no linear maps of a kind that int8 is for; leave "
            "teacher.precision out"
        )
    reach = _reach(model, maps, calibration)
    memo: dict[int, Any] = {}
    for name, linear in maps.items():
        count = min(outliers, linear.in_features // 4)
        memo[id(linear)] = Int8Linear(linear, reach[name].topk(count).indices.sort().values)
    mapped = sum(p.numel() for linear in maps.values() for p in linear.parameters())
    # What is not a map is the same tensor in both models.
    memo |= {id(tensor): tensor for tensor in model.network.parameters()}
    memo |= {id(tensor): tensor for tensor in model.network.buffers()}
    network = copy.deepcopy(model.network, memo)
    whole = sum(p.numel() for p in body.parameters()) - _embedded(model)
    made = replace(model, network=network, int8=True)
    _require_readable(made, calibration)
    return Rounded(made, mapped / whole)


def _require_readable(model: LoadedModel, calibration: Sequence[Sequence[int]]) -> None:
    """Raise PotstillError where a network asks of its maps what bytes do not have (a weight)."""
    try:
        for row in calibration[:1]:
            hidden_states(model, [row])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise PotstillError(
            f"{model.source} cannot be computed in int8 ({type(model.network).__name__}: "
            f"{first_words(error)}); leave teacher.precision out"
        ) from error


def _embedded(model: LoadedModel) -> int:
    return sum(p.numel() for p in model.network.get_input_embeddings().parameters())


def _reach(
    model: LoadedModel, maps: dict[str, nn.Linear], calibration: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """Return reach_K of what each map reads: the largest magnitude of every channel."""
    reach = {name: torch.zeros(linear.in_features) for name, linear in maps.items()}

    def noted(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen_K = args[0].detach().reshape(-1, args[0].shape[-1]).abs().amax(0).float()
            reach[name] = torch.maximum(reach[name], seen_K)

        return note

    handles = [linear.register_forward_pre_hook(noted(n)) for n, linear in maps.items()]
    try:
        # One at a time: what stands at padding reaches anywhere.
        for row in calibration:
            hidden_states(model, [row])
    finally:
        for handle in handles:
            handle.remove()
    return reach
