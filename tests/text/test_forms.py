"""Plain forms: what tells no answer from another goes, and nothing else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.recipe.plain import labels_problem
from potstill.text.forms import plain, short_answer


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("  New\nYork. ", "new york"),
        ("**New York**.", "new york"),
        ("__Paris__", "paris"),
        ("*Paris*!", "paris"),
        ("`Paris`", "paris"),
        ("The **Hague**", "the hague"),
        ("“Paris”", "paris"),
        ("«Paris»", "paris"),
        ("「東京」。", "東京"),
        ("## Paris", "paris"),
        ("- Paris", "paris"),
        ("```\nParis\n```", "paris"),
        ("<answer>Paris</answer>", "paris"),
        ("Ｐａｒｉｓ", "paris"),
        ("caf\u00e9", "cafe\u0301"),
        ("Paris…", "paris"),
        ("-5", "-5"),
        ("- 5", "- 5"),
        ("3.5", "3.5"),
        ("C++", "c++"),
        ("x²", "x²"),
        ("½", "½"),
        ("2*3*4", "2*3*4"),
        ("snake_case_name", "snake_case_name"),
        ('"a" and "b"', '"a" and "b"'),
        ("**a** or **b**", "a or b"),
        (".", "."),
        ('""', '""'),
        ("", ""),
    ],
)
def test_plain(text: str, form: str) -> None:
    assert plain(text) == unicodedata.normalize("NFC", form)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Answer: Paris", "paris"),
        ("**Answer:** Paris.", "paris"),
        ("The final answer is: **Paris**", "paris"),
        ("Label = spam", "spam"),
        ("答案：巴黎", "巴黎"),
        ("Answer:", "answer"),
        ("The answer", "the answer"),
        ("Answers: two", "answers: two"),
        ("labelled", "labelled"),
    ],
)
def test_words_that_only_lead_to_an_answer(text: str, form: str) -> None:
    assert short_answer(text) == form


@given(st.text(max_size=60))
def test_forms_are_their_own_forms(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("yes", "**Yes**"), "holds yes and **Yes**, which are one label"),
        (("a", '"A."'), 'holds a and "A.", which are one label'),
        (("yes", "!"), "holds a label without a letter or digit"),
        (("yes", ""), "holds a label without a letter or digit"),
    ],
)
def test_labels_that_cannot_be_told_apart(labels: tuple[str, ...], problem: str) -> None:
    assert (labels_problem(labels) or "").startswith(problem)


@pytest.mark.parametrize("labels", [("yes", "no"), ("C", "C++"), ("not urgent", "urgent")])
def test_labels_that_can(labels: tuple[str, ...]) -> None:
    assert labels_problem(labels) is None
