"""How exact hidden states are at fewer bits: KL of the distribution they give to the fp32 one.

Beside the forms that potstill keeps, trials at less than d bytes: fewer bits after the same
rotation, and a transform code fitted to the teacher's own text. For the latter the error is
weighed by what the head makes of it: with M the mean over text of W^T (diag p - p p^T) W, a state's
error e costs about e^T M e / 2 nats (the second-order expansion of KL), so states are coded in the
coordinates M^(1/2) h, along the principal axes of their covariance there, with bits by variance
(reverse water-filling; Cover and Thomas 2006, section 10.3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from potstill.exchanges.codecs import hidden
from potstill.models.head import Head

Code = Callable[[Tensor], Tensor]
Row = dict[str, Any]
_CHUNK = 64


def code_rows(fitted_ND: Tensor, held_out_ND: Tensor, head: Head) -> list[Row]:
    """Return (code, bytes a position, KL to the fp32 distribution) of each code on held-out
    states; what is fitted is fitted on others."""
    rows, dim = held_out_ND.shape
    codes: list[tuple[str, float, Code]] = [
        ("hidden-fp16", 2 * dim, lambda h_ND: h_ND.half().float()),
        ("hidden-bf16", 2 * dim, lambda h_ND: h_ND.bfloat16().float()),
        ("hidden-int8", dim + 4, _stored_int8),
        ("int8, not rotated", dim + 4, lambda h_ND: _in_steps(h_ND, 8)),
    ]
    for bits in (7, 6, 5, 4):
        codes.append((f"int{bits}, rotated", dim * bits / 8 + 4, _rotated(bits)))
    transform = Transform.fitted(fitted_ND, head)
    for share in (1.0, 0.75, 0.625, 0.5, 0.375, 0.25):
        bits_D = transform.bits(int(8 * share * dim))
        size = float(bits_D.sum()) / 8
        code = lambda h_ND, bits_D=bits_D: transform.coded(h_ND, bits_D)  # noqa: E731
        codes.append((f"head-weighted transform, {share:g} d bytes", size, code))
    found = []
    for name, size, code in codes:
        kl = kl_between(held_out_ND, code(held_out_ND), head)
        row = {"code": name, "bytes": size, "bytes_over_d": size / dim, "kl": kl}
        found.append(row | {"positions": rows})
    return found


@torch.inference_mode()
def kl_between(true_ND: Tensor, coded_ND: Tensor, head: Head) -> float:
    """Return the mean of KL(true || coded) in nats, in float64 from fp32 products."""
    total = 0.0
    for start in range(0, len(true_ND), _CHUNK):
        part = slice(start, start + _CHUNK)
        p, q = (
            torch.log_softmax(head.logits(states_ND[part].float()).double(), dim=-1)
            for states_ND in (true_ND, coded_ND)
        )
        total += float((p.exp() * (p - q)).sum())
    return total / len(true_ND)


class Transform:
    """A linear code: centre, weigh, turn, round each coordinate in steps of its own."""

    def __init__(self, mean_D: Tensor, forward_DD: Tensor, back_DD: Tensor, std_D: Tensor) -> None:
        self.mean_D, self.forward_DD, self.back_DD, self.std_D = mean_D, forward_DD, back_DD, std_D

    @classmethod
    @torch.inference_mode()
    def fitted(cls, states_ND: Tensor, head: Head) -> Transform:
        """Return the code fitted to some states."""
        states_ND = states_ND.double()
        values_D, axes_DD = torch.linalg.eigh(_weighing(states_ND, head))
        # Directions that the head all but ignores keep a little weight, so that it can go back.
        root_D = values_D.clamp(min=1e-9 * float(values_D.max())).sqrt()
        weigh_DD = axes_DD * root_D @ axes_DD.T
        unweigh_DD = axes_DD / root_D @ axes_DD.T
        mean_D = states_ND.mean(dim=0)
        weighed_ND = (states_ND - mean_D) @ weigh_DD
        covariance_DD = weighed_ND.T @ weighed_ND / len(weighed_ND)
        variance_D, principal_DD = torch.linalg.eigh(covariance_DD)
        return cls(
            mean_D,
            weigh_DD @ principal_DD,
            principal_DD.T @ unweigh_DD,
            variance_D.clamp(min=1e-30).sqrt(),
        )

    def bits(self, total: int) -> Tensor:
        """Return bits_D: whole bits for each coordinate, `total` or a little less in all."""
        low, high = -60.0, 60.0
        for _ in range(60):
            level = (low + high) / 2
            bits_D = self._at(level)
            low, high = (low, level) if int(bits_D.sum()) <= total else (level, high)
        return self._at(high)

    def _at(self, level: float) -> Tensor:
        # One bit more than the rate says: a uniform step with cut-off needs it.
        wanted_D = self.std_D.log2() - level
        return torch.where(wanted_D > 0, wanted_D.ceil() + 1, torch.zeros_like(wanted_D)).clamp(
            max=12
        )

    @torch.inference_mode()
    def coded(self, states_ND: Tensor, bits_D: Tensor) -> Tensor:
        """Return states as the code keeps them."""
        turned_ND = (states_ND.double() - self.mean_D) @ self.forward_DD
        half_D = (2.0 ** (bits_D - 1)).clamp(min=1)
        # The cut-off grows with the number of steps: few of them are better spent on the middle.
        step_D = self.std_D * (1.2 + 0.45 * bits_D) / half_D
        kept_ND = ((turned_ND / step_D).sub(0.5).round() + 0.5).clamp(-half_D + 0.5, half_D - 0.5)
        kept_ND = torch.where(bits_D > 0, kept_ND * step_D, torch.zeros_like(turned_ND))
        return (kept_ND @ self.back_DD + self.mean_D).float()


def _weighing(states_ND: Tensor, head: Head) -> Tensor:
    """Return M: the mean of W^T (diag p - p p^T) W over states."""
    weight_VD = head.weight_VD.detach().float()[: head.tokens]
    total_DD = torch.zeros(weight_VD.shape[1], weight_VD.shape[1], dtype=torch.float64)
    mass_V = torch.zeros(len(weight_VD))
    for start in range(0, len(states_ND), _CHUNK):
        p_NV = head.logits(states_ND[start : start + _CHUNK].float())[:, : len(weight_VD)].softmax(
            -1
        )
        mean_ND = p_NV @ weight_VD
        mass_V += p_NV.sum(dim=0)
        total_DD -= (mean_ND.T @ mean_ND).double()
    total_DD += (weight_VD.T @ (weight_VD * mass_V[:, None])).double()
    return total_DD / len(states_ND)


def _stored_int8(states_ND: Tensor) -> Tensor:
    rows, dim = states_ND.shape
    return hidden.from_int8(rows, dim, hidden.to_int8(states_ND))


def _rotated(bits: int) -> Code:
    return lambda h_ND: hidden.rotated(_in_steps(hidden.rotated(h_ND.float()), bits), back=True)


def _in_steps(states_ND: Tensor, bits: int) -> Tensor:
    """Return rows rounded in 2^bits steps, with the best of several cut-offs for each row."""
    most = 2 ** (bits - 1) - 1
    top_N1 = states_ND.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    best_ND, least_N1 = states_ND, torch.full_like(top_N1, float("inf"))
    for clip in torch.linspace(1.0, 0.4, 13).tolist():
        step_N1 = top_N1 * clip / most
        kept_ND = (states_ND / step_N1).round().clamp(-most, most) * step_N1
        error_N1 = (kept_ND - states_ND).square().sum(dim=1, keepdim=True)
        best_ND = torch.where(error_N1 < least_N1, kept_ND, best_ND)
        least_N1 = torch.minimum(error_N1, least_N1)
    return best_ND
