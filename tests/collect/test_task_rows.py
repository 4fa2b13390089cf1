"""Gold answers and slices by prompt."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.collect.task_rows import read_known
from potstill.errors import PotstillError
from potstill.recipe import PromptsConfig, TaskConfig
from potstill.text.turns import prompt_id_of
from potstill.work.plan import KnownRow

PROMPTS = PromptsConfig(template="Sort: {body}", system="Be brief.")
TASK = TaskConfig(kind="label", labels=("yes", "no"), gold="g", slice="s")


@pytest.fixture
def source(tmp_path):
    def _source(*rows) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return _source


def test_facts_are_found_by_the_prompt_that_is_asked(source):
    path = source({"body": "a", "g": "Yes", "s": 1}, {"body": "b", "g": "no", "s": None})
    facts = read_known(path, PROMPTS, TASK)
    first, second = (prompt_id_of(turns.messages) for turns in read_prompts(path, PROMPTS))
    assert facts == {first: KnownRow("yes", "1"), second: KnownRow("no", "None")}


def test_without_gold_or_slice_there_is_nothing_to_read(source):
    bare = TaskConfig(kind="text")
    (facts,) = read_known(source({"body": "a"}), PROMPTS, bare).values()
    assert facts == KnownRow(None, None)


def test_repeated_prompts_count_once_and_blank_ones_not(source):
    row = {"body": "a", "g": "yes", "s": "x"}
    plain = PromptsConfig(column="body")
    blank = {"body": " ", "g": "", "s": "x"}
    assert len(read_known(source(row, row, blank, blank), plain, TASK)) == 1


def test_rows_for_a_teacher_to_answer_need_no_right_answer(source):
    rows = {"body": "a"}, {"body": "b", "g": None, "s": 2}, {"body": "c", "g": "no", "s": 3}
    facts = read_known(source(*rows), PROMPTS, TASK, unlabelled=True)
    assert list(facts.values()) == [KnownRow(None, None), KnownRow(None, "2"), KnownRow("no", "3")]


def test_an_unlabelled_repetition_contradicts_nothing_but_a_wrong_label_still_does(source):
    labelled, bare = {"body": "a", "g": "yes", "s": 1}, {"body": "a"}
    assert len(read_known(source(labelled, bare), PROMPTS, TASK, unlabelled=True)) == 1
    with pytest.raises(PotstillError, match="another gold answer"):
        read_known(source(labelled, bare, labelled | {"g": "no"}), PROMPTS, TASK, unlabelled=True)
    with pytest.raises(PotstillError, match="does not allow"):
        read_known(source({"body": "a", "g": "maybe"}), PROMPTS, TASK, unlabelled=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"body": "secret", "g": "yes"}], "rows.jsonl, line 1, has no column s; the columns "),
        ([{"body": "secret", "s": 1}], "has no column g; the columns there are: body, s. Set task"),
        ([{"g": "yes", "s": 1}], "has no column body"),
        (
            [{"body": "a", "g": "yes", "s": 1}, {"body": "a\n", "g": "no", "s": 1}],
            "rows.jsonl, line 2, repeats an earlier prompt with another gold answer",
        ),
        (
            [{"body": "a", "g": "yes", "s": 1}, {"body": "b", "g": "maybe", "s": 1}],
            "rows.jsonl, line 2, has the gold label maybe, which task.labels does not allow",
        ),
        (
            [{"body": "secret", "g": "yes", "s": 1}, {"body": "secret", "g": "no", "s": 1}],
            "rows.jsonl, line 2, repeats an earlier prompt with another gold answer",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(source, rows, message):
    with pytest.raises(PotstillError) as caught:
        read_known(source(*rows), PROMPTS, TASK)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


ORDERS = [{"item": "a", "size": "b"}, {"item": "a", "count": 1}, {"item": "c", "to": {"x": [1]}}]
JSON = TaskConfig(kind="json", gold="g")


def golds(known):
    return [json.loads(one.gold) for one in known.values()]


@pytest.mark.parametrize("rows", [ORDERS, ORDERS[:2], ORDERS[1:]])
def test_right_answers_in_typed_columns_are_as_they_were_written(tmp_path, rows):
    path = str(tmp_path / "rows.parquet")
    table = [{"body": f"number {n}", "g": row} for n, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(table), path)
    found = read_known(path, PROMPTS, JSON)
    assert golds(found) == rows
    assert found.notes and found.notes[0].startswith(f"{len(rows)} right answers in g are objects")
    texts = [{**row, "g": json.dumps({**row["g"], "why": None})} for row in table]
    pq.write_table(pa.Table.from_pylist(texts), path)
    found = read_known(path, PROMPTS, JSON)
    assert golds(found) == [{**row, "why": None} for row in rows]
    assert not found.notes


def test_nulls_in_json_files_and_those_that_a_schema_asks_for_stay(source, tmp_path):
    rows = [{"body": f"number {n}", "g": {"item": "a", "size": size}} for n, size in enumerate("b")]
    rows.append({"body": "last", "g": {"item": "a", "size": None}})
    assert golds(read_known(source(*rows), PROMPTS, JSON)) == [row["g"] for row in rows]
    schema = {
        "type": "object",
        "required": ["item", "size"],
        "properties": {"size": {"type": ["string", "null"]}},
    }
    path = str(tmp_path / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    task = JSON.model_copy(update={"json_schema": schema})
    assert golds(read_known(path, PROMPTS, task)) == [row["g"] for row in rows]


def test_right_answers_of_several_sources_are_read(tmp_path):
    paths = []
    for n in range(3):
        path = tmp_path / f"{n}.json"
        path.write_text(json.dumps([{"body": f"number {n}", "g": "yes", "s": n}]))
        paths.append(str(path))
    found = read_known(tuple(paths), PROMPTS, TASK)
    assert [known.slice for known in found.values()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("name", "template", "task"),
    [
        ("orders", "{message}", TaskConfig(kind="json", gold="answer", slice="style")),
        ("orders", "{message}", TaskConfig(kind="text", gold="answer", slice="wording")),
    ],
)
def test_the_shipped_tasks_are_sources_like_any_other(name, template, task):
    held_out = f"{name}-held-out"
    prompts = PromptsConfig(
        source=name, held_out=held_out, template=template, held_out_count=1050, limit=100
    )
    plan = plan_prompts(prompts, seed=0)
    facts = read_known(held_out, prompts, task)
    assert {prompt.prompt_id for prompt in plan.held_out} == set(facts)
    assert plan.overlap.dropped_from_training == 0
    assert plan.train[0].source == name


@pytest.mark.parametrize("name", ["routing", "orders"])
def test_unlabelled_rows_of_the_shipped_tasks_go_with_their_held_out_rows(name):
    source = f"{name}-unlabelled"
    prompts = PromptsConfig(
        source=source,
        held_out=f"{name}-held-out",
        template="{message}",
        held_out_count=1050,
    )
    plan = plan_prompts(prompts, seed=0)
    assert plan.overlap.dropped_from_training == 0
    assert {prompt.source for prompt in plan.train} == {source}
    assert len(plan.train) + len(plan.validation) == 2100
