"""Texts that models wrote: answers of every form of calls, columns, plain files; never prompts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from call_logs import Write
from potstill.errors import PotstillError
from potstill.logs.call import Reason
from potstill.logs.written import read_written, reasons

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is 7 prime?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And 8?"},
        {"role": "assistant", "content": "No."},
    ]
}


def test_the_answer_is_text_and_what_others_said_was_shown(write: Write) -> None:
    found = read_written([write("chat.jsonl", CHAT)])
    assert [text.text for text in found.texts] == ["No."]
    # An earlier answer of the model itself is no text of others.
    assert found.shown == ["Be brief.", "Is 7 prime?", "And 8?"]
    assert not found.left_out


def test_a_batch_is_joined_and_a_failed_call_is_left_out(write: Write) -> None:
    body = {"model": "big", "messages": [{"role": "user", "content": "Is 11 prime?"}]}
    asked = [
        {"custom_id": i, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for i in "ab"
    ]
    choice = {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    answered = [
        {"custom_id": "a", "response": {"status_code": 200, "body": {"choices": [choice]}}},
        {"custom_id": "b", "response": {"status_code": 500, "body": {}}, "error": None},
    ]
    folder = Path(write("input.jsonl", *asked)).parent
    write("output.jsonl", *answered)
    found = read_written([str(folder)])
    assert [text.text for text in found.texts] == ["Yes."]
    assert sum(found.left_out.values()) == 1
    assert reasons(found.left_out).startswith("1 ")


def test_reasoning_is_a_text_of_its_own(write: Write) -> None:
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "7 has no divisors."}
    row = {"messages": [{"role": "user", "content": "Is 7 prime?"}, message]}
    found = read_written([write("chat.jsonl", row)])
    assert [text.text for text in found.texts] == ["7 has no divisors.", "Yes."]


def test_columns_of_texts_and_of_ids(write: Write, tmp_path: Path) -> None:
    found = read_written(
        [write("texts.jsonl", {"text": "one"}, {"response": "two"}, {"x": 1}, "{")]
    )
    assert [text.text for text in found.texts] == ["one", "two"]
    assert found.left_out == {Reason.NO_RESPONSE: 1, Reason.UNREADABLE: 1}
    table = {"response_token_ids": [[1, 2], None], "response": ["a", "b"], "tokenizer": ["t", "t"]}
    pq.write_table(pa.table(table), tmp_path / "ids.parquet")
    found = read_written([str(tmp_path / "ids.parquet")])
    assert [(text.text, text.ids) for text in found.texts] == [("", (1, 2)), ("b", None)]
    assert found.tokenizers == {"t"}
    (tmp_path / "ids.csv").write_text('token_ids\n"[1, 2, 3]"\n')
    assert read_written([str(tmp_path / "ids.csv")]).texts[0].ids == (1, 2, 3)


@pytest.mark.parametrize("ids", [[], [1.5], [True], [-1], [2**32], "text", "[1"])
def test_what_is_no_list_of_ids(write: Write, ids: object) -> None:
    with pytest.raises(PotstillError, match="neither calls of a known form nor a column"):
        read_written([write("ids.jsonl", {"token_ids": ids})])


def test_a_folder_s_files_in_one_order_and_the_others_named(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.md").write_text("one")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "x.bin").write_bytes(b"\0")
    found = read_written([str(tmp_path)])
    assert [text.text for text in found.texts] == ["one", "two"]
    assert found.passed_over == ["x.bin"]


def test_a_text_of_a_folder_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    latin = tmp_path / "more" / "latin.txt"
    latin.parent.mkdir()
    latin.write_bytes("für".encode("latin-1"))
    (tmp_path / "a.md").write_text("one")
    found = read_written([str(tmp_path)])
    assert [text.text for text in found.texts] == ["one"]
    assert found.unreadable == [f"the text {latin} is not UTF-8; write it again as UTF-8"]
    with pytest.raises(PotstillError, match="not UTF-8"):
        read_written([str(tmp_path), str(latin)])
