"""The chunked loss against a float64 oracle that forms all logits in probability space."""

from __future__ import annotations

import math

import loss_oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence, forward_kl
from potstill.losses.targets import DenseTargets, SampledTargets, Targets, TopKTargets
from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap

KINDS = [
    "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation",
]  # fmt: skip


def in_bf16(raw_NV: Tensor) -> Tensor:
    """Round what a bf16 product returns, without a gradient of the rounding."""
    change_NV = raw_NV.float().bfloat16().double() - raw_NV
    return raw_NV + change_NV.detach().nan_to_num(nan=0.0)


def defined(
    student_NV: Tensor,
    targets: Targets,
    teacher_NK: Tensor | None,
    label_N: Tensor,
    *,
    divergence: Divergence,
    temperature: float,
    weight: float,
    normaliser: float,
) -> Tensor:
    """The definition of the loss, row by row; `teacher_NK` are a dense teacher's probabilities."""
    loss = torch.zeros((), dtype=torch.float64)
    for n, label in enumerate(label_N.tolist()):
        q = torch.softmax(student_NV[n] / temperature, dim=-1)
        logq = torch.log_softmax(student_NV[n] / temperature, dim=-1)
        if isinstance(targets, SampledTargets):
            shares = targets.weight_NK[n].double()
            term = -(shares * logq[targets.ids_NK[n]]).sum() - targets.entropy_N[n]
        elif isinstance(targets, TopKTargets):
            used = targets.logp_NK[n] > float("-inf")
            ids = targets.ids_NK[n][used].tolist()
            p = targets.logp_NK[n][used].double().exp()
            rest = (1 - p.sum()).clamp(min=0) if len(set(ids)) < len(q) else p.new_zeros(())
            p = torch.cat([p, rest.reshape(1)])
            term = loss_oracle.divergence(divergence, p, loss_oracle.coarse(q, ids))
        else:
            assert teacher_NK is not None
            p = torch.zeros_like(q)
            p[: teacher_NK.shape[1]] = loss_oracle.tempered(teacher_NK[n], temperature)
            # Where one falls below what float64 holds, its logarithm still does not.
            logp = torch.log_softmax(teacher_NK[n].log() / temperature, dim=-1)
            if divergence.kind == "forward_kl":
                there = p > 0
                term = (p[there] * (p[there].log() - logq[there])).sum()
            elif divergence.kind == "reverse_kl":
                there = q > 0
                term = (q[there] * (logq[there] - logp[there])).sum()
            else:
                term = loss_oracle.divergence(divergence, p, q)
        ce = -torch.log_softmax(student_NV[n], dim=-1)[label]
        loss = loss + (1 - weight) * temperature**2 * term + weight * ce
    return loss / normaliser


def drawn(tokens: int, rows: int) -> SampledTargets:
    """Five draws from a teacher at each row, as ids with shares, one place unused."""
    p_NV = torch.softmax(torch.randn(rows, tokens) * 2, dim=-1)
    counts_NV = torch.zeros(rows, tokens).scatter_add_(
        1, torch.multinomial(p_NV, 5, replacement=True), torch.ones(rows, 5)
    )
    share_NV, ids_NV = (counts_NV / 5).sort(dim=-1, descending=True)
    unused = torch.zeros(rows, 1)
    entropy_N = -(p_NV * p_NV.log()).sum(-1)
    return SampledTargets(
        torch.cat([ids_NV[:, :5], unused.long()], 1), torch.cat([share_NV[:, :5], unused], 1),
        entropy_N,
    )  # fmt: skip


def likeliest(tokens: int, rows: int) -> TopKTargets:
    """The three likeliest tokens of a teacher at each row, the last row's third place unused."""
    logp_NV = torch.log_softmax(torch.randn(rows, tokens) * 2, -1)
    logp_NK, ids_NK = logp_NV.topk(min(3, tokens))
    rest_N = logp_NV.scatter(1, ids_NK, float("-inf")).logsumexp(-1)
    if logp_NK.shape[1] == 3:
        rest_N[-1] = torch.logaddexp(rest_N[-1], logp_NK[-1, 2])
        logp_NK[-1, 2], ids_NK[-1, 2] = float("-inf"), ids_NK[-1, 0]
    return TopKTargets(ids_NK, logp_NK, rest_N)


cases = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "targets": st.sampled_from(["dense", "dense", "sampled", "top-k"]),
        "dtype": st.sampled_from([torch.float32, torch.float32, torch.bfloat16]),
        "rows": st.integers(1, 7),
        "width": st.integers(1, 6),
        "tokens": st.integers(1, 12),
        "padding": st.integers(0, 4),
        "teacher_lacks": st.integers(0, 2),
        "temperature": st.sampled_from([0.05, 0.5, 1.0, 2.0, 4.0]),
        "weight": st.sampled_from([0.0, 0.3, 1.0]),
        "spread": st.sampled_from([0.1, 1.0, 6.0]),
        "bias": st.sampled_from([None, "finite", "-inf"]),
        "softcap": st.sampled_from([None, 5.0]),
        "scale": st.sampled_from([1.0, 0.5]),
        "chunk": st.integers(1, 8),
        "calls": st.integers(1, 3),
        "handed_on": st.booleans(),
        "seed": st.integers(0, 2**31),
    }
)


def _possible(case: dict) -> dict:
    """Bring a drawn case to a pair that is not refused."""
    case = dict(case)
    if case["targets"] == "sampled":
        case["kind"], case["temperature"] = "forward_kl", 1.0
    if case["targets"] == "top-k":
        case["temperature"] = 1.0
    if case["kind"] == "reverse_kl":
        case["teacher_lacks"] = 0
    case["teacher_lacks"] = min(case["teacher_lacks"], case["tokens"] - 1)
    # A student that rules out what the teacher says is infinitely far away.
    if case["bias"] == "-inf" and (case["tokens"] < 3 or case["targets"] != "dense"):
        case["bias"] = "finite"
    if case["bias"] == "-inf":
        # One token at least has to be left for the teacher.
        case["teacher_lacks"] = min(case["teacher_lacks"], case["tokens"] - 2)
    return case


@settings(max_examples=150, deadline=None)
@given(cases)
def test_value_and_gradients_are_the_definitions(drawn_case: dict) -> None:
    case = _possible(drawn_case)
    torch.manual_seed(case["seed"])
    rows, width, tokens = case["rows"], case["width"], case["tokens"]
    total, dtype = tokens + case["padding"], case["dtype"]

    def rounded(*shape: int) -> Tensor:
        return torch.randn(*shape).to(dtype).float()

    hidden = (rounded(rows, width) * case["spread"]).to(dtype).float().requires_grad_()
    weight = rounded(total, width).requires_grad_()
    bias = rounded(total) if case["bias"] else None
    teacher_bias = rounded(tokens + 2) if case["bias"] else None
    if case["bias"] == "-inf":
        bias[0] = teacher_bias[0] = float("-inf")
    if bias is not None:
        bias.requires_grad_()
    head = Head(weight, bias, case["softcap"], case["scale"], tokens)
    teacher_head = Head(
        rounded(tokens + 2, width + 1), teacher_bias, tokens=tokens - case["teacher_lacks"]
    )
    teacher = (rounded(rows, width + 1) * case["spread"]).to(dtype).float()
    label = torch.randint(1 if case["bias"] == "-inf" else 0, tokens, (rows,))
    if case["softcap"] and case["bias"] == "-inf":
        # Capping makes a finite logit of it, on the student's side alone.
        teacher_head = Head(teacher_head.weight_VD, None, tokens=teacher_head.tokens)
    targets: Targets = DenseTargets(teacher, teacher_head)
    if case["targets"] != "dense":
        targets = (drawn if case["targets"] == "sampled" else likeliest)(tokens, rows)
    divergence = Divergence(case["kind"], beta=0.3, alpha=0.2)
    options = {
        "divergence": divergence, "temperature": case["temperature"], "normaliser": 3.0,
    }  # fmt: skip
    loss = torch.zeros(())
    for part in torch.arange(rows).tensor_split(case["calls"]):
        some = slice(int(part[0]), int(part[-1]) + 1) if len(part) else slice(0, 0)
        if isinstance(targets, DenseTargets):
            of_part: Targets = DenseTargets(teacher[some], teacher_head)
        else:
            of_part = targets.rows(some)
        earlier = weight.grad if case["handed_on"] and not case["padding"] else None
        where = None if earlier is None else earlier.data_ptr()
        if earlier is not None:
            weight.grad = None
        added, _ = distillation_loss(
            hidden[some],
            head,
            of_part,
            label[some],
            cross_entropy_weight=case["weight"],
            compute_dtype=dtype,
            memory_bytes=case["chunk"] * 2 * dtype.itemsize * tokens,
            earlier_VD=earlier,
            **options,
        )
        del earlier
        added.backward()
        # The same memory: no second matrix of that size is made.
        assert where is None or weight.grad.data_ptr() == where
        loss = loss + added.detach()

    leaves = [t for t in (hidden, weight, bias) if t is not None]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    round_ = in_bf16 if dtype == torch.bfloat16 else (lambda raw: raw)
    exact_NV = loss_oracle.logits(
        exact[0], head, exact[1], exact[2] if bias is not None else None, round_
    )
    double_bias = None if teacher_head.bias_V is None else teacher_head.bias_V.double()
    teacher_NV = loss_oracle.logits(
        teacher.double(), teacher_head, teacher_head.weight_VD.double(), double_bias, round_
    )
    expected = defined(
        exact_NV, targets, torch.softmax(teacher_NV, -1), label, weight=case["weight"], **options
    )
    expected.backward()
    scale = max(1.0, float(expected.detach().abs()))
    coarse = dtype == torch.bfloat16
    assert abs(float(loss) - float(expected.detach())) < (2e-2 if coarse else 3e-5) * scale
    for mine, theirs in zip(leaves, exact, strict=True):
        size = max(1.0, float(theirs.grad.abs().max()))
        assert torch.allclose(
            mine.grad.double(), theirs.grad, atol=(2e-2 if coarse else 3e-5) * size, rtol=1e-3
        )


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(3, 9), st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from(KINDS),
)  # fmt: skip
def test_removed_tokens_give_their_mass_to_the_first_piece(
    seed: int, kept: int, temperature: float, kind: str
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
    targets = DenseTargets(teacher, teacher_head)
    options = {
        "divergence": Divergence(kind), "temperature": temperature, "normaliser": 4.0,
    }  # fmt: skip
    loss, _ = distillation_loss(hidden, head, targets, label, vocabulary=vocabulary, **options)
    loss.backward()
    exact_hidden = hidden.detach().double().requires_grad_()
    student_NV = loss_oracle.logits(exact_hidden, head, head.weight_VD.detach().double(), None)
    teacher_NV = loss_oracle.logits(
        teacher.double(), teacher_head, teacher_head.weight_VD.double(), None
    )
    mass_NK = loss_oracle.moved(torch.softmax(teacher_NV, -1), vocabulary, kept)
    exact = defined(student_NV, targets, mass_NK, label, weight=0.0, **options)
    exact.backward()
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
    assert torch.allclose(hidden.grad.double(), exact_hidden.grad, atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (drawn(8, 2), {"divergence": Divergence("reverse_kl")}, "sampled targets give reverse_kl"),
        (drawn(8, 2), {"divergence": Divergence("jsd")}, "sampled targets give jsd"),
        (drawn(8, 2), {"divergence": Divergence("total_variation")}, "with a bias, or infinite"),
        (drawn(8, 2), {"temperature": 2.0}, "were drawn at temperature 1"),
        (likeliest(8, 2), {"temperature": 2.0}, "top-k targets do not say"),
        (
            DenseTargets(torch.randn(2, 3), Head(torch.randn(6, 3))),
            {"divergence": Divergence("reverse_kl")},
            "2 tokens that the teacher has not",
        ),
    ],
)
def test_biased_and_infinite_pairs_are_refused(targets: Targets, options: dict, words: str) -> None:
    with pytest.raises(PotstillError, match=words):
        distillation_loss(
            torch.randn(2, 4),
            Head(torch.randn(8, 4)),
            targets,
            torch.zeros(2, dtype=torch.long),
            normaliser=2,
            **options,
        )


def test_many_draws_come_to_the_dense_gradient() -> None:
    torch.manual_seed(0)
    teacher_head, states = Head(torch.randn(30, 6)), torch.randn(3, 6)
    p_NV = torch.softmax(teacher_head.logits(states), -1)
    ids_NK = torch.multinomial(p_NV, 200_000, replacement=True)
    counts_NV = torch.zeros_like(p_NV).scatter_add_(1, ids_NK, torch.ones(ids_NK.shape))
    every = torch.arange(30).expand(3, -1)
    entropy_N = -(p_NV * p_NV.log()).sum(-1)
    draws = SampledTargets(every, counts_NV / counts_NV.sum(-1, keepdim=True), entropy_N)
    student = Head(torch.randn(30, 4))
    found = []
    for targets in (draws, DenseTargets(states, teacher_head)):
        hidden = torch.ones(3, 4, requires_grad=True)
        label = torch.zeros(3, dtype=torch.long)
        loss, sums = distillation_loss(hidden, student, targets, label, normaliser=3)
        loss.backward()
        found.append((hidden.grad, float(sums.divergence_sum.detach())))
    assert torch.allclose(found[0][0], found[1][0], atol=5e-3)
    assert found[0][1] == pytest.approx(found[1][1], abs=2e-2)


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
