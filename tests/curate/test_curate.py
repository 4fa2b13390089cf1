"""Curation as a whole: order, counts, splits, and marks in a store."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from curate_rows import exchange, judge_that
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.curate.curate import MARKER, check, curate, write_marks
from potstill.curate.curation import FILTERS
from potstill.curate.judge import Judge
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import CurateConfig

EVERYTHING = CurateConfig.model_validate(
    {
        "truncated": "drop",
        "refusals": "drop",
        "repetition": "drop",
        "languages": ["en"],
        "exact_duplicates": True,
        "near_duplicates": 0.7,
        "verify": {"kind": "label", "labels": ["yes", "no", "perhaps so"]},
        "keep_shortest": 1,
    }
)
QUESTION = "Is the harbour of the small town in the north of the island open in winter or not?"


def judge_of(words: str) -> Judge:
    return judge_that(lambda row: words.format(row.response))


def reasons(rows: list[Exchange], config: CurateConfig, **others: Any) -> dict[str, str]:
    found = curate(rows, config, **{"text_only": True, **others})
    assert [mark.exchange_id for mark in found.marks] == sorted({r.exchange_id for r in rows})
    assert all(mark.marker == MARKER and mark.kept == (not mark.reason) for mark in found.marks)
    return {mark.exchange_id: mark.reason for mark in found.marks if not mark.kept}


def test_by_default_only_what_nobody_wants_is_dropped() -> None:
    rows = [
        exchange("a", "I'm sorry, but I can't help with that."),
        exchange("b", "\0"),
        exchange("c", " "),
        exchange("d", "It is", finish_reason="length"),
        exchange("e", "I'm sorry, but I can't help with that."),
    ]
    broken = {"b": "invalid: a NUL character", "c": "empty: no answer"}
    assert reasons(rows, CurateConfig(), text_only=False) == broken
    cut = {"d": "truncated: ended at the token limit"}
    assert reasons(rows, CurateConfig(), text_only=True) == broken | cut


def test_every_filter_drops_its_own_and_the_first_reason_stands() -> None:
    evaluation = "one two three four five six seven eight nine ten eleven twelve thirteen"
    rows = [
        exchange("a", "yes"),
        exchange("b", "y\0es", finish_reason="length"),
        exchange("c", ""),
        exchange("d", "ye", finish_reason="length"),
        exchange("e", "I cannot help with that."),
        exchange("f", "no " * 30),
        exchange("g", "Das Wetter ist heute sehr schön, und morgen soll es leider regnen."),
        exchange("h", "yes", prompt=evaluation),
        exchange("i", "maybe"),
        exchange("j", "yes"),
        exchange("k", "no", prompt=QUESTION),
        exchange("l", "no", prompt=QUESTION + " Say it."),
        exchange("m", "perhaps so", prompt="Bad?"),
        exchange("n", "perhaps so"),
    ]
    judge = judge_that(lambda r: f"Score: {1 if r.messages[0]['content'] == 'Bad?' else 5}", "j")
    rows += [exchange("o", "yes", prompt="Long?"), exchange("p", "yes", prompt="Odd?")]
    found = curate(
        rows,
        EVERYTHING,
        evaluation_texts=[evaluation],
        judge=judge,
        text_only=True,
        unlearnable={"too_long": {"o": "9 tokens"}, "unrenderable": {"p": "no such role"}},
    )
    first = {mark.exchange_id: mark.reason for mark in found.marks}
    assert first == {
        "a": "",
        "b": "invalid: a NUL character",
        "c": "empty: no answer",
        "d": "truncated: ended at the token limit",
        "e": "refusal: begins with a refusal",
        "f": "repetition: ends in a loop",
        "g": "language: in de",
        "h": "contaminated: 13 words of an evaluation set",
        "i": "verify: no allowed label, or several",
        "j": "duplicate: as a",
        "k": "",
        "l": "near_duplicate: like k",
        "m": "judge: score 1 below 3",
        "n": "sample: longer than 1 other right answer",
        "o": "too_long: 9 tokens",
        "p": "unrenderable: no such role",
    }
    assert list(found.dropped) == list(FILTERS)
    assert set(found.dropped.values()) == {1}
    assert found.examples == {name: (key,) for name, key in zip(FILTERS, "bcpodefghijlmn")}  # noqa: B905
    # Alone: b was cut off too, and b to g and i are no labels.
    assert found.alone["truncated"] == 2
    assert found.alone["verify"] == 7
    assert found.alone["judge"] == 1
    assert (found.train, found.train_kept, found.judge) == (16, 2, "j")
    assert found.kept == {"a", "k"}


def test_what_stays_of_several_alike_passed_everything_before() -> None:
    rows = [
        exchange("a", "It is open", finish_reason="length"),
        exchange("b", "It is open"),
        exchange("c", "it is open"),
    ]
    config = CurateConfig(exact_duplicates=True)
    assert reasons(rows, config) == {
        "a": "truncated: ended at the token limit",
        "c": "duplicate: as b",
    }
    assert curate(rows, config, text_only=True).alone["duplicate"] == 2


@pytest.mark.parametrize("split", ["held_out", "validation"])
def test_rows_that_measure_are_dropped_only_where_invalid_or_empty(split: Any) -> None:
    rows = [
        exchange("a", "yes", prompt=QUESTION),
        exchange("b", "yes", prompt=QUESTION, split=split),
        exchange("c", "I cannot help with that.", split=split, finish_reason="length"),
        exchange("d", "", split=split),
        exchange("e", "\0", split=split),
        exchange("f", "yes", prompt=QUESTION, split=split),
    ]
    found = reasons(rows, EVERYTHING, evaluation_texts=[QUESTION], judge=judge_of("Score: 5"))
    assert set(found) == {"a", "d", "e"}
    assert found["a"].startswith("contaminated")


texts = st.sampled_from(
    ["yes", "Yes.", "no", "maybe", "", "\0", "\ud800", "I can't help with that.", "no " * 40]
)
rows_drawn = st.lists(
    st.builds(
        lambda number, response, prompt, split, reason: exchange(
            f"id-{number:02d}", response, prompt=prompt, split=split, finish_reason=reason
        ),
        st.integers(0, 40),
        texts,
        st.sampled_from(["Is it?", QUESTION, QUESTION.upper() + " Well?", "\ud800"]),
        st.sampled_from(["train", "train", "train", "held_out", "validation"]),
        st.sampled_from(["stop", "stop", "length"]),
    ),
    unique_by=lambda row: row.exchange_id,
    max_size=15,
)


@settings(deadline=None, max_examples=60)
@given(rows_drawn, st.randoms())
def test_order_and_repetition_of_rows_change_nothing(
    rows: list[Exchange], rng: random.Random
) -> None:
    def judged(given: list[Exchange]) -> Any:
        return curate(given, EVERYTHING, judge=judge_of("Score: 4"), text_only=True)

    once = judged(rows)
    shuffled = [*rows, *rows[:3]]
    rng.shuffle(shuffled)
    assert judged(shuffled) == once
    assert once.train_kept + sum(once.dropped.values()) == once.train
    assert sum(sum(found.values()) for found in once.elsewhere.values()) == sum(
        not mark.kept
        for mark, row in zip(once.marks, sorted(rows, key=_key), strict=True)
        if row.split != "train"
    )
    # What compares rows may drop more of those that are left than of all: another one stays.
    compares = ("near_duplicate", "sample")
    assert all(
        once.dropped[name] <= count for name, count in once.alone.items() if name not in compares
    )


def _key(row: Exchange) -> str:
    return row.exchange_id


@settings(deadline=None, max_examples=60)
@given(rows_drawn)
def test_curating_what_is_kept_drops_nothing_more(rows: list[Exchange]) -> None:
    kept = curate(rows, EVERYTHING, text_only=True).kept
    again = curate([row for row in rows if row.exchange_id in kept], EVERYTHING, text_only=True)
    assert again.kept == kept


@settings(deadline=None, max_examples=60)
@given(rows_drawn, texts)
def test_an_unrelated_row_never_brings_an_exact_duplicate_back(
    rows: list[Exchange], response: str
) -> None:
    config = CurateConfig(exact_duplicates=True)
    unrelated = exchange("zz", response, prompt="something else altogether")
    before = reasons(rows, config)
    after = reasons([*rows, unrelated], config)
    assert before.items() <= after.items()


def test_marks_are_stored_once_and_another_recipe_replaces_them(tmp_path: Path) -> None:
    rows = [exchange("a", "yes"), exchange("b", "YES"), exchange("c", "", prompt="?")]
    store = ExchangeStore(tmp_path)
    store.append(rows)
    strict = curate(store.read(), CurateConfig(exact_duplicates=True), text_only=True)
    write_marks(store, strict)
    expected = [
        Mark("a", MARKER, True, ""),
        Mark("b", MARKER, False, "duplicate: as a"),
        Mark("c", MARKER, False, "empty: no answer"),
    ]
    assert store.marks() == expected
    store.compact()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_marks(store, curate(store.read(), CurateConfig(exact_duplicates=True), text_only=True))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    write_marks(store, curate(store.read(), CurateConfig(), text_only=True))
    assert [mark.kept for mark in store.marks()] == [True, True, False]
    assert len(store.read()) == 3


def test_verified_rows_are_counted_with_the_tokens_they_took() -> None:
    config = CurateConfig.model_validate({"verify": {"kind": "number"}})
    rows = [
        exchange("a", "It is 7", response_token_ids=tuple(range(6))),
        exchange("b", "It is 8", response_token_ids=tuple(range(4))),
        exchange("c", "It is 9", prompt="Unknown?"),
    ]
    gold = {rows[0].prompt_id: "7"}
    found = curate(rows, config, gold=gold, text_only=True)
    assert found.verified is not None
    assert found.record()["verified"] == {
        "checked": 2,
        "correct": 1,
        "unknown": 1,
        "tokens": 10,
        "correct_per_1000_tokens": 100.0,
    }
    assert found.kept == {"a", "c"}
    assert found.notes == ("1 of 3 training responses have no gold answer: kept",)
    with pytest.raises(PotstillError, match="none of the 1 gold answers belongs to a prompt"):
        curate(rows, config, gold={"elsewhere": "7"}, text_only=True)


def test_gold_answers_outside_the_labels_are_refused_before_anything_is_collected() -> None:
    with pytest.raises(PotstillError, match="1 of 1 gold answers are no labels"):
        check(EVERYTHING, {"p": "perhaps"})
    with pytest.raises(PotstillError, match=r"curate\.languages holds xx"):
        check(CurateConfig(languages=("xx",)))
    check(EVERYTHING, {"p": "yes"})


def test_a_judge_is_asked_only_about_what_is_left_and_is_named() -> None:
    asked = []

    def says(row: Exchange) -> str:
        asked.append(row.response)
        return "?" if row.response == "odd" else f"Score: {len(row.response)}"

    rows = [
        exchange(key, text) for key, text in zip("abcd", ["", "12", "1234", "odd"], strict=True)
    ]
    found = curate(rows, CurateConfig(), judge=judge_that(says, "j"), text_only=True)
    assert asked == ["12", "1234", "odd"]
    assert found.kept == {"c", "d"}
    assert found.judge == found.record()["judge"] == "j"
    assert found.scores == {"b": 2.0, "c": 4.0, "d": None}
    assert found.notes == ("j gave 1 responses no score that can be read: kept",)


def test_the_teacher_judges_only_where_the_recipe_says_so() -> None:
    rows = [exchange("a", "yes")]
    teacher = judge_that(lambda _: "Score: 5", "large", rows[0].teacher)
    with pytest.raises(PotstillError, match="the judge large is the teacher itself"):
        curate(rows, CurateConfig(), judge=teacher, text_only=True)
    config = CurateConfig.model_validate({"judge": {"judge_may_be_teacher": True}})
    assert curate(rows, config, judge=teacher, text_only=True).judge == "large"


def test_the_shortest_answer_that_the_judge_passes_stays() -> None:
    config = CurateConfig.model_validate({"judge": {"model": "j"}, "keep_shortest": 1})
    rows = [exchange("a", "1234"), exchange("b", "12345"), exchange("c", "1")]
    judge = judge_that(lambda row: f"Score: {len(row.response)}")
    assert reasons(rows, config, judge=judge) == {
        "b": "sample: longer than 1 other right answer",
        "c": "judge: score 1 below 3",
    }


def test_a_template_that_looks_like_contamination_is_pointed_out() -> None:
    shell = "Say whether the following review of a hotel is friendly or not, in one word: {}"
    rows = [exchange(f"{i}", "no", prompt=shell.format(i)) for i in range(4)]
    found = curate(rows, CurateConfig(), evaluation_texts=[shell], text_only=True)
    assert "4 of 4 training exchanges share words" in found.notes[0]
    with pytest.raises(PotstillError, match="drops all 4 training responses, most of them by cont"):
        found.require_training_rows()


def test_nothing_to_curate() -> None:
    found = curate([], EVERYTHING, text_only=True)
    assert found.marks == ()
    with pytest.raises(PotstillError, match="no training response to curate"):
        found.require_training_rows()


def test_reasons_quote_no_text() -> None:
    secret = "zanzibar"
    rows = [replace(exchange(f"{i}", f"{secret} {i}"), messages=()) for i in range(3)]
    config = CurateConfig.model_validate(
        {"verify": {"kind": "json", "json_schema": {"type": "object"}}}
    )
    more = exchange("9", f'{{"{secret}": 1}}')
    strict = {"type": "object", "additionalProperties": False}
    for schema in (config.verify.json_schema, strict):
        verify = {"kind": "json", "json_schema": schema}
        found = curate(
            [*rows, more], CurateConfig.model_validate({"verify": verify}), text_only=True
        )
        assert secret not in repr(found.record())
        assert all(secret not in mark.reason for mark in found.marks)
