"""Calls in the forms that people have: each told from its rows, and read as it was logged."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from call_logs import Take, Write
from potstill.errors import PotstillError
from potstill.logs import detect, read_calls
from potstill.logs.call import LoggedCall, Reason
from potstill.recipe import CallsConfig

WORDS = ("aa", "bb", "cc", "dd")
SYSTEM = {"role": "system", "content": "Answer in capital letters."}


def user(content: Any) -> dict:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict:
    return {"role": "assistant", "content": content, **more}


def calls_in(*paths: str, **fields: Any) -> dict[str, LoggedCall]:
    """Return the calls of a log by what they answered."""
    log = read_calls(CallsConfig(path=paths, **fields))
    assert not log.tally.left_out
    return {call.answer.response: call for call in log.calls}


def the_call(path: str, **fields: Any) -> LoggedCall:
    (call,) = calls_in(path, **fields).values()
    return call


def csv_file(path: Path, *rows: dict[str, Any]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        sign = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, list(rows[0]), delimiter=sign)
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            )
    return str(path)


# One call, Hi and Yes behind a system message, in every form.
TALK = [SYSTEM, user("Hi"), assistant("Yes")]
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"messages": TALK}),
    ("chat", {"system": SYSTEM["content"], "messages": TALK[1:]}),
    ("chat", {"system": SYSTEM["content"], "messages": TALK}),
    ("chat", {"messages": json.dumps(TALK)}),
    ("chat", {"messages": TALK[:2], "response": "Yes"}),
    ("sharegpt", {"conversations": [{"from": "system", "value": SYSTEM["content"]}, *SHARED]}),
    ("sharegpt", {"conversations": SHARED, "system": SYSTEM["content"]}),
    ("sharegpt", {"conversations": json.dumps(SHARED), "system_prompt": SYSTEM["content"]}),
    ("sharegpt", {"conversation": TALK}),
    ("alpaca", {"instruction": "Hi", "output": "Yes", "system": SYSTEM["content"]}),
    ("alpaca", {"instruction": "Hi", "input": "", "output": "Yes", "system": SYSTEM["content"]}),
    ("completion", {"prompt": TALK[:2], "completion": TALK[2:]}),
    ("completion", {"prompt": "Hi", "completion": "Yes", "system": SYSTEM["content"]}),
    ("table", {"prompt": "Hi", "response": "Yes", "system": SYSTEM["content"]}),
    ("table", {"prompt": TALK[:2], "response": "Yes"}),
    ("table", {"prompt": json.dumps(TALK[:2]), "response": json.dumps(TALK[2:])}),
    ("table", {"prompt": json.dumps(TALK)}),
]


@pytest.mark.parametrize(("form", "row"), FORMS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_one_call_is_the_same_in_every_form_and_file(
    form: str, row: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"log.{kind}"
    if kind in ("csv", "tsv"):
        csv_file(path, row)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps([row], indent=1) if kind == "json" else json.dumps(row))
    assert detect(str(path)).form == form
    call = the_call(str(path))
    assert call.ask.messages == (SYSTEM, user("Hi"))
    assert call.answer.response == "Yes"


def test_of_a_shared_talk_the_last_turn_is_the_answer_and_earlier_ones_are_asked(
    write: Write,
) -> None:
    talk = [*SHARED, {"from": "human", "value": " And? "}, {"from": "gpt", "value": " No\n"}]
    call = the_call(write("log.jsonl", {"conversations": talk}))
    assert call.ask.messages == (user("Hi"), assistant("Yes"), user(" And? "))
    assert call.answer.response == " No\n"


ADD = {"instruction": "Add the numbers.", "input": "2 3", "output": "5"}


def test_alpacas_input_is_part_of_what_was_asked(write: Write) -> None:
    rows = [ADD, {**ADD, "input": "4 5", "output": "9"}, {**ADD, "input": "", "output": "Which?"}]
    found = calls_in(write("log.jsonl", *rows))
    asked = {answer: call.ask.messages[-1]["content"] for answer, call in found.items()}
    assert asked == {
        "5": "Add the numbers.\n\n2 3",
        "9": "Add the numbers.\n\n4 5",
        "Which?": "Add the numbers.",
    }


def test_alpacas_columns_named_in_the_recipe_keep_the_input_too(write: Write) -> None:
    path = write("log.jsonl", ADD)
    call = the_call(path, prompt_column="instruction", response_column="output")
    assert call.ask.messages == (user("Add the numbers.\n\n2 3"),)


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"prompt": " Hi\n", "response": "\tYes "}, {}),
        ({"messages": [user(" Hi\n"), assistant("\tYes ")]}, {}),
        ({"instruction": " Hi\n", "output": "\tYes "}, {}),
        ({"prompt": " Hi\n", "completion": "\tYes "}, {}),
        ({"conversations": [user(" Hi\n"), assistant("\tYes ")]}, {}),
        ({"q": "Hi", "response": "\tYes "}, {"template": " {q}\n"}),
    ],
)
def test_outer_white_space_stays_as_it_was_logged(write: Write, row, fields) -> None:
    call = the_call(write("log.jsonl", row), **fields)
    assert (call.ask.messages[-1]["content"], call.answer.response) == (" Hi\n", "\tYes ")


def test_parts_of_content_are_joined_and_other_media_are_counted(write: Write, take: Take) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    pictures = [{"type": "image"}, {"type": "image_url", "image_url": {"url": "x"}}]
    pictures += [{"type": "input_audio"}, {"type": "file", "file": {}}]
    rows = [{"messages": [user([*parts, {"text": f" {w}"}]), assistant(parts)]} for w in WORDS]
    shown = [{"messages": [user([*parts, one]), assistant("b")]} for one in pictures]
    calls = take(write("log.jsonl", *rows, *shown))
    assert {e.messages[-1]["content"] for e in calls.exchanges} == {f"one two {w}" for w in WORDS}
    assert {e.response for e in calls.exchanges} == {"one two"}
    assert calls.report.left_out == {str(Reason.MEDIA): 4}
    assert calls.report.places[str(Reason.MEDIA)][0] == "log.jsonl, line 5"


# A template over columns


def test_a_template_makes_the_prompt_of_a_tables_columns(tmp_path: Path) -> None:
    row = {"title": "Rain", "body": "It rains.", "n": 3, "answer": "Wet.", "system": "Be brief."}
    fields = {"template": "{title}: {body} ({n}) {{}}", "response_column": "answer"}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(row))
    expected = ({"role": "system", "content": "Be brief."}, user("Rain: It rains. (3) {}"))
    for name in (str(path), csv_file(tmp_path / "log.csv", row)):
        assert the_call(name, **fields).ask.messages == expected
    used = {**fields, "template": "{system} {body}"}
    assert the_call(str(path), **used).ask.messages == (user("Be brief. It rains."),)
    asked = read_calls(CallsConfig(path=str(path), use="prompts", template="{body}"))
    assert [turns.messages for turns, _ in asked.asks.values()] == [
        ({"role": "system", "content": "Be brief."}, user("It rains."))
    ]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("Summarise.", "collect.calls.template names no column"),
        ("{body", "collect.calls.template cannot be read"),
        ("{body.title}", "collect.calls.template may only hold plain column names"),
        ("{headline}", "has no column headline; the columns there are: body, response"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(write: Write, template, words) -> None:
    path = write("log.jsonl", {"body": "private", "response": "private"})
    with pytest.raises(PotstillError) as caught:
        read_calls(CallsConfig(path=path, template=template))
    assert words in str(caught.value)
    assert "private" not in str(caught.value)


def test_rows_without_text_for_a_template_are_counted(write: Write, take: Take) -> None:
    rows: list[dict] = [{"body": f"{w} {w}x {w}y", "response": w} for w in WORDS]
    rows += [{"response": "x"}, {"body": {"a": 1}, "response": "x"}, {"body": None, "response": ""}]
    report = take(write("log.jsonl", *rows), template="{body}").report
    assert report.left_out == {str(Reason.NO_COLUMN): 2, str(Reason.NO_PROMPT): 1}


# Files and folders


def test_a_folder_is_its_logs_and_what_is_no_log_is_named(write: Write, take: Take) -> None:
    rows = [{"messages": [user(f"{w} {w}x {w}y"), assistant(w)]} for w in WORDS]
    first = write("a.jsonl", *rows[:2])
    folder = Path(first).parent
    (folder / "b.json").write_text(json.dumps(rows[2:]))
    (folder / "README.md").write_text("private words")
    (folder / ".hidden").write_text("private words")
    calls = take(str(folder))
    assert {e.response for e in calls.exchanges} == set(WORDS)
    assert {e.source for e in calls.exchanges} == {"calls:a.jsonl", "calls:b.json"}
    assert calls.report.passed_over == ("README.md",)
    assert any("passed over: README.md" in note for note in calls.report.notes())
    both = take(str(folder), first)
    assert both.report.rows == 4, "a file that is named twice is read once"


def test_a_folder_of_several_forms_is_refused(write: Write) -> None:
    folder = Path(write("a.jsonl", {"messages": TALK})).parent
    write("b.jsonl", ADD)
    with pytest.raises(PotstillError, match=r"\(a\.jsonl is chat, b\.jsonl is alpaca\)"):
        read_calls(CallsConfig(path=str(folder)))


ROW = json.dumps({"messages": TALK})
BAD_FILES = [
    ("log.json", "[{", "is no valid JSON (line 2, column 1: "),
    ("log.json", '[\n {"a": NaN}]', "cannot be read as JSON (NaN is no JSON)"),
    ("log.json", b"[\xff]", "cannot be read as JSON (not UTF-8)"),
    ("log.json", '["private"]', "(log.json, row 1, is no JSON object or valid row)"),
    ("log.json", '{"data": [{"said": "private"}]}', "its columns are: said."),
    ("log.json", '{"a": [{"n": 1}], "b": [{"n": 2}]}', "several lists of objects; save the one"),
    ("log.json", '{"data": {"calls": [{"n": 1}]}}', "Write the calls as .jsonl, one object a line"),
    ("log.json", '{"data": ["private"], "n": 1}', "Write the calls as .jsonl, one object a line"),
    ("log.json", '{"prompt": {"0": "private"}, "response": {"0": "a"}}', "save it as records, or"),
    ("log.json", "", "log.json is empty; give a file"),
    ("log.csv", "prompt;response\tmodel\na;b", "has semicolons and tabs in its header"),
    ("log.csv", "question,answer\na,b", "log.csv, line 2, is of no known form; its columns are"),
    ("log.jsonl", '{"chosen": [], "rejected": []}', "its columns are: chosen, rejected."),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD_FILES)
def test_files_that_fit_no_form_say_where_and_why(write: Write, name, content, words) -> None:
    with pytest.raises(PotstillError) as caught:
        read_calls(CallsConfig(path=write(name, content)))
    assert words in str(caught.value)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        f"[{ROW}]",
        f"\ufeff[\n{ROW}\n]\n",
        f"{ROW}\n{ROW}",
        f"{ROW}\n",
        json.dumps(json.loads(ROW), indent=2),
    ],
)
def test_a_json_file_holds_an_array_an_object_or_lines(write: Write, content: str) -> None:
    assert the_call(write("log.json", content)).answer.response == "Yes"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"conversations": [{"from": "private words", "value": "a"}, SHARED[1]]},
            "1 no prompt (log.jsonl, line 1: conversations[0].from holds what is none of",
        ),
        (
            {"conversations": [{"from": "guide", "value": "a"}, SHARED[1]]},
            "(log.jsonl, line 1: conversations[0].from is guide, which is none of",
        ),
        (
            {"messages": [user(7), assistant("b")]},
            "1 not text (log.jsonl, line 1: messages[0].content holds int",
        ),
        (
            {"request": {"messages": [user("a"), user({"a": 1})]}, "response": "b"},
            "(log.jsonl, line 1: messages[1].content holds dict",
        ),
        (
            {"instruction": "a", "output": "b", "history": [["c", "d"]]},
            "(log.jsonl, line 1: history holds earlier turns",
        ),
        (
            {"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"},
            "1 answers to choose between, none of which was given (log.jsonl, line 1: chosen",
        ),
        (
            {"system": "a", "messages": [SYSTEM, user("b"), assistant("c")]},
            "(log.jsonl, line 1: system stands beside messages that have a system message",
        ),
    ],
)
def test_where_nothing_fits_line_and_field_are_named(write: Write, take: Take, row, words) -> None:
    with pytest.raises(PotstillError) as caught:
        take(write("log.jsonl", row))
    assert words in str(caught.value)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"template": "{a}", "form": "chat"}, "template and form chat cannot be combined"),
        ({"prompt_column": "a", "form": "alpaca"}, "prompt_column and form alpaca cannot"),
        ({"template": "{a}", "prompt_column": "a"}, "template and prompt_column cannot be"),
        ({"whole_requests": True, "form": "table"}, "whole_requests and form table cannot"),
    ],
)
def test_settings_without_a_use_are_refused(fields, words) -> None:
    with pytest.raises(ValueError, match=words):
        CallsConfig(path="log.jsonl", **fields)


ASKED = {
    "messages": [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes"}]
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "around",
    [
        {"data": [ASKED]},
        {"object": "list", "data": [ASKED], "has_more": False, "first_id": "x"},
        {"version": 2, "rows": [{"instruction": "Is it?", "output": "Yes"}]},
        {"examples": [{"prompt": "Is it?", "completion": "Yes"}], "tags": ["a"], "meta": {}},
    ],
)
def test_an_object_around_rows_stands_for_them(write: Write, around, indent) -> None:
    call = the_call(write("log.json", json.dumps(around, indent=indent)))
    assert (call.ask.messages[0]["content"], call.answer.response) == ("Is it?", "Yes")


@pytest.mark.parametrize("sign", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("header", ["prompt,response", "instruction,output", "prompt,completion"])
def test_columns_parted_by_other_signs_are_read_and_said(write: Write, sign, quote, header) -> None:
    names = sign.join(f"{quote}{name}{quote}" for name in header.split(","))
    path = write("log.csv", f'\n{names}\n"Is it, or{sign} not?"{sign}Yes\nshort\n')
    log = read_calls(CallsConfig(path=path))
    (call,) = log.calls
    assert call.ask.messages[0]["content"] == f"Is it, or{sign} not?"
    assert call.answer.response == "Yes"
    assert "between its columns, not commas" in log.detected.why
    assert log.tally.left_out == {"unreadable": 1}
