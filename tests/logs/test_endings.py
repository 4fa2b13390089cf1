"""What is not known to be whole is not learnt as whole."""

from __future__ import annotations

import pytest

from call_logs import Take, Write
from potstill.logs.call import LoggedAnswer, Reason
from potstill.logs.readers import Columns, read_alpaca, read_chat, read_sharegpt, read_table

USER = {"role": "user", "content": "Is 7 prime?"}
HALF = {"role": "assistant", "content": "Yes, sev"}


def chat(choice: dict) -> dict:
    return {"request": {"messages": [USER]}, "response": {"choices": [choice]}}


def only(row: dict) -> LoggedAnswer | Reason:
    (answer,) = read_chat(row).answers
    return answer


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"message": HALF, "finish_reason": "error"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "abort"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "stop", "error": {"code": 502}}, Reason.ERROR),
        ({"message": {**HALF, "error": "timeout"}, "finish_reason": "stop"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "cancelled"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "network_error"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "in_progress"}, Reason.ERROR),
        ({"message": HALF, "finish_reason": "content_filter"}, Reason.FILTERED),
        ({"message": HALF, "finish_reason": "SAFETY"}, Reason.FILTERED),
        ({"message": HALF, "finish_reason": "refusal"}, Reason.FILTERED),
        ({"message": HALF, "finish_reason": "sensitive"}, Reason.FILTERED),
        ({"message": {**HALF, "refusal": "I cannot."}, "finish_reason": "stop"}, Reason.REFUSED),
        ({"message": HALF, "finish_reason": "weird"}, Reason.END_UNKNOWN),
        ({"message": HALF, "finish_reason": 7}, Reason.END_UNKNOWN),
        ({"message": HALF, "finish_reason": None}, Reason.END_BLANK),
        ({"message": HALF, "finish_reason": ""}, Reason.END_BLANK),
        ({"message": HALF}, Reason.END_BLANK),
    ],
)
def test_choices_that_are_not_known_to_be_whole_are_left_out(choice, reason) -> None:
    assert only(chat(choice)) is reason


@pytest.mark.parametrize("end", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_a_choice_that_was_cut_at_its_length_stays_cut(end: str, write: Write, take: Take) -> None:
    rows = [
        {
            "request": {"messages": [{"role": "user", "content": f"{w} {w}x {w}y"}]},
            "response": {"choices": [{"message": HALF, "finish_reason": end}]},
        }
        for w in ("aa", "bb", "cc")
    ]
    found = take(write("log.jsonl", *rows)).exchanges
    assert [row.finish_reason for row in found] == ["length"] * 3


TABLE = {"prompt": "Is 7 prime?", "response": "Yes, sev"}
SHARED = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ({"finish_reason": "error"}, Reason.ERROR),
        ({"finish_reason": "abort"}, Reason.ERROR),
        ({"error": "timeout"}, Reason.ERROR),
        ({"status": 500}, Reason.ERROR),
        ({"status": "failed"}, Reason.ERROR),
        ({"stop_reason": "refusal"}, Reason.FILTERED),
        ({"finish_reason": "odd"}, Reason.END_UNKNOWN),
        ({"finish_reason": ""}, Reason.END_BLANK),
        ({"finish_reason": None}, Reason.END_BLANK),
    ],
)
def test_every_form_that_states_an_end_is_taken_at_its_word(beside, reason) -> None:
    rows = (
        read_table({**TABLE, **beside}, Columns()),
        read_chat({"messages": [USER, HALF], **beside}),
        read_chat({"request": {"messages": [USER]}, "response": HALF, **beside}),
        read_chat({"request": {"messages": [USER]}, "response": "Yes, sev", **beside}),
        read_chat({"messages": [USER], "response": "Yes, sev", **beside}),
        read_sharegpt({**SHARED, **beside}),
        read_alpaca({"instruction": "a", "output": "b", **beside}),
    )
    assert [row.answers for row in rows] == [(reason,)] * len(rows)


def test_where_a_form_says_nothing_of_ends_an_answer_counts_as_whole_and_it_is_said(
    write: Write, take: Take
) -> None:
    rows = [{**TABLE, "prompt": f"{w} {w}x {w}y"} for w in ("aa", "bb", "cc")]
    broken = {**TABLE, "prompt": "dd ddx ddy", "finish_reason": "abort"}
    report = take(write("log.jsonl", *rows, broken)).report
    assert report.left_out == {"error": 1}
    assert report.places == {"error": ("log.jsonl, line 4",)}
    assert report.finish_reasons == {"not stated": 3}
    notes = " ".join(report.notes())
    assert "how 3 of 3 responses ended is not known, since nothing in this form says so" in notes


@pytest.mark.parametrize("field", ["done_reason", "stop_type", "finishReason", "stopReason"])
@pytest.mark.parametrize(
    ("stated", "kept"), [("length", "length"), ("MAX_TOKENS", "MAX_TOKENS"), ("stop", "stop")]
)
def test_an_end_is_read_by_the_names_of_other_servers(field, stated, kept) -> None:
    asked = {"messages": [USER]}
    table = {"prompt": "Is 7 prime?", "response": "Yes, sev", field: stated}
    rows = [
        only({"request": asked, "response": {**HALF, field: stated}}),
        only({"request": asked, "response": {"content": "Yes, sev", field: stated}}),
        only({"messages": [USER, HALF], field: stated}),
        only({"request": asked, "response": {"message": HALF, "done": True, field: stated}}),
        *read_table(table, Columns()).answers,
    ]
    assert all(isinstance(row, LoggedAnswer) and row.finish_reason == kept for row in rows)
    failed = read_table({**table, field: "error"}, Columns())
    assert failed.answers == (Reason.ERROR,)


def test_a_message_in_a_body_that_states_no_end_is_left_out() -> None:
    row = {"request": {"messages": [USER]}, "response": {"message": HALF, "done": False}}
    assert only(row) is Reason.END_BLANK


@pytest.mark.parametrize("written", ["", "null", "None", "{}", "NaN", "[]"])
def test_a_cell_that_spells_no_error_is_none(written) -> None:
    row = {"prompt": "Is 7 prime?", "response": "Yes.", "finish_reason": "stop"}
    (answer,) = read_table({**row, "error": written}, Columns()).answers
    assert isinstance(answer, LoggedAnswer)
    assert read_table({**row, "error": "timeout"}, Columns()).answers == (Reason.ERROR,)


@pytest.mark.parametrize("blank", [None, ""])
def test_a_place_that_is_blank_leaves_the_word_to_another(blank) -> None:
    row = {"messages": [USER, HALF], "finish_reason": blank, "stop_reason": "max_tokens"}
    answer = only(row)
    assert isinstance(answer, LoggedAnswer)
    assert answer.finish_reason == "max_tokens"
    assert only({**row, "stop_reason": blank}) is Reason.END_BLANK
