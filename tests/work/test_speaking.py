"""What is refused, left out and said of templates and contexts, before anybody is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from opened_models import made_plan, made_prompt, open_models
from pipeline_runs import Noted, recipe_values
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, exchange_id_of
from potstill.exchanges.store import ExchangeStore
from potstill.models.conversation import Conversation
from potstill.models.load import load_conversation
from potstill.recipe import CollectConfig, EvaluateConfig, Recipe, TaskConfig
from potstill.work.access import Access, PastCalls, Weights
from potstill.work.corpus import Text
from potstill.work.opened import Opened
from potstill.work.plan import PromptPlan
from potstill.work.speaking import (
    TOO_LONG,
    UNRENDERABLE,
    AnswerRoom,
    askable,
    check_room,
    check_written,
    earlier_answers,
    taken_over,
    unlearnable,
)

ROOM = AnswerRoom(("collect.max_tokens", 8), ("evaluate.max_tokens", 8))
TOOLS = json.dumps([{"type": "function", "function": {"name": "find", "parameters": {}}}])
SYSTEM = {"role": "system", "content": "Secret."}
REFUSES = "{{ raise_exception('no system here') if messages[0].role == 'system' }}"


Copy = Callable[..., Path]


@pytest.fixture
def copy(nano_llama: Path, tmp_path: Path) -> Copy:
    """Return a function that copies a model, with more before its template or another context."""

    def _copy(name: str, *, before: str = "", context: int | None = None) -> Path:
        target = tmp_path / name
        shutil.copytree(nano_llama, target)
        if before:
            tokenizer = AutoTokenizer.from_pretrained(target)
            tokenizer.chat_template = before + str(tokenizer.chat_template)
            tokenizer.save_pretrained(target)
        if context is not None:
            config = target / "config.json"
            values = json.loads(config.read_text()) | {"max_position_embeddings": context}
            config.write_text(json.dumps(values))
        return target

    return _copy


def local(store: ExchangeStore, teacher: Path, student: Path | None = None) -> Opened:
    """Return the models of a teacher that is at hand; none is loaded."""
    values = recipe_values(teacher, "unused")
    if student is not None:
        values |= {"student": {"model": str(student)}, "shrink": {}}
    return open_models(Recipe.model_validate(values), store)


def from_text(store: ExchangeStore, student: Path) -> Opened:
    """Return the models of a student that learns from past calls."""
    calls = {"path": "calls.jsonl", "source": "apache-2.0"}
    values = recipe_values("big", "unused", collect={"calls": calls, "targets": "none"})
    values |= {"student": {"model": str(student)}, "shrink": {}}
    values["train"]["cross_entropy"] = 1.0
    return open_models(Recipe.model_validate(values), store)


def row(text: str, response: str, split: str = "train", **more: Any) -> Exchange:
    """Return an answer whose tokens nobody knows."""
    messages = more.pop("messages", ({"role": "user", "content": text},))
    fields: dict[str, Any] = {
        "exchange_id": exchange_id_of("t", messages, {}, 0),
        "prompt_id": text,
        "split": split,
        "messages": messages,
        "response": response,
        "prompt_token_ids": None,
        "response_token_ids": None,
        "tokenizer": None,
        "finish_reason": "stop",
        "teacher": "t",
        "sampling": {},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "test",
        "created_at": "2026-01-01",
    }
    return Exchange(**{**fields, **more})


def with_system(plan: PromptPlan) -> PromptPlan:
    """Return a plan whose training prompts begin with a system message."""
    return replace(
        plan, train=tuple(replace(p, messages=(SYSTEM, *p.messages)) for p in plan.train)
    )


def test_the_longest_answer_to_a_held_out_prompt_decides_its_room() -> None:
    task = TaskConfig(kind="text", max_tokens=30)
    collect, evaluate = CollectConfig(max_tokens=10), EvaluateConfig(max_tokens=20)
    assert AnswerRoom.of(collect, evaluate, None).held_out == ("evaluate.max_tokens", 20)
    room = AnswerRoom.of(collect, evaluate, task)
    assert room == AnswerRoom(("collect.max_tokens", 10), ("task.max_tokens", 30))


def test_a_named_student_takes_over_how_its_teacher_speaks(
    nano_llama: Path, copy: Copy, store: ExchangeStore
) -> None:
    assert taken_over(local(store, nano_llama)) is None
    assert taken_over(local(store, nano_llama, nano_llama)) is None
    other = copy("other", before="Hello. ")
    said = taken_over(local(store, nano_llama, other))
    assert said is not None and said.startswith(f"student.model {other} learns the teacher's")
    assert str(nano_llama) in said and "chat template" in said
    # One that learns from text speaks as it does.
    assert taken_over(from_text(store, other)) is None


def test_a_student_with_other_tokens_is_refused(
    nano_llama: Path, nano_model: Callable[[str], Path], store: ExchangeStore
) -> None:
    with pytest.raises(PotstillError, match=r"student\.model"):
        taken_over(local(store, nano_llama, nano_model("gemma")))


def test_prompts_without_room_for_an_answer_are_left_out_and_counted(
    copy: Copy, store: ExchangeStore
) -> None:
    opened, progress = from_text(store, copy("short", context=48)), Noted()
    plan, long = made_plan(), "Go on along the river, " * 20
    plan = replace(plan, train=(*plan.train, replace(made_prompt(long), source="file:long.txt")))
    found = askable(plan, opened, ROOM, progress)
    assert found.left_out == {"train": 1}
    assert [p.messages for p in found.plan.train] == [p.messages for p in plan.train[:-1]]
    assert found.plan.held_out == plan.held_out and found.plan.overlap == plan.overlap
    (note,) = progress.notes
    assert found.plan.notes == (note,)
    assert note.startswith("1 of 12 prompts are left out (1 for training): the student reads 48")
    assert note.endswith("(the first is from file:long.txt)") and "river" not in note
    assert askable(found.plan, opened, ROOM, progress).left_out == {}


@pytest.mark.parametrize("split", ["training", "held-out"])
def test_a_plan_of_which_nothing_is_left_is_refused(
    copy: Copy, store: ExchangeStore, split: str
) -> None:
    opened, plan = from_text(store, copy("short", context=48)), made_plan()
    long = made_prompt("Go on along the river, " * 20)
    if split == "training":
        plan = replace(plan, train=(long,))
    else:
        plan = replace(plan, held_out=(replace(long, split="held_out"),))
    with pytest.raises(PotstillError, match=f"every {split} prompt is longer than the 48 tokens"):
        askable(plan, opened, ROOM, Noted())


def test_a_teacher_needs_room_for_its_answer_as_well(copy: Copy, store: ExchangeStore) -> None:
    opened, plan = local(store, copy("short", context=48)), made_plan()
    check_room(plan, opened, ROOM)
    asked = AnswerRoom(("collect.max_tokens", 40), ROOM.held_out)
    with pytest.raises(PotstillError, match=r"from test has \d+ tokens.*lower collect.max_tokens"):
        check_room(plan, opened, asked)
    held_out = AnswerRoom(ROOM.asked, ("task.max_tokens", 40))
    with pytest.raises(PotstillError, match=r"teacher reads 48 and 40 .* lower task\.max_tokens"):
        check_room(plan, opened, held_out)
    with pytest.raises(PotstillError, match=r"lower task\.max_tokens"):
        askable(plan, opened, held_out, Noted())
    # Of a server nobody knows how much it reads.
    check_room(plan, from_text(store, copy("student", context=48)), held_out)


def test_a_prompt_that_cannot_be_rendered_is_named_by_its_place(
    copy: Copy, store: ExchangeStore
) -> None:
    opened = local(store, copy("refuses", before=REFUSES))
    with pytest.raises(PotstillError, match="a prompt from test cannot be asked") as error:
        askable(with_system(made_plan()), opened, ROOM, Noted())
    assert "Secret" not in str(error.value)


def test_tools_that_a_template_does_not_write_are_told_of(
    nano_llama: Path, store: ExchangeStore
) -> None:
    opened, progress, plan = local(store, nano_llama), Noted(), made_plan(tools=TOOLS)
    askable(plan, opened, ROOM, progress)
    assert progress.notes[0].startswith("of 11 prompts with tools on offer, the chat template of")


def test_a_template_that_writes_no_answer_teaches_nobody(copy: Copy, store: ExchangeStore) -> None:
    refuses, plan = copy("refuses", before=REFUSES), made_plan()
    with pytest.raises(PotstillError, match="no system here"):
        check_written(with_system(plan), from_text(store, refuses))
    some = replace(plan, train=(*with_system(plan).train, *plan.train[-1:]))
    check_written(some, from_text(store, refuses))
    # A teacher's own answers are there as it wrote them.
    check_written(with_system(plan), local(store, refuses))


@pytest.fixture
def spoken(nano_llama: Path) -> Conversation:
    return load_conversation(str(nano_llama))


PAST = Access(PastCalls("big", None), None, Weights("s"), Weights("s"))  # type: ignore[arg-type]


def test_answers_that_a_student_cannot_read_are_told_apart(spoken: Conversation) -> None:
    rows = [row("Short?", "Yes."), row("Long?", "one two three " * 40)]
    found = unlearnable(rows, PAST, spoken, 60, "keep", Noted())
    assert found[UNRENDERABLE] == {}
    (key,) = found[TOO_LONG]
    assert key == rows[1].exchange_id
    assert found[TOO_LONG][key].endswith("tokens with its prompt, where the student reads 60")
    # The teacher's own ids count where it is at hand.
    known = [replace(r, prompt_token_ids=(1, 2), response_token_ids=(3,)) for r in rows]
    own = Access(Weights("t"), Weights("t"), Weights("t"), None)
    assert unlearnable(known, own, spoken, 60, "keep", Noted())[TOO_LONG] == {}
    assert len(unlearnable(known, own, spoken, 2, "keep", Noted())[TOO_LONG]) == 2


def test_answers_that_cannot_be_rendered_are_refused_only_if_all_are(copy: Copy) -> None:
    refuses = load_conversation(str(copy("refuses", before=REFUSES)))
    odd = row("Odd?", "Yes.", messages=(SYSTEM, {"role": "user", "content": "Odd?"}))
    with pytest.raises(PotstillError, match="no system here"):
        unlearnable([odd], PAST, refuses, 60, "keep", Noted())
    found = unlearnable([odd, row("Short?", "Yes.")], PAST, refuses, 60, "keep", Noted())
    assert list(found[UNRENDERABLE]) == [odd.exchange_id]
    assert "Secret" not in found[UNRENDERABLE][odd.exchange_id]
    held_out = [replace(odd, split="held_out")]
    assert unlearnable(held_out, PAST, refuses, 60, "keep", Noted())[UNRENDERABLE]


def talk(*said: str, end: str) -> Text:
    """Return a talk in which user and assistant take turns, and its last answer."""
    roles = ("user", "assistant")
    messages = tuple({"role": roles[i % 2], "content": text} for i, text in enumerate(said))
    exchange = row(" ".join(said), end, messages=messages)
    return Text(exchange, (), (), unchanged=False)


def test_every_earlier_answer_stands_behind_its_own_prompt_once(spoken: Conversation) -> None:
    first = talk("Hello?", "Hello.", "Where?", end="There.")
    longer = talk("Hello?", "Hello.", "Where?", "Here.", "Really?", end="Yes.")
    found = earlier_answers([first, longer], spoken, "keep")
    assert found.refused == 0
    texts = [spoken.tokenizer.decode(e.response_ids) for e in found.examples]
    assert [text.partition("<")[0] for text in texts] == ["Hello.", "Here."]
    assert len({e.key for e in found.examples}) == 2
    asked = spoken.prompt_ids(longer.exchange.messages[:3])
    assert found.examples[1].prompt_ids == asked


def test_earlier_answers_of_no_weight_and_those_that_no_template_writes_are_left_out(
    spoken: Conversation, copy: Copy
) -> None:
    text = talk("Hello?", "Hello.", "Where?", end="There.")
    messages = text.exchange.messages
    silent = ({**messages[0]}, {**messages[1], "weight": 0}, {**messages[2]})
    unweighed = replace(text, exchange=replace(text.exchange, messages=silent))
    assert earlier_answers([unweighed], spoken, "keep").examples == ()
    odd = replace(text, exchange=replace(text.exchange, messages=(SYSTEM, *messages)))
    refuses = load_conversation(str(copy("refuses", before=REFUSES)))
    found = earlier_answers([odd, odd], refuses, "keep")
    assert found.examples == () and found.refused == 1
