"""Contamination: a planted run is found wherever it stands, and nothing else is."""

from __future__ import annotations

from curate_rows import exchange
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.decontaminate import LEAST_WORDS, contaminated, evaluation_runs

QUESTION = (
    "A train leaves the station at nine and travels two hundred kilometres to the coast, so when "
    "does it get there if it stops twice for ten minutes?"
)
plain = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=12)
evaluation = st.lists(st.text("uvwxyz", min_size=1, max_size=4), min_size=LEAST_WORDS, max_size=25)


@given(plain, evaluation, plain, st.integers(5, 14), st.data())
def test_any_planted_run_is_found(
    before: list[str], text: list[str], after: list[str], words: int, data: st.DataObject
) -> None:
    length = min(words, len(text))
    start = data.draw(st.integers(0, len(text) - length))
    planted = " ".join([*before, *text[start : start + length], *after])
    where = data.draw(st.sampled_from(["prompt", "response", "reasoning"]))
    others = {"prompt": "red", "response": "red", "reasoning": "red", where: planted}
    row = exchange("a", others.pop("response"), **others)
    assert contaminated([row], evaluation_runs([" ".join(text)], words)) == {
        "a": f"{length} words of an evaluation set"
    }


@given(plain, evaluation)
def test_text_without_a_shared_word_is_kept(before: list[str], text: list[str]) -> None:
    row = exchange("a", " ".join(before))
    assert contaminated([row], evaluation_runs([" ".join(text)])) == {}


def test_case_and_punctuation_do_not_hide_a_run_and_twelve_words_are_kept() -> None:
    words = QUESTION.split()
    runs = evaluation_runs([QUESTION])
    assert contaminated([exchange("a", " — ".join(words[3:16]).upper())], runs)
    assert not contaminated([exchange("a", " ".join(words[3:15]))], runs)


def test_short_evaluation_texts_count_whole_or_not_at_all() -> None:
    assert evaluation_runs(["yes", "the capital of France", ""]) == frozenset()
    runs = evaluation_runs(["What is the capital of France?"])
    assert contaminated([exchange("a", "Q: what is the capital of france now")], runs)
    assert not contaminated([exchange("a", "What is the capital of Peru?")], runs)


def test_signs_stand_among_the_words_but_do_not_make_a_text_long_enough() -> None:
    runs = evaluation_runs(["Tell me: what is 17 - 25?", "2 + 2 = 4", "Is 3 < 4 / 5"])
    assert contaminated([exchange("a", "So tell me, what is 17 - 25 now")], runs)
    for text in ("So tell me, what is 17 + 25 now", "tell me what is 17 25", "2 + 2 = 4"):
        assert not contaminated([exchange("a", text)], runs)


def test_runs_do_not_span_messages() -> None:
    words = QUESTION.split()
    row = exchange("a", " ".join(words[8:20]), prompt=" ".join(words[:8]))
    assert contaminated([row], evaluation_runs([QUESTION])) == {}


def test_runs_of_a_template_can_be_left_out() -> None:
    shell = "Say whether the following review of a hotel is friendly or not, in one word: {}"
    runs = evaluation_runs([shell.format("the room had a view of nothing but a grey wall")])
    rows = [exchange(f"{i}", "no", prompt=shell.format(f"number {i}")) for i in range(5)]
    # Samples of one prompt are one prompt.
    rows += [exchange(f"s{i}", "no", prompt=QUESTION) for i in range(9)]
    assert len(contaminated(rows, runs)) == 5
    assert contaminated(rows, runs, common=4) == {}
    assert len(contaminated(rows, runs, common=5)) == 5
    assert len(contaminated(rows, evaluation_runs([QUESTION]), common=1)) == 9
