"""Which form a log has, and what bad files say."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from potstill.errors import PotstillError
from potstill.logs import (
    Detected,
    LogForm,
    detect,
    form_named,
    known_forms,
    read_calls,
    register,
    unregister,
)
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, Record
from potstill.logs.forms import ReadSettings, columns_of
from potstill.logs.readers import Columns
from potstill.logs.rows import SourceRow
from potstill.recipe import CallsConfig
from potstill.recipe.calls import LOG_FORMS

USER = {"role": "user", "content": "private words"}
CHAT = {"messages": [USER, {"role": "assistant", "content": "more private words"}]}
SPEND = {"request_id": "x", "call_type": "completion", "spend": 0, "startTime": "", "messages": []}


@pytest.mark.parametrize(
    ("row", "form", "why"),
    [
        (CHAT, "chat", "rows have messages"),
        ({"request": CHAT, "response": {}}, "chat", "rows have request and response"),
        ({"id": "c", "object": "chat.completion", "choices": []}, "chat", "rows have choices"),
        ({**CHAT, "response": "x"}, "chat", "rows have messages"),
        ({"custom_id": "a", "body": {}}, "batch", "rows have custom_id and body"),
        (
            {"custom_id": "a", "response": None, "error": {}},
            "batch",
            "rows have custom_id and resp",
        ),
        (SPEND, "litellm", "rows have call_type, spend, startTime"),
        ({"prompt": "a", "response": "b"}, "table", "rows have prompt and response"),
    ],
)
def test_the_first_rows_show_the_form(write, row, form, why) -> None:
    found = detect(write("log.jsonl", "garbage", row, row))
    assert found.form == form
    assert found.why.startswith(why)


def test_columns_that_the_recipe_names_decide(write) -> None:
    both = write("log.jsonl", {"messages": [USER], "answer": "x", "request": "a", "response": "b"})
    assert detect(both, ReadSettings(Columns("messages", "answer"))).form == "table"
    assert detect(both, ReadSettings(Columns("request", "response"))).form == "table"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{**CHAT, "prompt": "private", "response": "private"}],
            "could be of several forms: chat (rows have messages); table (rows have prompt and",
        ),
        (
            [CHAT, {"custom_id": "a", "body": {}}],
            "could be of several forms: batch (rows have cust",
        ),
        ([{"question": "private", "answer": "private"}], "its columns are: answer, question."),
        ([{"request": "private", "response": "private"}], "its columns are: request, response."),
        ([{"private words here": 1, "b": 2, "": 3}], "its columns are: b and 2 more."),
        ([], "log.jsonl is empty; give a file"),
        (["", "  "], "log.jsonl is empty; give a file"),
        (
            ["private", "[1]"],
            "has no readable row among its first 2 (log.jsonl, line 1, is no JSON",
        ),
    ],
)
def test_what_is_not_clear_is_asked_and_never_quoted(write, rows, words) -> None:
    with pytest.raises(PotstillError) as caught:
        detect(write("log.jsonl", *rows))
    assert words in str(caught.value)
    assert "private" not in str(caught.value)


def test_stating_the_form_settles_what_is_not_clear(write, take) -> None:
    rows = [
        {
            "messages": [{"role": "user", "content": f"m {w} {w}x"}, CHAT["messages"][1]],
            "prompt": f"p {w} {w}x",
            "response": "r",
        }
        for w in ("aa", "bb", "cc", "dd")
    ]
    path = write("log.jsonl", *rows)
    assert {e.response for e in take(path, form="table").exchanges} == {"r"}
    asked = {e.messages[-1]["content"][0] for e in take(path, form="table").exchanges}
    assert asked == {"p"}
    asked = {e.messages[-1]["content"][0] for e in take(path, form="chat").exchanges}
    assert asked == {"m"}


def test_files_of_different_forms_are_refused(write) -> None:
    paths = (write("a.jsonl", CHAT), write("b.jsonl", SPEND))
    with pytest.raises(PotstillError, match=r"\(a\.jsonl is chat, b\.jsonl is litellm\)"):
        read_calls(CallsConfig(path=paths))


def test_a_column_that_is_not_there_is_named_with_its_setting(write) -> None:
    path = write("t.csv", "q,a", "private,private")
    for fields, words in (
        (
            {"prompt_column": "Q", "response_column": "a"},
            "no column Q; the columns there are: a, q",
        ),
        (
            {"prompt_column": "q", "response_column": "A"},
            "no column A; the columns there are: a, q",
        ),
    ):
        with pytest.raises(PotstillError) as caught:
            read_calls(CallsConfig(path=path, form="table", **fields))
        assert words in str(caught.value)
        assert "private" not in str(caught.value)
    only_asked = CallsConfig(path=path, use="prompts", prompt_column="q", response_column="A")
    assert len(read_calls(only_asked).asks) == 1


def test_files_that_are_not_there_or_not_of_a_known_kind(write, tmp_path) -> None:
    cases = {
        str(tmp_path / "none.jsonl"): "does not exist; check collect.calls.path",
        write(
            "log.txt", "x"
        ): "log.txt is none of the known kinds; give a file that ends in .jsonl,",
        write("log.parquet", "x"): "log.parquet cannot be read (its content is not of the kind",
        write("log.jsonl.gz", "x"): "log.jsonl.gz cannot be read (its content is not of the kind",
        write("empty.csv"): "empty.csv is empty",
        write("header.csv", "prompt,response"): "header.csv is empty",
    }
    whole = gzip.compress(b"\n".join(json.dumps({**CHAT, "n": n}).encode() for n in range(999)))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    cases[str(cut)] = "cut.jsonl.gz cannot be read (it ends early); it may be damaged or cut off"
    for path, words in cases.items():
        with pytest.raises(PotstillError) as caught:
            read_calls(CallsConfig(path=path))
        assert words in str(caught.value)


def test_columns_without_a_plain_name_are_only_counted() -> None:
    assert columns_of(
        [SourceRow({"a": 1, "A sentence.": 2}, "x"), SourceRow({"a": 1, "b": 2}, "x")]
    ) == ("a, b and 1 more")
    assert columns_of([SourceRow({"A sentence.": 2}, "x")]) == "1 more"
    assert columns_of([SourceRow({}, "x")]) == "none"


def _read_mine(row, settings):
    return Record(
        Ask(({"role": "user", "content": row["q"]},), {}),
        (LoggedAnswer(row["a"]),),
        CallFacts(model="big"),
    )


@pytest.fixture
def mine():
    shown = lambda row, settings: "rows have q and a" if {"q", "a"} <= row.keys() else None  # noqa: E731
    yield register(LogForm("mine", shown, _read_mine))
    unregister("mine")


def test_a_form_of_ones_own_is_told_and_read(write, mine) -> None:
    path = write("log.jsonl", {"q": "Hi", "a": "Yes."})
    assert detect(path) == Detected("mine", "rows have q and a")
    for form in ("auto", "mine"):
        (call,) = read_calls(CallsConfig(path=path, form=form)).calls
        assert (call.ask.messages[0]["content"], call.answer.response) == ("Hi", "Yes.")
    assert "mine" in known_forms()


def test_a_form_is_known_for_as_long_as_it_is_registered(mine) -> None:
    with pytest.raises(PotstillError, match="there is a form of logs named mine already"):
        register(mine)
    unregister("mine")
    unregister("mine")
    with pytest.raises(PotstillError, match=r"no form of logs is named mine; there are batch, lit"):
        form_named("mine")
    with pytest.raises(PotstillError, match=r"\(did you mean sharegpt\?\)"):
        form_named("shargpt")
    with pytest.raises(ValueError, match="'chat', 'batch', 'litellm'"):
        CallsConfig(path="a", form="mine")


@pytest.mark.parametrize("name", ["auto", "Mine", "a b", "", "-a"])
def test_names_that_cannot_be_a_forms(name: str, mine) -> None:
    with pytest.raises(PotstillError, match="cannot name a form of logs"):
        register(replace(mine, name=name))


def test_a_form_is_read_in_one_way(mine) -> None:
    with pytest.raises(ValueError, match="needs one of read and read_files"):
        replace(mine, read=None)


def test_the_recipe_takes_the_forms_there_are() -> None:
    assert {*LOG_FORMS} == {"auto", *known_forms()}


@pytest.mark.parametrize("made", [None, "text", {"prompt": "x"}])
def test_what_a_form_makes_of_a_row_is_a_record_or_refused(write, mine, made) -> None:
    unregister("mine")
    register(replace(mine, read=lambda row, settings: made, account=lambda row: made))
    path = write("log.jsonl", {"q": "Hi", "a": "Yes."})
    with pytest.raises(PotstillError, match=rf"class {type(made).__name__} of .*, line 1"):
        read_calls(CallsConfig(path=path, form="mine", use="prompts"))
    with pytest.raises(PotstillError, match="of the class Account"):
        list(form_named("mine").accounts([path]))
