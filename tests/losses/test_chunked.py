"""The chunked loss against a float64 oracle that forms all logits in probability space."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import forward_kl
from potstill.losses.targets import DenseTargets
from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap


def oracle(
    hidden_ND: Tensor,
    head: Head,
    teacher_ND: Tensor,
    teacher_head: Head,
    label_N: Tensor,
    *,
    temperature: float,
    weight: float,
    normaliser: float,
    vocabulary: VocabularyMap | None,
) -> Tensor:
    """The definition: every probability written out, row by row, in float64."""

    def probabilities(states_ND: Tensor, of: Head) -> Tensor:
        logits_NV = states_ND @ of.weight_VD.double().T
        if of.bias_V is not None:
            logits_NV = logits_NV + of.bias_V.double()
        logits_NV = logits_NV * of.scale
        if of.softcap is not None:
            logits_NV = of.softcap * torch.tanh(logits_NV / of.softcap)
        return logits_NV[:, : of.tokens]

    student_NV = probabilities(hidden_ND, head)
    teacher_NV = probabilities(teacher_ND.double(), teacher_head)
    if vocabulary is not None:
        mass_NV = torch.softmax(teacher_NV, dim=-1)
        padded_NV = torch.zeros(len(mass_NV), len(vocabulary.student_ids_V)).double()
        padded_NV[:, : mass_NV.shape[1]] = mass_NV
        moved_NK = torch.zeros(len(mass_NV), student_NV.shape[1]).double()
        for old, new in enumerate(vocabulary.student_ids_V.tolist()):
            if new >= 0:
                moved_NK[:, new] += padded_NV[:, old]
        teacher_NV = moved_NK.log()
    loss = torch.zeros((), dtype=torch.float64)
    for row, label in enumerate(label_N.tolist()):
        # log-softmax, since at low temperatures a probability falls below what float64 holds.
        logq = torch.log_softmax(student_NV[row] / temperature, dim=-1)
        p = torch.softmax(teacher_NV[row] / temperature, dim=-1)
        width = len(p)
        terms = torch.where(p > 0, p * (p.clamp(min=1e-300).log() - logq[:width]), 0.0)
        ce = -torch.log_softmax(student_NV[row], dim=-1)[label]
        loss = loss + (1 - weight) * temperature**2 * terms.sum() + weight * ce
    return loss / normaliser


cases = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 7),
        "width": st.integers(1, 6),
        "tokens": st.integers(1, 12),
        "padding": st.integers(0, 4),
        "temperature": st.sampled_from([0.05, 0.5, 1.0, 2.0, 4.0]),
        "weight": st.sampled_from([0.0, 0.3, 1.0]),
        "spread": st.sampled_from([0.1, 1.0, 6.0]),
        "bias": st.booleans(),
        "softcap": st.sampled_from([None, 5.0]),
        "scale": st.sampled_from([1.0, 0.5]),
        "chunk": st.integers(1, 8),
        "seed": st.integers(0, 2**31),
    }
)


@settings(max_examples=60, deadline=None)
@example(
    {
        "rows": 1, "width": 4, "tokens": 8, "padding": 1, "temperature": 0.05, "weight": 0.0,
        "spread": 6.0, "bias": False, "softcap": None, "scale": 1.0, "chunk": 1, "seed": 0,
    }
)  # fmt: skip
@given(cases)
def test_value_and_gradients_are_the_definitions(case: dict) -> None:
    torch.manual_seed(case["seed"])
    rows, width, tokens = case["rows"], case["width"], case["tokens"]
    total = tokens + case["padding"]
    hidden = (torch.randn(rows, width) * case["spread"]).requires_grad_()
    weight = torch.randn(total, width).requires_grad_()
    bias = torch.randn(total).requires_grad_() if case["bias"] else None
    head = Head(weight, bias, case["softcap"], case["scale"], tokens)
    teacher_head = Head(torch.randn(total + 2, width + 1), tokens=tokens)
    teacher = torch.randn(rows, width + 1) * case["spread"]
    label = torch.randint(tokens, (rows,))
    options = {"temperature": case["temperature"], "normaliser": 3.0}
    loss, _ = distillation_loss(
        hidden,
        head,
        DenseTargets(teacher, teacher_head),
        label,
        cross_entropy_weight=case["weight"],
        memory_bytes=case["chunk"] * 4 * 40,
        **options,
    )
    loss.backward()
    leaves = [t for t in (hidden, weight, bias) if t is not None]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    exact_head = Head(
        exact[1], exact[2] if bias is not None else None, head.softcap, head.scale, tokens
    )
    expected = oracle(
        exact[0],
        exact_head,
        teacher,
        teacher_head,
        label,
        weight=case["weight"],
        vocabulary=None,
        **options,
    )
    expected.backward()
    scale = max(1.0, float(expected.detach().abs()))
    assert abs(float(loss.detach()) - float(expected.detach())) < 2e-5 * scale
    for mine, theirs in zip(leaves, exact, strict=True):
        size = max(1.0, float(theirs.grad.abs().max()))
        assert torch.allclose(mine.grad.double(), theirs.grad, atol=3e-5 * size, rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 9), st.sampled_from([0.5, 1.0, 2.0]))
def test_removed_tokens_give_their_mass_to_the_first_piece(
    seed: int, kept: int, temperature: float
) -> None:
    torch.manual_seed(seed)
    teacher_tokens, padding = kept + 5, 2
    order = torch.randperm(teacher_tokens)
    teacher_ids = order[:kept].sort().values
    student_ids = torch.full((teacher_tokens + padding,), -1)
    student_ids[order[kept:]] = torch.randint(kept, (5,))
    student_ids[teacher_ids] = torch.arange(kept)
    vocabulary = VocabularyMap(teacher_ids, student_ids)
    hidden = torch.randn(4, 3, requires_grad=True)
    head = Head(torch.randn(kept, 3, requires_grad=True), tokens=kept)
    teacher_head = Head(torch.randn(teacher_tokens + padding, 3), tokens=teacher_tokens)
    teacher, label = torch.randn(4, 3), torch.randint(kept, (4,))
    options = {"temperature": temperature, "normaliser": 4.0, "vocabulary": vocabulary}
    loss, _ = distillation_loss(hidden, head, DenseTargets(teacher, teacher_head), label, **options)
    loss.backward()
    exact_hidden = hidden.detach().double().requires_grad_()
    exact = oracle(exact_hidden, head, teacher, teacher_head, label, weight=0.0, **options)
    exact.backward()
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
    assert torch.allclose(hidden.grad.double(), exact_hidden.grad, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_distributions_are_exactly_zero_apart(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, states = torch.randn(500, 32), torch.randn(64, 32)
    head = Head(weight, tokens=480)
    _, sums = distillation_loss(
        states,
        head,
        DenseTargets(states, head),
        torch.zeros(64, dtype=torch.long),
        normaliser=64,
        compute_dtype=dtype,
    )
    assert float(sums.divergence_sum) == 0.0


def test_a_bf16_divergence_is_not_negative() -> None:
    torch.manual_seed(1)
    weight, states = torch.randn(1000, 32), torch.randn(64, 32)
    nearly = states + 1e-3 * torch.randn_like(states)
    for row in range(64):
        _, sums = distillation_loss(
            nearly[row : row + 1],
            Head(weight),
            DenseTargets(states[row : row + 1], Head(weight)),
            torch.zeros(1, dtype=torch.long),
            normaliser=1,
            compute_dtype=torch.bfloat16,
        )
        assert float(sums.divergence_sum) >= -1e-6


def test_certain_teachers_and_ruled_out_tokens_give_no_nan() -> None:
    certain = torch.tensor([[0.0, float("-inf"), float("-inf")]])
    spread = torch.log_softmax(torch.randn(1, 3), dim=-1)
    assert float(forward_kl(certain, spread)[0]) == pytest.approx(-float(spread[0, 0]))
    assert float(forward_kl(certain, certain)[0]) == 0.0
    assert math.isinf(float(forward_kl(spread, certain)[0]))


def test_no_rows_are_no_loss_and_no_gradient() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    weight = torch.randn(5, 4, requires_grad=True)
    targets = DenseTargets(torch.zeros(0, 4), Head(torch.randn(5, 4)))
    loss, _ = distillation_loss(
        hidden, Head(weight), targets, torch.zeros(0, dtype=torch.long), normaliser=1
    )
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not weight.grad.any()


def test_a_wider_teacher_without_a_map_is_refused() -> None:
    with pytest.raises(PotstillError, match="their tokenizers differ"):
        distillation_loss(
            torch.randn(2, 4),
            Head(torch.randn(5, 4)),
            DenseTargets(torch.randn(2, 4), Head(torch.randn(9, 4))),
            torch.zeros(2, dtype=torch.long),
            normaliser=2,
        )


def test_all_logits_are_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = Workspace.products

    def watched(self: Workspace, name: str, hidden_ND: Tensor, head: Head) -> Tensor:
        result = plain(self, name, hidden_ND, head)
        seen.append(result.shape[0])
        return result

    monkeypatch.setattr(Workspace, "products", watched)
    head = Head(torch.randn(40, 8, requires_grad=True))
    distillation_loss(
        torch.randn(100, 8),
        head,
        DenseTargets(torch.randn(100, 8), Head(torch.randn(40, 8))),
        torch.zeros(100, dtype=torch.long),
        normaliser=100,
        memory_bytes=16 * 4 * 80,
    )
    assert seen
    assert max(seen) <= 16
