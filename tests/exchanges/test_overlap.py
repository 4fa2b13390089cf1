"""Overlap of prompts: what counts as the same, what as near, and what a template hides."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.exchanges.overlap import (
    TEMPLATE_COUNT,
    overlap,
    prompt_text,
)
from potstill.text.words import words_of

texts = st.lists(
    st.lists(st.sampled_from(list("abcdef")), min_size=1, max_size=8).map(" ".join), max_size=12
)


def plain_overlap(train: list[str], held_out: list[str], threshold: float) -> tuple[set, set]:
    """Compare all pairs, without an index: the oracle for sets too small to have a template."""
    exact, near = set(), set()
    for i, text in enumerate(train):
        one = words_of(text)
        for other in map(words_of, held_out):
            sizes = [
                {words[j : j + 3] for j in range(max(1, len(words) - 2))} for words in (one, other)
            ]
            if one == other:
                exact.add(i)
            elif len(sizes[0] & sizes[1]) / len(sizes[0] | sizes[1]) >= threshold:
                near.add(i)
    return exact, near - exact


@given(texts, texts, st.sampled_from([0.2, 0.5, 0.6, 0.9]))
def test_equals_comparison_of_all_pairs(train, held_out, threshold):
    report = overlap(train, held_out, threshold=threshold)
    exact, near = plain_overlap(train, held_out, threshold)
    assert (report.exact, report.near) == (len(exact), len(near))
    assert set(report.train_indices) == exact | near
    assert (report.train, report.held_out) == (len(train), len(held_out))


@given(st.text(max_size=60))
def test_a_text_overlaps_itself(text):
    report = overlap([text], [text])
    assert (report.exact, report.near) == (1, 0)


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("What is the capital of France?", "what is the capital of france"),
        ("Tell  me\nabout cafés!", "Tell me about cafe\u0301s"),
        ("“Quoted” text", '"quoted" TEXT'),
    ],
)
def test_case_punctuation_and_spacing_make_no_difference(train, held_out):
    assert overlap([train], [held_out]).exact == 1


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("What is 17 - 25?", "What is 17 + 25?"),
        ("What is -5 times 3?", "What is 5 times 3?"),
        ("Is 3 < 4?", "Is 3 > 4?"),
        ("What is C?", "What is C++?"),
        ("What is C#?", "What is C++?"),
        ("Is $5 much?", "Is 5% much?"),
        ("What is 6 * 2?", "What is 6 / 2?"),
    ],
)
def test_another_sign_is_another_prompt(train, held_out):
    assert overlap([train], [held_out]).train_indices == ()


def test_one_changed_word_in_a_long_prompt_is_near():
    prompt = (
        "A train leaves at nine and travels two hundred kilometres to the coast. When is it there?"
    )
    report = overlap([prompt.replace("coast", "hills")], [prompt])
    assert (report.exact, report.near) == (0, 1)


def test_another_topic_under_a_short_wording_is_not_near():
    report = overlap(["Write a poem about winter."], ["Write a poem about my aunt."])
    assert report.train_indices == ()


SHELL = "Read the following customer review with care and say whether it is good or bad: {}"


def _reviews(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(count)]


def test_a_shared_template_does_not_make_prompts_near():
    train = [SHELL.format(text) for text in _reviews(300, 1)]
    held_out = [SHELL.format(text) for text in _reviews(60, 2)]
    assert overlap(train, held_out).train_indices == ()


def test_a_leak_under_a_template_is_found():
    train = [SHELL.format(text) for text in _reviews(300, 1)]
    held_out = [SHELL.format(text) for text in _reviews(60, 2)]
    train[17] = held_out[3].upper()
    train[40] = held_out[5] + " x"
    report = overlap(train, held_out)
    assert report.train_indices == (17, 40)
    assert (report.exact, report.near) == (1, 1)


def test_many_variants_of_one_held_out_prompt_are_found():
    # So many that all shingles of the held-out prompt look like a template's.
    prompt = "Why do the leaves of some trees turn red and gold in the autumn months"
    train = [f"{prompt} {i}" for i in range(10 * TEMPLATE_COUNT)]
    assert overlap(train, [prompt]).near == len(train)


def test_languages_without_spaces_are_compared_by_character():
    held_out = "请用简单的话解释一下光合作用是怎样进行的"
    assert overlap([held_out.replace("简单", "容易")], [held_out]).near == 1
    assert overlap(["请写一首关于大海的短诗送给我的朋友吧"], [held_out]).near == 0


def test_prompt_text_leaves_the_system_message_out():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert prompt_text(messages) == "Hi"


def test_record_has_what_evaluation_json_needs():
    record = overlap(["a b"], ["a b"]).record()
    assert set(record) == {
        "held_out",
        "train",
        "exact",
        "near",
        "dropped_from_training",
        "method",
        "threshold",
    }
