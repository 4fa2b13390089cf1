"""Reading prompts: every kind of source, and what bad ones say."""

from __future__ import annotations

import builtins
import json
import sys
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.collect.sources import read_rows, source_name
from potstill.errors import PotstillError


def values(source) -> list[dict]:
    return [row.values for row in read_rows(str(source))]


@pytest.fixture
def write(tmp_path):
    def _write(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def test_jsonl_keeps_order_and_skips_blank_lines(write):
    path = write("p.jsonl", '{"prompt": "a"}\n\n{"prompt": "b\\u2028c"}\r\n')
    assert values(path) == [{"prompt": "a"}, {"prompt": "b\u2028c"}]
    assert [row.place for row in read_rows(str(path))] == ["p.jsonl, line 1", "p.jsonl, line 3"]


def test_jsonl_may_hold_a_raw_line_separator_inside_text(write):
    assert values(write("p.jsonl", '{"prompt": "b\u2028c"}\n')) == [{"prompt": "b\u2028c"}]


def test_byte_order_mark_is_ignored(write):
    assert values(write("p.jsonl", b'\xef\xbb\xbf{"prompt": "a"}')) == [{"prompt": "a"}]


def test_csv_with_quoted_commas_and_line_breaks(write):
    path = write("p.csv", 'prompt,topic\n"one, two\nthree",x\nfour,y\n')
    assert values(path) == [
        {"prompt": "one, two\nthree", "topic": "x"},
        {"prompt": "four", "topic": "y"},
    ]


def test_parquet(tmp_path):
    messages = [[{"role": "user", "content": "hello"}], None]
    pq.write_table(pa.table({"prompt": messages, "n": [1, 2]}), tmp_path / "p.parquet")
    assert values(tmp_path / "p.parquet") == [
        {"prompt": [{"role": "user", "content": "hello"}], "n": 1},
        {"prompt": None, "n": 2},
    ]


def test_text_has_one_prompt_a_line(write):
    assert values(write("P.TXT", "one\n\n two \n")) == [{"prompt": "one"}, {"prompt": " two "}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": secret}\n', "p.jsonl, line 2, is not valid JSON"),
        ("p.jsonl", '{"prompt": "secret"}\n{"prompt": "se', "line 2, is not valid JSON"),
        ("p.jsonl", '"secret"\n', "line 1, is valid JSON but no object"),
        ("p.jsonl", "[" * 100_000, "line 1, is nested too deeply"),
        ("p.jsonl", " \n\n", "is empty"),
        ("p.csv", "prompt\n", "is empty"),
        ("p.txt", "", "is empty"),
        ("p.csv", "prompt\nsecret,more\n", "p.csv, line 2, has more cells than the header"),
        ("p.csv", 'prompt\n"secret\n', "is not valid CSV"),
        ("p.txt", "caf\xe9".encode("latin-1"), "is not UTF-8 (byte 3)"),
        ("p.parquet", "secret", "cannot be read as Parquet"),
        ("p.docx", "secret", "is none of the known kinds"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(write, name, content, message):
    path = write(name, content)
    with pytest.raises(PotstillError) as caught:
        read_rows(str(path))
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_missing_file():
    with pytest.raises(PotstillError, match=r"prompt file nowhere\.jsonl does not exist"):
        read_rows("nowhere.jsonl")


def test_magpie_is_not_read_but_made():
    with pytest.raises(PotstillError, match="written by the teacher"):
        read_rows("magpie")


def test_hugging_face_without_the_extra_names_the_command(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(PotstillError, match=r"pip install potstill\[hf-datasets\]"):
        read_rows("hf:owner/name")


@pytest.mark.parametrize(
    ("source", "name", "split"),
    [("hf:owner/name", "owner/name", "train"), ("hf:owner/name:test", "owner/name", "test")],
)
def test_hugging_face_name_and_split(monkeypatch, source, name, split):
    asked = []

    def load_dataset(name, *, split):
        asked.append((name, split))
        return [{"prompt": "a"}]

    fake = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert values(source) == [{"prompt": "a"}]
    assert asked == [(name, split)]


def test_hugging_face_failure_is_one_sentence(monkeypatch):
    def load_dataset(name, *, split):
        raise FileNotFoundError("a long story")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(PotstillError, match=r"owner/name \(split train\) cannot be loaded"):
        read_rows("hf:owner/name")
    with pytest.raises(PotstillError, match="names no data set"):
        read_rows("hf:")


def test_names_of_sources_hold_no_folders(tmp_path):
    assert source_name(str(tmp_path / "p.jsonl")) == "file:p.jsonl"
    assert source_name("starter") == "starter"
    assert source_name("hf:owner/name") == "hf:owner/name"


def test_nano_prompts_fixture_is_a_source(nano_prompts):
    assert len(values(nano_prompts)) == len(nano_prompts.read_text().splitlines())
    assert all(json.dumps(v) for v in values(nano_prompts))
