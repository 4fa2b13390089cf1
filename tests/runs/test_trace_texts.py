"""Marked texts out of what was served: those of the key alone, and a sentence where none are."""

from __future__ import annotations

from pathlib import Path

import pytest
from traced_runs import SCHEME, write_rows

from potstill.errors import PotstillError
from potstill.runs.trace_texts import marked_texts
from potstill.trace.marked_texts import keep_texts, read_texts


def test_rows_of_ids_are_taken_each_with_a_salt_of_its_own(tmp_path: Path) -> None:
    rows = [{"prompt_ids": [1, 2], "ids": [3, 4, 5]}, {"prompt_ids": [], "ids": [6]}]
    write_rows(tmp_path / "t.jsonl", rows)
    found = marked_texts(str(tmp_path / "t.jsonl"), SCHEME)
    assert [(text.prompt_ids, text.ids) for text in found] == [((1, 2), (3, 4, 5)), ((), (6,))]
    assert found[0].salt != found[1].salt
    keep_texts(tmp_path / "kept.jsonl", found)
    assert read_texts(tmp_path / "kept.jsonl") == found


@pytest.mark.parametrize(
    "row", [{"prompt_ids": "a", "ids": [1]}, {"prompt_ids": [1], "ids": [0.5]}]
)
def test_rows_that_are_no_ids_are_refused(tmp_path: Path, row: dict[str, object]) -> None:
    write_rows(tmp_path / "t.jsonl", [row])
    with pytest.raises(PotstillError, match="are no lists of token ids"):
        marked_texts(str(tmp_path / "t.jsonl"), SCHEME)


def test_a_log_without_the_mark_is_said(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.jsonl", [{"text": "hello"}])
    with pytest.raises(PotstillError, match="holds no answer with token ids that is marked"):
        marked_texts(str(tmp_path / "t.jsonl"), SCHEME)


def test_other_files_are_no_marked_texts(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.jsonl", [{"ids": [1]}])
    for path, said in ((tmp_path / "t.jsonl", "holds no marked"), (tmp_path / "no", "not exist")):
        with pytest.raises(PotstillError, match=said):
            read_texts(path)
