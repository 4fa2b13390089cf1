"""Rows of every form as what is asked, and what is said of them."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.errors import PotstillError
from potstill.recipe import PromptsConfig

HI = {"role": "user", "content": "Hi"}
TALK = [HI, {"role": "assistant", "content": "Yes"}]
GPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]
SYSTEM = {"role": "system", "content": "Answer in capital letters."}


@pytest.fixture
def write(tmp_path):
    def _write(rows, kind):
        path = tmp_path / f"p.{kind}"
        if kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif kind == "json":
            path.write_text(json.dumps(rows))
        elif kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                table.writerows(rows)
        return str(path)

    return _write


def asked(path, **settings):
    return [list(turns.messages) for turns in read_prompts(path, PromptsConfig(**settings))]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "json"])
@pytest.mark.parametrize(
    "text",
    [json.dumps(TALK), json.dumps(GPT), repr(TALK), json.dumps({"messages": TALK}, indent=1)],
)
@pytest.mark.parametrize("column", ["prompt", "chat"])
def test_a_conversation_in_a_cell_is_asked_without_its_answer(write, kind, text, column):
    path = write([{column: text, "n": 1}, {column: "Hi", "n": 2}], kind)
    assert asked(path, column=column) == [[HI], [HI]]
    notes = read_prompts(path, PromptsConfig(column=column)).notes
    name = f"file:p.{kind}"
    assert f"1 prompt of {name} ends with an answer, which is not asked" in notes
    assert f"1 prompt of {name} holds a conversation as text, which is read" in notes


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize(
    "row",
    [
        {"system": SYSTEM["content"], "messages": TALK},
        {"system_prompt": SYSTEM["content"], "conversations": GPT},
        {"system": SYSTEM["content"], "prompt": "Hi"},
        {"system": SYSTEM["content"], "instruction": "Hi", "input": "", "output": "Yes"},
        {"system": SYSTEM["content"], "prompt": [HI], "completion": TALK[1:]},
    ],
)
def test_a_system_message_beside_a_prompt_goes_first(write, kind, row):
    assert asked(write([row], kind)) == [[SYSTEM, HI]]
    assert asked(write([row], kind), system=SYSTEM["content"]) == [[SYSTEM, HI]]


def test_a_system_message_that_the_recipe_states_too_is_said(write):
    rows = [{"system": "Be brief.", "messages": TALK}, {"messages": TALK}]
    path = write(rows, "jsonl")
    read = read_prompts(path, PromptsConfig(system=SYSTEM["content"]))
    assert [turns.messages[0]["content"] for turns in read] == ["Be brief.", SYSTEM["content"]]
    assert any(n.startswith("1 prompt of file:p.jsonl has a system message") for n in read.notes)
    again = write([{"system": "Be brief.", "messages": [SYSTEM, *TALK]}], "jsonl")
    with pytest.raises(PotstillError, match="line 1: system stands beside messages that have a"):
        read_prompts(again, PromptsConfig())


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv"])
@pytest.mark.parametrize("column", ["prompt", "instruction"])
def test_alpaca_rows_are_asked_with_their_input(write, kind, column):
    rows = [
        {"instruction": "Translate into French.", "input": text, "output": "secret"}
        for text in ("Good morning.", "Good night.", "")
    ]
    assert asked(write(rows, kind), column=column) == [
        [{"role": "user", "content": "Translate into French.\n\nGood morning."}],
        [{"role": "user", "content": "Translate into French.\n\nGood night."}],
        [{"role": "user", "content": "Translate into French."}],
    ]


def test_the_column_that_shows_a_form_is_said_and_others_are_asked_for(write):
    path = write([{"conversations": GPT}, {"instruction": "Hi", "input": None}], "jsonl")
    assert asked(path) == [[HI], [HI]]
    notes = read_prompts(path, PromptsConfig()).notes
    assert "1 row of file:p.jsonl is read by the conversation in conversations" in notes
    assert (
        "1 row of file:p.jsonl is read by instruction and input (or context), as one prompt"
        in notes
    )
    with pytest.raises(PotstillError, match="has no column question; the columns there are"):
        asked(path, column="question")
    both = write([{"messages": TALK, "conversations": GPT}], "jsonl")
    with pytest.raises(PotstillError, match=r"line 1: messages and conversations.*prompts.column"):
        asked(both)
    with pytest.raises(PotstillError, match=r"line 1, has no column prompt; the columns there"):
        asked(write([{"text": "Hi"}], "jsonl"))
    with pytest.raises(PotstillError, match=r"line 1: chosen and rejected answers"):
        asked(write([{"chosen": TALK, "rejected": TALK}], "jsonl"))
    assert asked(write([{"prompt": "Hi", "chosen": "Yes", "rejected": "No"}], "jsonl")) == [[HI]]


def test_nulls_that_a_typed_column_adds_are_no_part_of_a_message(write):
    rows = [
        {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}, TALK[1]]},
        {"messages": [{"role": "user", "content": "Hi", "weight": 1}]},
        {"messages": [{"from": "human", "value": "Hi"}]},
    ]
    assert asked(write(rows, "parquet")) == [[HI], [HI], [HI]]


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"messages": [{"from": "guide", "value": "secret"}]}, {}, "messages[0].from is guide,"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            {},
            "line 1: messages[0].content[0] is of the type image_url",
        ),
        ({"prompt": json.dumps(TALK)[:-4]}, {}, "line 1: prompt begins like a list of messages"),
        ({"prompt": json.dumps([*TALK, 7])}, {}, "line 1: prompt[2] is no message"),
        ({"prompt": "Hi", "system": {"secret": 1}}, {}, "line 1: system holds dict"),
        ({"chat": TALK}, {"template": "Sum up: {chat}"}, "chat holds a list of messages, which a"),
    ],
)
def test_what_fits_no_form_is_refused_with_line_and_field(write, row, settings, message):
    with pytest.raises(PotstillError) as caught:
        asked(write([row], "jsonl"), **settings)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        ("Where is the secret parcel?,x\nHere,y\n", "x and 1 more. Set"),
        ("Where is the secret parcel?\nHere\n", "1 more (is the first line a header?). Set"),
        ("n,Customer question\n1,secret\n", "Customer question, n. Set"),
        (",".join(f"c{n:02}" for n in range(15)) + "\n" + "1," * 14 + "1\n", "c11 and 3 more. Set"),
    ],
)
def test_columns_are_named_but_never_text_in_their_place(tmp_path, rows, there):
    (tmp_path / "p.csv").write_text(rows)
    with pytest.raises(PotstillError) as caught:
        asked(str(tmp_path / "p.csv"))
    assert there in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_template_says_that_a_system_message_is_not_asked(write):
    path = write([{"system": "Shout.", "body": json.dumps(TALK)}], "jsonl")
    read = read_prompts(path, PromptsConfig(template="Sum up: {body}"))
    assert read[0].messages[0]["content"] == f"Sum up: {json.dumps(TALK)}"
    assert any("prompts.template does not name" in note for note in read.notes)
    assert not read_prompts(path, PromptsConfig(template="{system} {body}")).notes


def test_prompts_of_white_space_are_left_out_and_counted(write):
    rows = [{"prompt": f" word {n} of many\n"} for n in range(20)]
    blank = [{"prompt": text} for text in (" ", "\n\t", "\u3000", None, "[]", [])]
    blank += [{"system": "a", "prompt": cell} for cell in ("", "[]", None, TALK[1:])]
    config = PromptsConfig(
        source=write([*rows, *blank], "jsonl"), held_out_count=2, validation_count=2
    )
    plan = plan_prompts(config, seed=0)
    assert "10 blank prompts of file:p.jsonl were left out" in plan.notes
    assert all(p.messages[0]["content"].startswith(" word") for p in plan.prompts)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_dolly_rows_are_asked_with_their_context(write, kind):
    rows = [
        {"instruction": "Who won?", "context": "Bob won.", "response": "Bob"},
        {"instruction": "Who lost?", "context": "", "response": "Ann"},
        {"instruction": "Who drew?", "context": None, "response": "Eve"},
    ]
    found = [messages[-1]["content"] for messages in asked(write(rows, kind))]
    assert found == ["Who won?\n\nBob won.", "Who lost?", "Who drew?"]


def test_input_and_context_in_one_row_are_refused(write):
    path = write([{"instruction": "Who won?", "input": "secret", "context": "secret"}], "jsonl")
    with pytest.raises(PotstillError, match=r"line 1: input and context stand in one row") as error:
        asked(path)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "row",
    [{"messages": [HI]}, {"instruction": "Hi"}, {"conversations": [GPT[0]]}],
)
def test_a_null_prompt_beside_a_conversation_is_read_as_that(write, kind, row):
    rows = [{"prompt": None, **row}, {"prompt": "Who?", **dict.fromkeys(row)}]
    assert asked(write(rows, kind)) == [[HI], [{"role": "user", "content": "Who?"}]]


def test_a_null_prompt_alone_stays_blank(write):
    assert asked(write([{"prompt": None}, {"prompt": "Who?"}], "jsonl"))[0][0]["content"] == ""
