"""The arithmetic of a chunk is one graph to a compiler, and compiled it finds the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from potstill.losses import chunked, part
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets, SampledTargets, Targets, TopKTargets
from potstill.models.head import Head

TOKENS, WIDTH = 300, 16
CASES: list[tuple[str, dict[str, Any]]] = [
    ("dense", {}),
    ("dense", {"divergence": Divergence("jsd"), "temperature": 2.0, "cross_entropy_weight": 0.3}),
    ("dense", {"divergence": Divergence("reverse_kl")}),
    ("dense", {"divergence": Divergence("skew_reverse_kl")}),
    ("dense", {"divergence": Divergence("total_variation")}),
    ("sampled", {}),
    ("top-k", {}),
    ("none", {}),
]


def targets_of(kind: str, rows: int, teacher_ND: Tensor, teacher_VD: Tensor) -> Targets | None:
    if kind == "dense":
        return DenseTargets(teacher_ND, Head(teacher_VD))
    if kind == "sampled":
        # Their number of columns differs from step to step.
        draws = 4 + rows % 3
        ids_NK = torch.arange(rows * draws).reshape(rows, draws).to(teacher_ND.device) % TOKENS
        weight_NK = torch.full((rows, draws), 1.0 / draws, device=teacher_ND.device)
        return SampledTargets(ids_NK, weight_NK, weight_NK.sum(1))
    if kind == "top-k":
        logp_NV = (teacher_ND @ teacher_VD.T).log_softmax(-1)
        found = logp_NV.topk(6)
        rest_N = logp_NV.scatter(1, found.indices, float("-inf")).logsumexp(-1)
        return TopKTargets(found.indices, found.values, rest_N)
    return None


def found(
    kind: str, rows: int, options: dict[str, Any], device: str, dtype: torch.dtype
) -> list[Tensor]:
    """Return loss and gradients, on the CPU."""
    generator = torch.Generator().manual_seed(rows)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    hidden_ND, teacher_ND = normal(rows, WIDTH), normal(rows, WIDTH)
    weight_VD, teacher_VD = normal(TOKENS, WIDTH) * 0.5, normal(TOKENS, WIDTH) * 0.5
    label_N = torch.randint(TOKENS, (rows,), generator=generator).to(device)
    hidden_ND.requires_grad_()
    weight_VD.requires_grad_()
    loss, _ = distillation_loss(
        hidden_ND,
        Head(weight_VD, softcap=6.0),
        targets_of(kind, rows, teacher_ND, teacher_VD),
        label_N,
        normaliser=rows + 1,
        compute_dtype=dtype,
        # More than one chunk.
        memory_bytes=8 * TOKENS * max(2, rows // 2),
        **options,
    )
    loss.backward()
    assert hidden_ND.grad is not None
    assert weight_VD.grad is not None
    return [tensor.detach().cpu() for tensor in (loss, hidden_ND.grad, weight_VD.grad)]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_it_is_one_graph_for_any_number_of_rows(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    traced = torch.compile(part.loss_of_part, backend="eager", fullgraph=True)
    monkeypatch.setattr(part, "_compiled", lambda: traced)
    whole: Callable[..., Any] = part._on_gpu
    counters.clear()
    # Chunks of one row would be a graph of their own.
    for rows in (8, 12, 30):
        expected = found(kind, rows, options, "cpu", torch.float32)
        with monkeypatch.context() as patched:
            patched.setattr(chunked, "part_function", lambda device: whole)
            got = found(kind, rows, options, "cpu", torch.float32)
        for one, other in zip(got, expected, strict=True):
            torch.testing.assert_close(one, other)
    # Draws come in as many columns as the widest row needs: one more graph serves any number.
    assert counters["stats"]["unique_graphs"] <= (2 if kind == "sampled" else 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_gpu_finds_what_a_cpu_finds(
    kind: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    torch._dynamo.reset()
    for rows in (1, 7, 12):
        expected = found(kind, rows, options, "cpu", torch.float32)
        got = found(kind, rows, options, "cuda", dtype)
        apart = 0.03 if dtype == torch.bfloat16 else 1e-4
        if options.get("divergence") == Divergence("total_variation") and apart > 0.01:
            # Its slope is a sign, which rounding turns where p and q are nearly equal: a CPU's
            # gradients in bf16 are as far from those in fp32 (0.13 to 0.18 here).
            apart = 0.3
        for one, other in zip(got, expected, strict=True):
            assert float((one - other).norm()) <= apart * float(other.norm()) + 1e-5
