"""`potstill collect` on logs as people have them: what is stored is what was asked and answered."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.store import ExchangeStore

WORDS = ("harbour", "station", "market", "library", "museum", "bridge", "tower", "garden")
Collect = Callable[..., tuple[str, list[Exchange]]]


@pytest.fixture
def collect(nano_llama: Path, tmp_path: Path) -> Collect:
    """Return a function from a log and settings to what the command said and stored."""

    def _collect(path: Path, **calls: Any) -> tuple[str, list[Exchange]]:
        values = {
            "name": "logs",
            "teacher": {"model": "big"},
            "student": {"model": str(nano_llama)},
            "prompts": {"held_out_count": 2, "validation_count": 1},
            "collect": {"calls": {"path": str(path), "source": "apache-2.0", **calls}},
            "train": {"cross_entropy": 1.0},
            "evaluate": {"fidelity_prompts": 2},
        }
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
        run = tmp_path / "run"
        found = CliRunner().invoke(app, ["collect", str(recipe), "--out", str(run)])
        store = ExchangeStore(run) if run.is_dir() else None
        rows = [] if store is None else store.read()
        if store is not None:
            store.close()
        assert found.exit_code == (0 if rows else 2), found.output
        return " ".join(found.output.split()), rows

    return _collect


def lines(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def pairs(rows: Iterable[Exchange]) -> set[tuple[str, str]]:
    return {(row.messages[-1]["content"], row.response) for row in rows}


WHOLE = {(f"Where is the {w}?", f"Near the {w}.") for w in WORDS}


def test_conversations_in_the_cells_of_a_csv_are_calls(collect: Collect, tmp_path: Path) -> None:
    with (tmp_path / "log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt"])
        for asked, told in sorted(WHOLE):
            writer.writerow([json.dumps([user(asked), assistant(told)])])
    said, rows = collect(tmp_path / "log.csv")
    assert pairs(rows) == WHOLE
    assert "read as table (rows have conversations in prompt)" in said


def test_a_system_message_beside_the_messages_stands_first(
    collect: Collect, tmp_path: Path
) -> None:
    rows = [
        {"system": "Answer in capital letters.", "messages": [user(asked), assistant(told)]}
        for asked, told in WHOLE
    ]
    _, stored = collect(lines(tmp_path / "log.jsonl", rows))
    assert pairs(stored) == WHOLE
    system = {"role": "system", "content": "Answer in capital letters."}
    assert [row.messages[0] for row in stored] == [system] * len(WHOLE)


def test_alpaca_rows_are_asked_with_their_input(collect: Collect, tmp_path: Path) -> None:
    rows = [
        {"instruction": "Where is it?", "input": f"The {w}.", "output": f"Near the {w}."}
        for w in WORDS
    ]
    _, stored = collect(lines(tmp_path / "log.jsonl", rows))
    assert pairs(stored) == {(f"Where is it?\n\nThe {w}.", f"Near the {w}.") for w in WORDS}


def test_what_broke_off_is_left_out_and_said(collect: Collect, tmp_path: Path) -> None:
    def row(asked: str, told: str, **choice: Any) -> dict:
        choice = {"message": assistant(told), "finish_reason": "stop", **choice}
        return {"request": {"messages": [user(asked)]}, "response": {"choices": [choice]}}

    broken = [
        row("Where is the boat?", "Near", finish_reason="error"),
        row("Where is the train?", "Near", finish_reason="abort"),
        row("Where is the lamp?", "Near", error={"code": 502, "message": "private"}),
        row("Where is the rose?", "Near", finish_reason="content_filter"),
        row("Where is the bell?", "Near", finish_reason="odd"),
        row("Where is the coat?", "Near", finish_reason=None),
    ]
    rows = [row(asked, told) for asked, told in sorted(WHOLE)]
    said, stored = collect(lines(tmp_path / "log.jsonl", rows + broken))
    assert pairs(stored) == WHOLE
    assert "3 left out: error (log.jsonl, line 9; log.jsonl, line 10; log.jsonl, line 11)" in said
    assert "1 left out: refused, or stopped by a content filter (log.jsonl, line 12)" in said
    assert "1 left out: ended in a way that is not known (log.jsonl, line 13)" in said
    assert "1 left out: how it ended is left blank where this form states it" in said
    assert "private" not in said


def test_a_spend_log_with_a_row_twice_and_last_turns_alone(
    collect: Collect, tmp_path: Path
) -> None:
    def row(key: str, asked: str, told: str, **body: Any) -> dict:
        body = {"model": "big", "messages": [user(asked)], **body}
        choice = {"message": assistant(told), "finish_reason": "stop"}
        return {
            "request_id": key,
            "call_type": "acompletion",
            "model": "big",
            "spend": 0.01,
            "startTime": "2026-03-01T10:00:00Z",
            "messages": "{}",
            "proxy_server_request": json.dumps(body),
            "response": json.dumps({"choices": [choice]}),
        }

    rows = [row(told, asked, told, temperature=0) for asked, told in sorted(WHOLE)]
    log = lines(tmp_path / "log.jsonl", [*rows, rows[0], row("x", "And now?", "Private.")])
    said, stored = collect(log)
    assert pairs(stored) == WHOLE
    assert "1 exact repeat counts once" in said
    assert "1 left out: a request that may hold no more than its last turn" in said
    assert "set collect.calls.whole_requests to true" in said


def test_what_fits_no_form_is_refused_before_anything_is_stored(
    collect: Collect, tmp_path: Path
) -> None:
    rows = [{"question": asked, "answer": told} for asked, told in sorted(WHOLE)]
    path = lines(tmp_path / "log.jsonl", rows)
    said, stored = collect(path)
    assert not stored
    assert "log.jsonl, line 1, is of no known form; its columns are: answer, question." in said
    said, stored = collect(path, template="{question}", response_column="answer")
    assert pairs(stored) == WHOLE
