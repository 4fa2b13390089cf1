"""Reading prompts: every kind of source, and what bad ones say."""

from __future__ import annotations

import builtins
import gzip
import json
import os
import sys
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.collect.prompts import plan_prompts
from potstill.collect.sources import files_of, read_rows, source_name
from potstill.errors import PotstillError
from potstill.recipe import PromptsConfig


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
        ("p.json", '[{"prompt": "secret"}, {"prompt": "s', "p.json, line 1, is not valid JSON"),
        ("p.json", '[{"prompt": "secret"}, "secret"]', "p.json, item 2, is valid JSON but no"),
        ("p.json", '"secret"', "p.json, item 1, is valid JSON but no object"),
        ("p.json", "[" * 100_000, "p.json is nested too deeply"),
        ("p.json", '{"a": 1}\n{"a": secret}\n', "p.json, line 2, is not valid JSON"),
        ("p.json", "[]", "is empty"),
        ("p.json", " ", "is empty"),
        ("p.json", '[{"role": "user", "content": "secret"}]', "is a list of messages, where a"),
        ("p.json", '{"a": [{"b": 1}], "c": [{"b": 1}]}', "holds several lists of objects (a, c)"),
        ("p.json", '{"prompt": {"0": "secret", "1": "b"}}', "holds columns of cells, where a"),
        (
            "p.jsonl.gz",
            b"secret",
            "the prompt file p.jsonl.gz cannot be read (its content is not of the kind",
        ),
        (
            "p.jsonl.gz",
            gzip.compress(b'{"prompt": "a"}', mtime=0)[:-9],
            "p.jsonl.gz cannot be read (it ends early",
        ),
        ("p.csv", "prompt;n\nsecret\n", "p.csv, line 2, has fewer cells than the header, which"),
        ("p.csv", "prompt;n\na;1;secret\n", "put text that contains semicolons in double"),
        ("p.csv", "prompt;n\tm\na;1\t2\n", "p.csv has semicolons and tabs in its header"),
        ("p.csv", "prompt,prompt\na,b\n", "p.csv has the column prompt twice"),
        ("p.tsv", "prompt\tn\na\tb\tc\n", "put text that contains tabs in double"),
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.json", '[{"prompt": "a"}, {"prompt": "b"}]'),
        ("p.json", '\ufeff[\n {"prompt": "a"},\n {"prompt": "b"}\n]\n'),
        ("p.json", '{"prompt": "a"}\n{"prompt": "b"}\n'),
        ("p.json", '{"version": 1, "data": [{"prompt": "a"}, {"prompt": "b"}]}'),
        ("p.JSON", '{"messages": [{"prompt": "a"}, {"prompt": "b"}]}'),
        ("p.ndjson", '{"prompt": "a"}\n{"prompt": "b"}\n'),
        ("p.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n{"prompt": "b"}\n', mtime=0)),
        ("p.json.gz", gzip.compress(b'[{"prompt": "a"}, {"prompt": "b"}]', mtime=0)),
        ("p.csv.gz", gzip.compress(b"prompt\na\nb\n", mtime=0)),
        ("p.tsv", "prompt\na\nb\n"),
    ],
)
def test_one_set_of_rows_in_every_kind_of_file(write, name, content):
    assert values(write(name, content)) == [{"prompt": "a"}, {"prompt": "b"}]


def test_an_object_with_one_conversation_is_one_row(write):
    row = {"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f"}]}
    assert values(write("p.json", json.dumps(row, indent=1))) == [row]


@pytest.mark.parametrize(
    ("sign", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", None)]
)
def test_what_stands_between_columns_is_told_from_the_header_and_said(write, sign, words):
    path = write("p.csv", f'prompt{sign}topic\n"a{sign} b, c"{sign}x\nd{sign}y\n')
    assert values(path) == [
        {"prompt": f"a{sign} b, c", "topic": "x"},
        {"prompt": "d", "topic": "y"},
    ]
    said = () if words is None else (f"p.csv has {words} between its columns, not commas",)
    assert read_rows(str(path)).notes == said


def test_other_signs_in_a_table_with_commas_or_one_column_are_text(write):
    assert values(write("p.csv", "prompt,a;b\nx;y,1\n")) == [{"prompt": "x;y", "a;b": "1"}]
    assert values(write("p.csv", "prompt\nx;y\n")) == [{"prompt": "x;y"}]
    assert values(write("p.csv", '"prompt;a"\nx;y\n')) == [{"prompt;a": "x;y"}]


def test_long_cells_are_read(write):
    assert len(values(write("p.csv", f"prompt\n{'a' * 200_000}\n"))[0]["prompt"]) == 200_000


# Folders and lists


def test_a_folder_is_its_files_in_order(write, tmp_path):
    for name, text in (("b.jsonl", "c"), ("a.jsonl", "a"), ("a2.ndjson", "b"), (".c.jsonl", "x")):
        write(name, json.dumps({"prompt": text}) + "\n")
    write("README.md", "secret")
    (tmp_path / "sub").mkdir()
    rows = read_rows(str(tmp_path))
    assert [row.values["prompt"] for row in rows] == ["a", "b", "c"]
    assert rows.rows[0].place == "a.jsonl, line 1"
    name = f"file:{tmp_path.name}"
    assert rows.notes == (f"3 .jsonl files of {name} were read; 1 other file in it was not",)
    assert [path.name for path in files_of(str(tmp_path))] == ["a.jsonl", "a2.ndjson", "b.jsonl"]
    assert [p.name for p in files_of(str(tmp_path / "b.jsonl"))] == ["b.jsonl"]
    assert files_of("starter") == files_of("hf:a/b") == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "is a directory without files that end in .jsonl, "),
        (["README.md", ".a.jsonl"], "is a directory without files that end in"),
        (["a.csv", "b.jsonl"], "is a directory with files of several kinds (.csv, .jsonl); list"),
        (["a.txt", "b.json"], "is a directory with files of several kinds (.json, .txt)"),
    ],
)
@pytest.mark.parametrize("folder", ["data", "data.jsonl"])
def test_a_folder_that_cannot_be_read_is_named_as_what_it_is(tmp_path, files, message, folder):
    (tmp_path / folder).mkdir()
    for name in files:
        (tmp_path / folder / name).write_text("{}")
    with pytest.raises(PotstillError) as caught:
        read_rows(str(tmp_path / folder), "prompts.held_out")
    assert message in str(caught.value)
    assert "does not exist" not in str(caught.value)


def test_links_and_pipes_are_named_as_what_they_are(tmp_path):
    (tmp_path / "l.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(PotstillError, match="is a link to nothing that is there; check prompts"):
        read_rows(str(tmp_path / "l.jsonl"))
    os.mkfifo(tmp_path / "p.jsonl")
    with pytest.raises(PotstillError, match="is neither a file nor a folder"):
        read_rows(str(tmp_path / "p.jsonl"))
    with pytest.raises(PotstillError, match="does not exist and is none of the known kinds"):
        read_rows(str(tmp_path / "nowhere"))
    for name in ("~nobody-here/p.jsonl", "p" * 300 + ".jsonl"):
        with pytest.raises(PotstillError, match=r"does not exist; check prompts.source"):
            read_rows(name)


def test_a_list_of_sources_is_one_set_of_prompts(write):
    words = [f"{a}{b} stone" for a in "kmnprst" for b in "aeiou"]
    one = write("a.jsonl", "".join(json.dumps({"prompt": w}) + "\n" for w in words[:20]))
    other = write("b.csv", "prompt\n" + "\n".join(words[15:]) + "\n")
    config = PromptsConfig(
        source=[str(one), str(other), str(one)], held_out_count=4, validation_count=2
    )
    plan = plan_prompts(config, seed=0)
    assert {p.messages[0]["content"] for p in plan.prompts} == set(words)
    assert {p.source for p in plan.prompts} == {"file:a.jsonl", "file:b.csv"}
    assert "5 repeated prompts of file:b.csv were left out" in plan.notes
    assert "35 prompts were read from 2 sources" in plan.notes
    apart = plan_prompts(
        config.model_copy(update={"source": (str(one),), "held_out": (str(other),)}), seed=0
    )
    assert {p.source for p in apart.held_out} == {"file:b.csv"}
    missing = config.model_copy(update={"held_out": "gone.jsonl"})
    with pytest.raises(PotstillError, match=r"gone.jsonl does not exist; check prompts.held_out"):
        plan_prompts(missing, seed=0)


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
