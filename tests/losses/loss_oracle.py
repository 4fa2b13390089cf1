"""The definitions, written out in float64 and in probability space, without any chunk.

Kept apart from `potstill.losses` on purpose: nothing here is shared with it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from potstill.losses.divergence import Divergence
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap


def logits(
    states_ND: Tensor,
    head: Head,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    rounded: Callable[[Tensor], Tensor] = lambda raw: raw,
) -> Tensor:
    """Return logits_NV of the real tokens; `rounded` is what the product's dtype does to it."""
    raw_NV = states_ND @ weight_VD.T
    if bias_V is not None:
        raw_NV = raw_NV + bias_V
    logits_NV = rounded(raw_NV) * head.scale
    if head.softcap is not None:
        logits_NV = head.softcap * torch.tanh(logits_NV / head.softcap)
    return logits_NV[:, : head.tokens]


def kl(p_V: Tensor, q_V: Tensor) -> Tensor:
    """Return sum p log(p / q), where 0 log 0 = 0.

    What lies below the normal numbers is nothing: a fifth of it may be 0, whose log is not finite.
    """
    there = p_V > 1e-300
    return (p_V[there] * (p_V[there].log() - q_V[there].log())).sum()


def divergence(spec: Divergence, p_V: Tensor, q_V: Tensor) -> Tensor:
    """Return the divergence of two rows of probabilities."""
    beta, alpha = spec.beta, spec.alpha
    if spec.kind == "forward_kl":
        return kl(p_V, q_V)
    if spec.kind == "reverse_kl":
        return kl(q_V, p_V)
    if spec.kind == "jsd":
        m_V = beta * p_V + (1 - beta) * q_V
        return beta * kl(p_V, m_V) + (1 - beta) * kl(q_V, m_V)
    if spec.kind == "skew_forward_kl":
        return kl(p_V, alpha * p_V + (1 - alpha) * q_V)
    if spec.kind == "skew_reverse_kl":
        return kl(q_V, (1 - alpha) * p_V + alpha * q_V)
    assert spec.kind == "total_variation"
    return 0.5 * (p_V - q_V).abs().sum()


def moved(mass_NV: Tensor, vocabulary: VocabularyMap, width: int) -> Tensor:
    """Return the teacher's mass over the student's tokens, a removed token's at its receiver."""
    moved_NK = torch.zeros(len(mass_NV), width, dtype=torch.float64)
    for old, new in enumerate(vocabulary.student_ids_V.tolist()[: mass_NV.shape[1]]):
        if new >= 0:
            moved_NK[:, new] += mass_NV[:, old]
    return moved_NK


def tempered(p_V: Tensor, temperature: float) -> Tensor:
    """Return softmax(log p / T)."""
    return torch.softmax(p_V.log() / temperature, dim=-1)


def coarse(p_V: Tensor, ids: list[int]) -> Tensor:
    """Return the mass of some tokens, and that of all others as the last."""
    rest = torch.ones_like(p_V)
    rest[ids] = 0
    return torch.cat([p_V[ids], (p_V * rest).sum().reshape(1)])
