"""Hidden states as bytes: fp16, or int8 after a fixed rotation of the hidden axis.

A few axes of a language model's states are many times larger than the others, and a scale that
fits them leaves the rest few steps. A rotation that spreads every axis over all of them makes the
values of a row alike in size, so that one scale a row serves them all (QuaRot, Ashkboos et al.
2024, arXiv 2404.00456, section 3).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.codecs.integers import Data

_SIGNS_KEY = 0x706F747374696C6C
_STEPS = 127
# Shares of a row's largest value at which values are cut off: what rounds best is taken.
_CLIPS = (1.0, 0.92, 0.84, 0.76, 0.68)


def to_fp16(hidden_RD: Tensor) -> bytes:
    """Return 2 D bytes a row; raises PotstillError where a value is not finite in fp16."""
    # Converted first: a comparison in bf16 would round the bound as well.
    return _finite(hidden_RD.detach().to("cpu", torch.float16)).numpy().astype("<f2").tobytes()


def from_fp16(rows: int, dim: int, data: Data) -> Tensor:
    """Return hidden_RD (fp16, its own memory)."""
    return torch.from_numpy(np.frombuffer(data, dtype="<f2").reshape(rows, dim).copy())


def to_int8(hidden_RD: Tensor) -> bytes:
    """Return D + 4 bytes a row: an fp32 scale for each row, then the rotated rows in steps of it.

    Raises PotstillError where a value is not finite in fp16.
    """
    _finite(hidden_RD.detach().to("cpu", torch.float16))
    rotated_RD = rotated(hidden_RD.detach().to("cpu", torch.float32))
    scale_R1 = _scale(rotated_RD)
    steps_RD = _rounded(rotated_RD, scale_R1).to(torch.int8)
    return scale_R1.numpy().astype("<f4").tobytes() + steps_RD.numpy().tobytes()


def from_int8(rows: int, dim: int, data: Data) -> Tensor:
    """Return hidden_RD (fp32), rotated back."""
    view = memoryview(data)
    scale_R1 = np.frombuffer(view[: 4 * rows], "<f4").reshape(rows, 1)
    steps_RD = np.frombuffer(view[4 * rows :], np.int8).reshape(rows, dim)
    return rotated(torch.from_numpy(steps_RD.astype(np.float32) * scale_R1), back=True)


def rotated(hidden_RD: Tensor, *, back: bool = False) -> Tensor:
    """Return rows under a fixed orthogonal map, or under its inverse.

    Random signs, then the product of a Hadamard matrix on the largest power of two in D and a
    cosine transform on the odd rest: every axis reaches all others, it costs far less than a
    dense matrix of D x D, and a formula gives it on every machine.
    """
    signs_D, hadamard_PP, cosine_MM = _parts(hidden_RD.shape[1])
    shape = (-1, len(hadamard_PP), len(cosine_MM))
    if back:
        spread_RPM = torch.einsum("rpm,pq,mn->rqn", hidden_RD.view(shape), hadamard_PP, cosine_MM)
        return spread_RPM.reshape(hidden_RD.shape) * signs_D
    signed_RPM = (hidden_RD * signs_D).view(shape)
    # The Hadamard matrix is its own transpose.
    spread_RPM = torch.einsum("rpm,pq,nm->rqn", signed_RPM, hadamard_PP, cosine_MM)
    return spread_RPM.reshape(hidden_RD.shape)


def _scale(rotated_RD: Tensor) -> Tensor:
    """Return the step of each row, of a few choices the one with the least squared error."""
    top_R1 = rotated_RD.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / _STEPS
    best_R1, least_R1 = top_R1, torch.full_like(top_R1, float("inf"))
    for clip in _CLIPS:
        scale_R1 = top_R1 * clip
        error_R1 = (
            (_rounded(rotated_RD, scale_R1) * scale_R1 - rotated_RD)
            .square_()
            .sum(dim=1, keepdim=True)
        )
        best_R1 = torch.where(error_R1 < least_R1, scale_R1, best_R1)
        least_R1 = torch.minimum(error_R1, least_R1)
    return best_R1


def _rounded(rotated_RD: Tensor, scale_R1: Tensor) -> Tensor:
    return (rotated_RD / scale_R1).round_().clamp_(-_STEPS, _STEPS)


def _finite(stored_RD: Tensor) -> Tensor:
    if stored_RD.ndim != 2:
        raise ValueError(f"hidden_RD must have two dimensions, not {stored_RD.ndim}")
    if not bool(torch.isfinite(stored_RD).all()):
        raise PotstillError(
            "a hidden state of the teacher is not finite or beyond fp16's range (65504), so its "
            "targets cannot be stored; set collect.targets to sampled, or to none, and training "
            "asks the teacher itself"
        )
    return stored_RD.contiguous()


@cache
def _parts(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the signs and the two orthogonal matrices, P a power of two, M odd, P M = dim."""
    power = dim & -dim
    random = np.random.Generator(np.random.Philox(key=_SIGNS_KEY))
    signs_D = random.integers(0, 2, dim) * 2.0 - 1.0
    hadamard_PP = np.ones((1, 1))
    while len(hadamard_PP) < power:
        hadamard_PP = np.block([[hadamard_PP, hadamard_PP], [hadamard_PP, -hadamard_PP]])
    arrays = (signs_D, hadamard_PP / np.sqrt(power), _cosine(dim // power))
    return tuple(torch.from_numpy(a).float() for a in arrays)  # type: ignore[return-value]


def _cosine(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform (DCT-II) as a matrix."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    matrix: np.ndarray = np.sqrt(2.0 / size) * np.cos(np.pi * (n + 0.5) * k / size)
    matrix[0] /= np.sqrt(2.0)
    return matrix
