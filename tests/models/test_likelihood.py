"""Log-probability, likeliest token and entropy at each position, against a plain float64 oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from potstill.evaluate.fidelity import compare
from potstill.models.head import Head
from potstill.models.likelihood import (
    Likelihood,
    by_position,
    entropy,
    likelihood,
    likelihood_of,
    log_probabilities,
    response_nll,
)
from potstill.models.load import head_of, load
from potstill.models.precision import fast_products
from potstill.models.score import response_hidden

Case = tuple[list[Tensor], Head, list[list[int]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Hidden states, a head of any form, and the ids of some texts, empty ones among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 40), min_size=0, max_size=5))
    width, padding = draw(st.integers(1, 50)), draw(st.integers(0, 4))
    dim = draw(st.integers(1, 7))

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, 1.5, shape)).float()

    head = Head(
        normal(width + padding, dim),
        normal(width + padding) if draw(st.booleans()) else None,
        softcap=draw(st.sampled_from([None, 4.0])),
        scale=draw(st.sampled_from([1.0, 0.3])),
        tokens=width,
    )
    hidden = [normal(length, dim) for length in lengths]
    return hidden, head, [rng.integers(0, width, length).tolist() for length in lengths]


def oracle(hidden_RD: Tensor, head: Head) -> NDArray[np.float64]:
    """Log-probabilities of the real tokens in float64, with padding left off."""
    logits = hidden_RD.double().numpy() @ head.weight_VD.double().numpy().T
    if head.bias_V is not None:
        logits = logits + head.bias_V.double().numpy()
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * np.tanh(logits / head.softcap)
    logits = logits[:, : head.tokens]
    logits = logits - logits.max(1, keepdims=True)
    found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return found


@given(case=cases(), chunk=st.integers(1, 70))
def test_every_position_is_that_of_the_float64_oracle(case: Case, chunk: int) -> None:
    hidden, head, ids = case
    found = likelihood(hidden, head, ids, chunk=chunk)
    assert found.lengths == tuple(map(len, ids))
    for states, labels, alone in zip(hidden, ids, found.by_text(), strict=True):
        logp = oracle(states, head)
        rows = np.arange(len(labels))
        np.testing.assert_allclose(alone.logp_T, logp[rows, labels], rtol=2e-5, atol=2e-5)
        expected = -(np.exp(logp) * logp).sum(1)
        np.testing.assert_allclose(alone.entropy_T, expected, rtol=2e-5, atol=2e-5)
        # Two tokens may be equally likely but for rounding: either is right.
        best = logp[rows, alone.likeliest_T.numpy()]
        np.testing.assert_allclose(best, logp.max(1, initial=-np.inf), rtol=0, atol=2e-5)


@given(case=cases(), chunk=st.integers(1, 70))
def test_a_response_s_nll_is_the_sum_over_its_positions(case: Case, chunk: int) -> None:
    hidden, head, ids = case
    found = response_nll(hidden, head, ids, chunk=chunk)
    expected = [
        -oracle(states, head)[np.arange(len(labels)), labels].sum()
        for states, labels in zip(hidden, ids, strict=True)
    ]
    assert found.shape == (len(ids),)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-4)
    assert found.tobytes() == likelihood(hidden, head, ids, chunk=chunk).nll.tobytes()


@given(case=cases())
def test_the_nll_is_torch_s_cross_entropy_bit_by_bit(case: Case) -> None:
    """What evaluations were written with before; and it is the student's of a comparison."""
    hidden, head, ids = case
    found = response_nll(hidden, head, ids, chunk=64)
    if not ids:
        return
    rows, label_T = torch.cat(hidden), torch.tensor([i for row in ids for i in row]).long()
    with fast_products():
        each = [
            F.cross_entropy(head.logits(part_ND), label_N, reduction="none").double()
            for part_ND, label_N in zip(rows.split(64), label_T.split(64), strict=True)
        ]
    parts = torch.cat(each).split([len(row) for row in ids])
    assert found.tolist() == [sum(part.tolist()) for part in parts]
    compared = compare(hidden, head, hidden, head, ids, chunk=64)
    assert compared.student_nll.tobytes() == found.tobytes()


def test_no_more_than_a_chunk_is_ever_held(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    whole = Head.logits

    def counted(head: Head, hidden_ND: Tensor) -> Tensor:
        seen.append(len(hidden_ND))
        return whole(head, hidden_ND)

    monkeypatch.setattr(Head, "logits", counted)
    lengths = [700, 3, 0, 500]
    hidden = [torch.randn(n, 4) for n in lengths]
    likelihood(hidden, Head(torch.randn(9, 4)), [[1] * n for n in lengths], chunk=16)
    assert max(seen) == 16
    assert sum(seen) == sum(lengths)


def test_a_certain_model_has_no_entropy_and_no_nan() -> None:
    logp = log_probabilities(Head(torch.tensor([[800.0], [0.0], [0.0]])), torch.ones(2, 1))
    assert entropy(logp).tolist() == [0, 0]
    padded = log_probabilities(Head(torch.zeros(4, 1), tokens=2), torch.ones(1, 1))
    assert entropy(padded).item() == pytest.approx(np.log(2))


def test_states_that_do_not_match_the_text_are_a_bug() -> None:
    with pytest.raises(ValueError, match="model do not match"):
        likelihood([torch.ones(2, 3)], Head(torch.ones(5, 3)), [[1, 2, 3]])
    with pytest.raises(ValueError, match="model do not match"):
        by_position([], Head(torch.ones(5, 3)), [[1]], lambda logp, label: logp)


def test_nothing_is_kept_for_gradients() -> None:
    weight = torch.nn.Parameter(torch.randn(9, 4))
    found = likelihood([torch.randn(3, 4, requires_grad=True)], Head(weight), [[1, 2, 3]])
    assert not found.logp_T.requires_grad
    assert weight.grad is None


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_a_loaded_model_finds_what_its_own_forward_gives(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    generator = torch.Generator().manual_seed(9)
    shapes = [(3, 40), (12, 1), (60, 25), (5, 0), (4, 140)]
    pairs = [
        (
            torch.randint(5, 250, (p,), generator=generator).tolist(),
            torch.randint(5, 250, (r,), generator=generator).tolist(),
        )
        for p, r in shapes
    ]
    found = likelihood_of(model, pairs)
    assert found.lengths == tuple(r for _, r in shapes)
    for (prompt, response), alone in zip(pairs, found.by_text(), strict=True):
        with torch.inference_mode():
            logits = model.network(torch.tensor([[*prompt, *response]])).logits[0].double()
        logits = logits[len(prompt) - 1 : -1, : len(model.tokenizer)]
        logp = logits.log_softmax(-1)
        own = logp.gather(1, torch.tensor(response, dtype=torch.long)[:, None])[:, 0]
        torch.testing.assert_close(alone.logp_T, own, atol=1e-3, rtol=1e-3)
        assert (alone.likeliest_T == logp.argmax(-1)).double().mean() > 0.98 or not response
        torch.testing.assert_close(
            alone.entropy_T, -(logp.exp() * logp).sum(-1), atol=1e-3, rtol=1e-3
        )


def test_reading_batch_by_batch_changes_nothing(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    pairs = [([5 + i, 6, 7], [8 + (i * j) % 200 for j in range(1 + 11 * i)]) for i in range(14)]
    hidden = response_hidden(model, pairs)
    together = likelihood(hidden, head_of(model), [r for _, r in pairs])
    found = likelihood_of(model, pairs)
    assert torch.allclose(found.logp_T, together.logp_T, atol=1e-5)
    assert torch.equal(found.likeliest_T, together.likeliest_T)


def test_texts_joined_and_taken_apart_are_the_same() -> None:
    lengths = [4, 0, 2]
    whole = likelihood(
        [torch.randn(n, 3) for n in lengths], Head(torch.randn(7, 3)), [[1] * n for n in lengths]
    )
    again = Likelihood.joined(whole.by_text())
    assert again.lengths == whole.lengths
    assert torch.equal(again.logp_T, whole.logp_T)
    assert torch.equal(again.likeliest_T, whole.likeliest_T)
    assert torch.equal(again.entropy_T, whole.entropy_T)
    assert Likelihood.joined([]).nll.shape == (0,)
