"""The serving log: its schema, its files, and that everything which reads logs reads it."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from served import served

from potstill.errors import PotstillError
from potstill.logs import form_named, read_calls
from potstill.logs.serving import ServedCall, configuration_of, served_row
from potstill.logs.serving_file import ServingLog, served_rows
from potstill.logs.twin_needs import NoTwin
from potstill.logs.written import read_written
from potstill.recipe import CallsConfig

DAY = datetime(2026, 11, 30, 12, tzinfo=UTC)


def rows_of(folder: Path) -> list[ServedCall | NoTwin]:
    return [row for row, _ in served_rows([str(folder)])]


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [served(i) for i in range(3)]
    ServingLog(tmp_path, clock=lambda: DAY).append(rows)
    (file,) = tmp_path.glob("*.jsonl")
    assert file.name == "2026-11-30.jsonl"
    found = rows_of(tmp_path)
    assert [row.model_copy(update={"salt": None}) for row in found] == rows
    salts = {row.salt for row in found if isinstance(row, ServedCall)}
    assert len(salts) == 3 and None not in salts


def test_rows_alike_have_digests_of_their_own(tmp_path: Path) -> None:
    ServingLog(tmp_path).append([served(), served()])
    digests = {row.digest for row in rows_of(tmp_path) if isinstance(row, ServedCall)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"turn": 2},
        {"turn": "1"},
        {"sampling": {"temperature": "1"}},
        {"sampling": {"temperature": 1.0, "n": 1}, "index": 1},
        {"at": "2026-11-30 08:00"},
        {"at": "2026-11-30T08:00:00+02:00"},
        {"response_token_ids": [-1]},
        {"watermark": "maybe"},
        {"watermark": {"key_id": "k"}},
        {"tools": "no list"},
        {"salt": "short"},
        {"schema": "potstill/serving-log/2"},
        {"new": 1},
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        served(**wrong)
    assert "Question 0" not in str(caught.value)
    assert served_row({**json.loads(served().line()), **wrong}) is None


def test_what_nobody_said_of_a_mark_is_not_taken_for_none() -> None:
    values = json.loads(served().line())
    del values["watermark"]
    assert served_row(values) is None
    row = served(watermark=None)
    assert row.watermark is None


def test_the_configuration_is_what_answers_are_drawn_by() -> None:
    row = served()
    other_words = served(1, sampling={**json.loads(row.line())["sampling"], "seed": 9})
    assert configuration_of(row) == configuration_of(other_words)
    for change in (
        {"snapshot": "x"},
        {"dtype": "bfloat16"},
        {"sampling": {"temperature": 0.5}},
        {"engine": {"name": "potstill", "version": "0.2.0"}},
        {"watermark": {"key_id": "k", "scheme": "green"}},
    ):
        assert configuration_of(served(**change)) != configuration_of(row), change


def test_a_day_that_is_over_is_sealed_before_the_next_is_begun(tmp_path: Path) -> None:
    now = [DAY]
    log = ServingLog(tmp_path, clock=lambda: now[0])
    log.append([served(0)])
    assert not (tmp_path / "roots.chain").exists()
    now[0] = DAY.replace(month=12, day=1)
    log.append([served(1)])
    (line,) = (tmp_path / "roots.chain").read_bytes().splitlines()
    assert json.loads(line)["day"] == "2026-11-30"
    assert len(rows_of(tmp_path)) == 2


def test_half_a_line_that_a_kill_left_costs_no_other(tmp_path: Path) -> None:
    log = ServingLog(tmp_path, clock=lambda: DAY)
    log.append([served(0)])
    with (tmp_path / "2026-11-30.jsonl").open("ab") as file:
        file.write(served(1).line()[:40])
    log.append([served(2)])
    assert [getattr(row, "request_id", row) for row in rows_of(tmp_path)] == ["r0", "r2"]


def _write(folder: str, first: int) -> None:
    log = ServingLog(folder, clock=lambda: DAY)
    for number in range(first, first + 20):
        log.append([served(number)])


def test_several_processes_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(tmp_path), 100 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = rows_of(tmp_path)
    assert len(found) == 60
    assert all(isinstance(row, ServedCall) for row in found)


def test_a_row_of_another_kind_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"a": 1}\nnot json\n' + served().line().decode() + "\n")
    assert [getattr(row, "request_id", row) for row in rows_of(file)] == [
        NoTwin.NO_ROW,
        NoTwin.NO_ROW,
        "r0",
    ]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PotstillError, match="choose another folder for the serving log"):
        ServingLog(tmp_path / "file").append([served()])


def test_collect_reads_it_as_past_calls(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    call = [{"type": "function", "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    rows = [
        served(0),
        served(1, reasoning="hm", account="a1"),
        served(2, tools=json.dumps(tools), tool_calls=json.dumps(call), response=""),
        served(3, response=" ", response_token_ids=None),
        served(4, finish_reason="content_filter"),
    ]
    ServingLog(tmp_path, clock=lambda: DAY).append(rows)
    log = read_calls(CallsConfig(path=str(tmp_path)))
    assert log.detected.form == "serving"
    said = {c.answer.response: c for c in log.calls}
    assert set(said) == {"Answer 0.", "Answer 1.", ""}
    first = said["Answer 0."]
    assert first.ask.sampling == {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_tokens": 8,
        "seed": 3,
    }
    assert first.facts.usage == {"prompt_tokens": 3, "completion_tokens": 3}
    assert first.teacher == "calls/nano"
    assert said["Answer 1."].answer.reasoning == "hm"
    assert said[""].answer.tool_calls is not None and said[""].ask.tools is not None
    assert sum(log.tally.left_out.values()) == 2
    (file,) = tmp_path.glob("*.jsonl")
    accounts = [account.user for account, _ in form_named("serving").accounts([str(file)])]
    assert accounts == [None, "a1", None, None, None]


def test_a_recipe_may_state_the_form(tmp_path: Path) -> None:
    ServingLog(tmp_path).append([served()])
    assert len(read_calls(CallsConfig(path=str(tmp_path), form="serving")).calls) == 1


def test_marks_are_looked_for_in_its_ids(tmp_path: Path) -> None:
    rows = [served(0), served(1, response_token_ids=None)]
    ServingLog(tmp_path, clock=lambda: DAY).append(rows)
    found = read_written([str(tmp_path)])
    assert [(text.ids, text.text) for text in found.texts] == [((4, 5, 6), ""), (None, "Answer 1.")]
    assert found.tokenizers == {"blake3:02"}
