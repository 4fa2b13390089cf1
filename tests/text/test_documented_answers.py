"""The examples of docs/methods/tasks.md are what both readers of answers do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.verify import verifier
from potstill.evaluate.tasks import score_answer
from potstill.recipe import TaskConfig, VerifyConfig
from potstill.text.answers import AnswerForm

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "tasks.md"


def examples() -> list[tuple[tuple[str, ...], str, str | None]]:
    table = PAGE.read_text(encoding="utf-8").split("<!-- examples")[1].split("<!--")[0]
    found = []
    for line in table.splitlines():
        row = re.fullmatch(r"\| (.+?) \| `(.+)` \| (.+?) \|", line)
        if row is not None:
            labels, response, answer = row.groups()
            quoted = re.search(r"`(.+)`", answer)
            said = quoted[1] if quoted else answer
            found.append((tuple(labels.split(", ")), response, said))
    return [(labels, text, said if said in labels else None) for labels, text, said in found]


EXAMPLES = examples()


def test_there_are_examples_of_either_kind() -> None:
    assert len(EXAMPLES) > 25
    assert 8 < sum(answer is None for _, _, answer in EXAMPLES) < len(EXAMPLES) - 8


@pytest.mark.parametrize(("labels", "response", "answer"), EXAMPLES)
def test_a_task_and_curation_read_what_the_page_says(
    labels: tuple[str, ...], response: str, answer: str | None
) -> None:
    form = AnswerForm.of(TaskConfig(kind="label", labels=labels))
    assert form.read(response) == answer
    check = verifier(VerifyConfig(kind="label", labels=labels), None)
    assert check is not None
    assert check(response, None).correct is (answer is not None)
    for label in labels:
        assert check(response, label).correct is (label == answer)


def json_examples() -> list[tuple[str, str, str]]:
    table = PAGE.read_text(encoding="utf-8").split("| JSON read |")[1].split("<!-- JSON")[0]
    rows = [
        re.fullmatch(r"\| (`+ ?)(.+?)(?: ?`+) \| (.+?) \| (.+?) \|", x) for x in table.splitlines()
    ]
    found = [(r[2] if r[1] == "`" else f"{r[2]}```", r[3], r[4]) for r in rows if r is not None]
    return [(text.replace("⏎", "\n"), value.strip("`"), verdict) for text, value, verdict in found]


@pytest.mark.parametrize(("response", "value", "verdict"), json_examples())
def test_json_is_read_as_the_page_says(response: str, value: str, verdict: str) -> None:
    read = AnswerForm.of(TaskConfig(kind="json")).read(response)
    assert read == (None if value == "none" else json.loads(value))
    gold = '{"a": 1}'
    check = verifier(VerifyConfig(kind="json"), {"p": gold})
    assert check is not None
    found = check(response, gold)
    assert (found.reason or "right", found.correct) == (verdict, verdict == "right")


def test_there_are_json_examples() -> None:
    assert len(json_examples()) == 6


VALUES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "A.", "**a**", "b"])
OBJECTS = st.dictionaries(st.sampled_from(["x", "y"]), VALUES | st.lists(VALUES, max_size=2))
AROUND = st.sampled_from(["{}", "<think>Hm.</think>{}", "```json\n{}\n```", "Here: {}", "{}}}"])


@given(OBJECTS, OBJECTS, AROUND)
def test_what_a_task_scores_right_is_what_curation_keeps_where_it_is_bare(
    given_value: dict[str, Any], gold: dict[str, Any], around: str
) -> None:
    response = around.replace("{}", json.dumps(given_value), 1)
    right = score_answer(AnswerForm("json").read(response), gold).exact
    check = verifier(VerifyConfig(kind="json"), {"p": json.dumps(gold)})
    assert check is not None
    verdict = check(response, json.dumps(gold))
    bare = not verdict.reason.startswith("not bare JSON")
    assert (verdict.correct or not bare) is right
