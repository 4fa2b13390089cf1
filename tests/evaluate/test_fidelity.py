"""Fidelity sums against a plain float64 oracle over full logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.errors import PotstillError
from potstill.evaluate.fidelity import compare, compare_all
from potstill.evaluate.summary import FidelitySums, kl_differences, summarise
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap

FIELDS = ("kl", "agree", "student_nll", "teacher_nll", "teacher_own_nll", "mass_removed", "tokens")


def made_head(rng, width: int, dim: int, *, padding=0, bias=False, softcap=None, scale=1.0) -> Head:
    weight = torch.from_numpy(rng.normal(0, 1.5, (width + padding, dim))).float()
    bias_V = torch.from_numpy(rng.normal(0, 1, width + padding)).float() if bias else None
    return Head(weight, bias_V, softcap=softcap, scale=scale, tokens=width)


def made_hidden(rng, lengths: list[int], dim: int) -> list[Tensor]:
    return [torch.from_numpy(rng.normal(0, 1, (n, dim))).float() for n in lengths]


def made_map(rng, teacher_width: int, padding: int, kept: int) -> VocabularyMap:
    teacher_ids = np.sort(rng.choice(teacher_width, kept, replace=False))
    student_ids = np.full(teacher_width + padding, -1)
    student_ids[:teacher_width] = rng.integers(0, kept, teacher_width)
    student_ids[teacher_ids] = np.arange(kept)
    return VocabularyMap(torch.from_numpy(teacher_ids), torch.from_numpy(student_ids))


def probabilities(hidden: Tensor, head: Head) -> np.ndarray:
    """Next-token probabilities in float64, padding without mass."""
    logits = hidden.double().numpy() @ head.weight_VD.double().numpy().T
    if head.bias_V is not None:
        logits = logits + head.bias_V.double().numpy()
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * np.tanh(logits / head.softcap)
    logits = logits[:, : head.tokens]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def oracle(teacher_hidden, teacher_head, student_hidden, student_head, ids, vocabulary):
    """The same sums, one position and one token at a time."""
    found = {name: [] for name in FIELDS}
    for th, sh, labels in zip(teacher_hidden, student_hidden, ids, strict=True):
        totals = dict.fromkeys(FIELDS, 0.0)
        teacher, student = probabilities(th, teacher_head), probabilities(sh, student_head)
        for own, q, label in zip(teacher, student, labels, strict=True):
            p, removed, teacher_label = own, 0.0, label
            if vocabulary is not None:
                p = np.zeros(len(q))
                kept = set(vocabulary.teacher_ids_K.tolist())
                for v, mass in enumerate(own):
                    p[int(vocabulary.student_ids_V[v])] += mass
                    removed += 0.0 if v in kept else mass
                teacher_label = int(vocabulary.teacher_ids_K[label])
            totals["kl"] += float(np.sum(p * (np.log(p) - np.log(q))))
            totals["agree"] += float(p.argmax() == q.argmax())
            totals["student_nll"] -= float(np.log(q[label]))
            totals["teacher_nll"] -= float(np.log(p[label]))
            totals["teacher_own_nll"] -= float(np.log(own[teacher_label]))
            totals["mass_removed"] += removed
            totals["tokens"] += 1
        for name, value in totals.items():
            found[name].append(value)
    return found


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_sums_equal_the_float64_oracle(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 7), min_size=1, max_size=5))
    width = draw(st.integers(2, 40))
    trimmed = draw(st.booleans())
    kept = draw(st.integers(1, width)) if trimmed else width
    padding, student_padding = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    extra = {
        "bias": draw(st.booleans()),
        "softcap": draw(st.sampled_from([None, 4.0])),
        "scale": draw(st.sampled_from([1.0, 0.3])),
    }
    teacher_head = made_head(rng, width, 6, padding=padding, **extra)
    student_head = made_head(rng, kept, 4, padding=student_padding, bias=draw(st.booleans()))
    vocabulary = made_map(rng, width, padding, kept) if trimmed else None
    teacher_hidden, student_hidden = made_hidden(rng, lengths, 6), made_hidden(rng, lengths, 4)
    ids = [rng.integers(0, kept, n).tolist() for n in lengths]
    found = compare(
        teacher_hidden,
        teacher_head,
        student_hidden,
        student_head,
        ids,
        vocabulary,
        chunk=draw(st.integers(1, 20)),
    )
    expected = oracle(teacher_hidden, teacher_head, student_hidden, student_head, ids, vocabulary)
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name), expected[name], rtol=2e-5, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precise", [True, False])
def test_a_model_equals_itself_exactly(dtype, precise):
    rng = np.random.default_rng(0)
    head = made_head(rng, 50, 8, padding=3)
    head = Head(head.weight_VD.to(dtype), tokens=50)
    hidden = [h.to(dtype) for h in made_hidden(rng, [4, 9], 8)]
    sums = compare(hidden, head, hidden, head, [[1] * 4, [2] * 9], precise=precise, chunk=5)
    assert sums.kl.tolist() == [0, 0]
    assert sums.agree.tolist() == [4, 9]


def test_a_whole_vocabulary_under_a_map_of_itself_changes_nothing():
    rng = np.random.default_rng(1)
    teacher_head, student_head = made_head(rng, 30, 5, padding=2), made_head(rng, 30, 5)
    hidden, ids = made_hidden(rng, [6], 5), [[0, 1, 2, 3, 4, 5]]
    identity = VocabularyMap(torch.arange(30), torch.tensor([*range(30), -1, -1]))
    plain = compare(hidden, teacher_head, hidden, student_head, ids)
    mapped = compare(hidden, teacher_head, hidden, student_head, ids, identity)
    np.testing.assert_allclose(mapped.kl, plain.kl, rtol=1e-6)
    assert mapped.mass_removed.tolist() == [0]


def test_certainty_gives_no_nan():
    # Logits of 0 and 800: probabilities are 1 and, in fp32, exactly 0.
    teacher_head = Head(torch.tensor([[800.0], [0.0], [0.0]]))
    student_head = Head(torch.tensor([[0.0], [800.0], [0.0]]))
    hidden = [torch.ones(2, 1)]
    same = compare(hidden, teacher_head, hidden, teacher_head, [[0, 0]])
    assert same.kl.tolist() == [0]
    apart = compare(hidden, teacher_head, hidden, student_head, [[0, 1]])
    assert apart.kl.tolist() == [1600]
    assert apart.agree.tolist() == [0]


def test_a_student_that_lacks_tokens_is_refused_in_words():
    rng = np.random.default_rng(2)
    hidden = made_hidden(rng, [3], 5)
    with pytest.raises(PotstillError, match=r"'pruned' is not finite.*tokenizer"):
        compare_all(
            hidden,
            made_head(rng, 20, 5),
            {"pruned": (hidden, made_head(rng, 19, 5))},
            [[1, 2, 3]],
        )


def test_states_that_do_not_match_the_text_are_a_bug():
    rng = np.random.default_rng(3)
    head = made_head(rng, 20, 5)
    with pytest.raises(ValueError, match="teacher do not match"):
        compare(made_hidden(rng, [2], 5), head, made_hidden(rng, [3], 5), head, [[1, 2, 3]])


def test_one_pass_over_several_students_equals_several_passes():
    rng = np.random.default_rng(4)
    lengths = [5, 0, 8]
    teacher_head = made_head(rng, 25, 5)
    vocabulary = made_map(rng, 25, 0, 12)
    teacher_hidden = made_hidden(rng, lengths, 5)
    ids = [rng.integers(0, 12, n).tolist() for n in lengths]
    students = {n: (made_hidden(rng, lengths, 4), made_head(rng, 12, 4)) for n in "abc"}
    together = compare_all(teacher_hidden, teacher_head, students, ids, vocabulary, chunk=3)
    for name, (hidden, head) in students.items():
        alone = compare(teacher_hidden, teacher_head, hidden, head, ids, vocabulary, chunk=200)
        np.testing.assert_allclose(together[name].kl, alone.kl, rtol=1e-6)


def test_gradients_are_not_kept_and_weights_not_touched():
    rng = np.random.default_rng(5)
    head = made_head(rng, 20, 5)
    trained = Head(torch.nn.Parameter(head.weight_VD.clone()), tokens=20)
    hidden = made_hidden(rng, [3], 5)
    before = trained.weight_VD.detach().clone()
    compare(hidden, head, hidden, trained, [[1, 2, 3]])
    assert trained.weight_VD.grad is None
    assert torch.equal(trained.weight_VD, before)


def made_sums(kl: list[float], tokens: list[float]) -> FidelitySums:
    kl_P, tokens_P = np.array(kl), np.array(tokens)
    return FidelitySums(kl_P, tokens_P / 2, kl_P * 2, kl_P, kl_P, kl_P * 0, tokens_P)


def test_several_responses_to_a_prompt_count_as_one():
    sums = made_sums([1, 2, 3, 4], [10, 10, 20, 20]).by_prompt(["b", "a", "b", "c"])
    assert sums.kl.tolist() == [4, 2, 4]
    assert sums.tokens.tolist() == [30, 10, 20]


def test_summary_and_differences_are_ratios_over_tokens():
    student = made_sums([1, 2, 6], [10, 10, 20])
    pruned = made_sums([4, 4, 10], [10, 10, 20])
    summary = summarise(student, resamples=300)
    assert summary["kl_per_token"].value == pytest.approx(9 / 40)
    assert summary["top1_agreement"].value == pytest.approx(0.5)
    assert summary["perplexity"].value == pytest.approx(np.exp(18 / 40))
    found = kl_differences({"student": student, "pruned": pruned}, resamples=300)
    assert set(found) == {"student_minus_pruned_kl", "student_over_pruned_kl"}
    assert found["student_minus_pruned_kl"].value == pytest.approx(-9 / 40)
    assert found["student_over_pruned_kl"].value == pytest.approx(0.5)
    perfect = made_sums([0, 0, 0], [10, 10, 20])
    without = kl_differences({"student": student, "untrained": perfect}, resamples=300)
    assert set(without) == {"student_minus_untrained_kl"}
