"""Prompt files of every form through the command: what a teacher is really asked."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import pipeline_runs
from potstill.cli.app import app
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.store import ExchangeStore

Messages = list[dict[str, Any]]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def answered(text: str) -> Messages:
    return [user(text), {"role": "assistant", "content": "Yes"}]


def command(verb: str, values: dict[str, Any], tmp_path: Path) -> tuple[int, str]:
    """Run a recipe through the command line; return the exit code and what it said."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, [verb, str(recipe), "--out", str(tmp_path / "run")])
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


def stored(tmp_path: Path) -> list[Exchange]:
    store = ExchangeStore(tmp_path / "run")
    rows = store.read()
    store.close()
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def small(teacher: Path, source: Any, **prompts: Any) -> dict[str, Any]:
    values = pipeline_runs.recipe_values(
        teacher,
        "",
        prompts={"source": source, "held_out_count": 1, "validation_count": 1, **prompts},
        collect={"max_tokens": 2, "wave": 8},
        evaluate={"greedy": False},
    )
    values["shrink"] = {}
    return values


def test_a_teacher_is_asked_what_files_of_every_form_ask(nano_llama: Path, tmp_path: Path) -> None:
    talk = json.dumps(answered("Hi"))
    gpt = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]
    shout = "Answer in capital letters."
    write_csv(tmp_path / "a.csv", [{"prompt": talk}, {"prompt": " Hello\n"}, {"prompt": "\t"}])
    write_csv(tmp_path / "b.csv", [{"topic": "x", "prompt": "How; when, where?"}], ";")
    (tmp_path / "c.json").write_text(
        json.dumps(
            [{"system": shout, "messages": answered("Where is the cat?")}, {"conversations": gpt}]
        )
    )
    (tmp_path / "d").mkdir()
    rows = [
        {"instruction": "Add up.", "input": text, "output": "3"} for text in ("1, 2", "2, 2", "")
    ]
    for number, row in enumerate(rows):
        lines = (json.dumps(row) + "\n").encode()
        (tmp_path / "d" / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines))
    table = [{"prompt": [user("What now?")], "completion": [{"role": "assistant", "content": "A"}]}]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "e.parquet")
    sources = [str(tmp_path / name) for name in ("a.csv", "b.csv", "c.json", "d", "e.parquet")]
    (tmp_path / "h.txt").write_text("What is 17 + 25?\n")
    (tmp_path / "t.txt").write_text("What is 17 - 25?\nWHAT IS 17+25\n")
    sources.append(str(tmp_path / "t.txt"))

    values = small(nano_llama, sources, held_out=str(tmp_path / "h.txt"))
    code, said = command("collect", values, tmp_path)
    assert code == 0, said
    rows = stored(tmp_path)
    held_out = [list(row.messages) for row in rows if row.split == "held_out"]
    assert held_out == [[user("What is 17 + 25?")]]
    wanted = [
        [user("Hi")],
        [user(" Hello\n")],
        [user("How; when, where?")],
        [system(shout), user("Where is the cat?")],
        [user("Who?")],
        [user("Add up.\n\n1, 2")],
        [user("Add up.\n\n2, 2")],
        [user("Add up.")],
        [user("What now?")],
        [user("What is 17 - 25?")],
    ]
    got = [list(row.messages) for row in rows if row.split != "held_out"]
    assert sorted(got, key=json.dumps) == sorted(wanted, key=json.dumps)
    for note in (
        "b.csv has semicolons between its columns, not commas",
        "1 prompt of file:a.csv holds a conversation as text, which is read",
        "2 prompts of file:c.json end with an answer, which is not asked",
        "3 .jsonl files of file:d were read",
        "1 blank prompt of file:a.csv was left out",
        "1 training prompt was dropped, since it equals or nearly equals a held-out one",
    ):
        assert note in said


def test_right_answers_in_parquet_are_learnt_as_they_were_written(
    nano_llama: Path, tmp_path: Path
) -> None:
    golds = [{"item": "a", "size": "b"}, {"item": "a", "count": 1}]
    rows = [{"prompt": f"Order {n} of thing {n * 7}", "g": golds[n % 2]} for n in range(8)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    values = small(nano_llama, str(tmp_path / "rows.parquet"))
    values |= {
        "teacher": {"model": "gold"},
        "student": {"model": str(nano_llama)},
        "task": {"kind": "json", "gold": "g"},
    }
    values["collect"] = {"gold": True}
    values["train"]["cross_entropy"] = 1.0
    code, said = command("collect", values, tmp_path)
    assert code == 0, said
    assert {row.response for row in stored(tmp_path)} == {json.dumps(gold) for gold in golds}
    assert "8 right answers in g are objects of a typed column" in said


@pytest.mark.parametrize("field", ["source", "held_out"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("folder", None, "is a directory without files that end in .jsonl,"),
        (
            "p.csv",
            "prompt;n\nsecret\n",
            "p.csv, line 2, has fewer cells than the header, which has",
        ),
        ("p.csv", 'prompt\n"[{""role"": ""user"", ""content"": ""sec', "is not valid CSV"),
        (
            "p.csv",
            "prompt\n[{'role': 'user' 'content': 'x'}]\n",
            "line 2: prompt begins like a list",
        ),
        (
            "p.json",
            '[{"conversations": [{"from": "guide", "value": "secret"}]}]',
            "from is guide, which",
        ),
        (
            "p.json",
            '[{"system": "secret", "messages": [{"role": "system", "content": "b"}]}]',
            "p.json, item 1: system stands beside messages that have a system message",
        ),
        (
            "p.jsonl",
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
            "p.jsonl, line 1: messages[0].content[0] is of the type image_url",
        ),
        (
            "p.jsonl",
            '{"chosen": "secret", "rejected": "b"}',
            "p.jsonl, line 1: chosen and rejected",
        ),
    ],
)
def test_what_cannot_be_read_is_named_before_anything_is_asked(
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    field: str,
    name: str,
    content: str | None,
    message: str,
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    values = small(nano_llama, str(nano_prompts))
    values["prompts"][field] = str(path)
    code, said = command("collect", values, tmp_path)
    assert code == 2
    assert message in said
    assert "secret" not in said and "does not exist" not in said
    assert not stored(tmp_path)
