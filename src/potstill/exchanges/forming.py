"""From final hidden states to targets of any form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import (
    Draws,
    ExchangeTargets,
    HiddenStates,
    LikeliestTokens,
    TargetValues,
)
from potstill.models.counter import uniforms
from potstill.models.head import Head

# Logits that exist at a time, in fp32; their cumulative sums are as many in float64.
_ELEMENTS = 2**21

LogitBias = Callable[[slice, int], Tensor]
"""What is added to the logits of some response positions: (positions, V) to bias_NV, fp32."""


@torch.no_grad()
def formed(
    exchange_id: str,
    scorer: str,
    hidden_RD: Tensor,
    head: Head,
    spec: TargetSpec,
    bias: LogitBias | None = None,
) -> ExchangeTargets:
    """Return the targets of one exchange in the form that `spec` names, on the CPU.

    `bias` makes them those of another distribution than the scorer's own (of marked text): it is
    added to the logits before any temperature. Draws are a function of the exchange's id and the
    distribution alone. Raises PotstillError where the scorer has fewer tokens than `spec` wants,
    and ValueError for hidden states with a bias, which they cannot show.
    """
    scored = _Logits(hidden_RD, head, bias)
    return ExchangeTargets(exchange_id, scorer, spec, _values(exchange_id, scored, spec))


@dataclass(frozen=True)
class _Logits:
    """The logits of an exchange's R positions, made in chunks of rows."""

    hidden_RD: Tensor
    head: Head
    bias: LogitBias | None

    @property
    def width(self) -> int:
        return self.head.tokens or len(self.head.weight_VD)

    def __len__(self) -> int:
        return len(self.hidden_RD)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield some rows and their logits_NV at a time."""
        few = max(1, _ELEMENTS // self.width)
        for start in range(0, len(self), few):
            rows = slice(start, start + few)
            hidden_ND = self.hidden_RD[rows].to(self.head.weight_VD.device)
            logits_NV = self.head.logits(hidden_ND)[:, : self.width]
            if self.bias is not None:
                logits_NV = logits_NV + self.bias(rows, self.width).to(logits_NV.device)
            yield rows, logits_NV


def _values(exchange_id: str, scored: _Logits, spec: TargetSpec) -> TargetValues:
    if spec.is_hidden:
        if scored.bias is not None:
            raise ValueError("hidden states are the scorer's own, whatever is added to its logits")
        return HiddenStates(scored.hidden_RD)
    assert spec.count is not None
    if spec.kind == "sampled":
        return _draws(exchange_id, scored, spec.count, spec.temperature)
    if spec.count > scored.width:
        raise PotstillError(
            f"collect.top_k_targets is {spec.count}, but the teacher has {scored.width} tokens; "
            "lower it"
        )
    return _likeliest(scored, spec.count)


def systematic_draws(
    probability_RV: Tensor, uniform_R: Tensor, draws: int
) -> tuple[Tensor, Tensor]:
    """Return (ids_RU, count_RU): how often each token is drawn in each row.

    Systematic sampling (Madow and Madow 1944): the points (k + u) / K on the cumulative
    distribution, with one u a row. Each token's expected count is K p, as with K independent
    draws, so the estimate is as unbiased as theirs, and it is never further from K p than 1: a
    token with p of 1/K or more is always among them. Rows may be unnormalised.
    """
    upto_RV = probability_RV.double().cumsum(dim=-1)
    steps_K = torch.arange(draws, device=upto_RV.device, dtype=torch.float64)
    points_RK = (steps_K + uniform_R.double()[:, None]) / draws * upto_RV[:, -1:]
    ids_RK = torch.searchsorted(upto_RV, points_RK, right=True)
    # Rounding may put the last point past the end: it goes to the last token with mass.
    last_R1 = torch.searchsorted(upto_RV, upto_RV[:, -1:].contiguous(), right=False)
    return _counted(torch.minimum(ids_RK, last_R1))


def _counted(ids_RK: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's different ids, in ascending order, and their counts; zeros behind."""
    first_RK = torch.ones_like(ids_RK, dtype=torch.bool)
    first_RK[:, 1:] = ids_RK[:, 1:] != ids_RK[:, :-1]
    place_RK = first_RK.cumsum(dim=-1) - 1
    most = int(place_RK.max()) + 1 if ids_RK.numel() else 0
    ids_RU = ids_RK.new_zeros(len(ids_RK), most)
    count_RU = torch.zeros_like(ids_RU)
    ids_RU.scatter_(1, place_RK, ids_RK)
    count_RU.scatter_add_(1, place_RK, torch.ones_like(ids_RK))
    return ids_RU, count_RU


def _draws(exchange_id: str, scored: _Logits, draws: int, temperature: float) -> Draws:
    # A stream apart from the one that decided the response's tokens.
    uniform_R = torch.from_numpy(uniforms(f"{exchange_id}/targets", len(scored)))
    ids, counts, entropies = [], [], []
    for rows, logits_NV in scored.chunks():
        p_NV = torch.softmax(logits_NV / temperature, dim=-1)
        ids_NU, count_NU = systematic_draws(p_NV, uniform_R[rows].to(p_NV.device), draws)
        ids.append(ids_NU.cpu())
        counts.append(count_NU.cpu())
        entropies.append(torch.special.entr(p_NV).sum(dim=-1).cpu())
    most = max((part.shape[1] for part in ids), default=0)
    return Draws(
        _stacked(ids, most),
        _stacked(counts, most),
        torch.cat([*entropies, torch.zeros(0)]),
        scored.width,
    )


def _likeliest(scored: _Logits, count: int) -> LikeliestTokens:
    ids, logps = [torch.zeros(0, count, dtype=torch.long)], [torch.zeros(0, count + 1)]
    for _, logits_NV in scored.chunks():
        ids_NK = logits_NV.topk(count, dim=-1).indices.sort(dim=-1).values
        own_NK = logits_NV.gather(1, ids_NK)
        # The rest's mass is added up from the rest itself, whatever the likeliest leave of 1.
        rest_N1 = logits_NV.scatter(1, ids_NK, float("-inf")).logsumexp(dim=-1, keepdim=True)
        coarse_NC = torch.cat([own_NK, rest_N1], dim=-1).double().log_softmax(dim=-1)
        ids.append(ids_NK.cpu())
        logps.append(coarse_NC.float().cpu())
    coarse_RC = torch.cat(logps)
    return LikeliestTokens(torch.cat(ids), coarse_RC[:, :-1], coarse_RC[:, -1], scored.width)


def _stacked(parts: list[Tensor], most: int) -> Tensor:
    """Return parts of different widths under one another, zeros behind."""
    padded = [torch.nn.functional.pad(part, (0, most - part.shape[1])) for part in parts]
    return torch.cat([torch.zeros(0, most, dtype=torch.long), *padded])
