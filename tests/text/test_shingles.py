"""Shingles: the runs of words in a text, and what two texts share of them."""

from __future__ import annotations

from potstill.text.shingles import jaccard, shingles_of


def test_jaccard_of_short_texts():
    assert jaccard(shingles_of(["a"]), shingles_of(["a"])) == 1.0
    assert jaccard(shingles_of(["a", "b"]), shingles_of(["b", "a"])) == 0.0


def test_shingles_are_runs_and_a_short_text_is_one():
    assert shingles_of(["a", "b", "c", "d"]) == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles_of(["a", "b", "c"], 2) == {("a", "b"), ("b", "c")}
    assert shingles_of([]) == {()}
