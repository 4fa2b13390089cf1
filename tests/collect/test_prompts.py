"""The plan of prompts: messages, splits, and no held-out prompt in training."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.errors import PotstillError
from potstill.exchanges.overlap import overlap, prompt_text
from potstill.recipe import PromptsConfig
from potstill.text.turns import Turns, prompt_id_of
from potstill.text.words import words_of
from potstill.work.plan import PromptPlan
from potstill.work.records import Prompts


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def made(texts):
    """Return a reader that serves texts, whatever is asked."""
    return lambda source, config: [Turns((user(text),)) for text in texts]


def messages_read(path, settings):
    """Return what is read where no row offers tools."""
    read = read_prompts(path, settings)
    assert all(turns.tools is None for turns in read)
    return [turns.messages for turns in read]


def config(**changes) -> PromptsConfig:
    fields = {"source": "p.jsonl", "held_out_count": 4, "validation_count": 2}
    return PromptsConfig(**(fields | changes))


@pytest.fixture
def source(tmp_path):
    def _source(*rows) -> str:
        path = tmp_path / "p.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return _source


# Messages


def test_text_becomes_one_user_message_as_it_stands(source):
    texts = [" hello \n", "hello", "\thello\r\n", "\u3000hello\u00a0"]
    path = source(*({"prompt": text} for text in texts), {"prompt": None})
    assert messages_read(path, config()) == [(user(text),) for text in [*texts, ""]]
    chats = [[{"role": "system", "content": " a\n"}, user(text)] for text in texts]
    path = source(*({"prompt": chat} for chat in chats))
    assert messages_read(path, config()) == [tuple(chat) for chat in chats]


def test_ids_of_prompts_do_not_change_where_nothing_is_around_them(source):
    ((asked,),) = messages_read(source({"prompt": "hello"}), config())
    assert prompt_id_of((asked,)) == "913943507625143fb0fa58ffc8ac9ab1"


def test_messages_are_kept_and_final_answers_cut_off(source):
    answer = {"role": "assistant", "content": "Hi."}
    chat = [user("Hello"), answer, user("How are you?")]
    path = source({"prompt": chat}, {"prompt": [*chat, answer, answer]}, {"prompt": [answer]})
    assert messages_read(path, config()) == [tuple(chat), tuple(chat), (user(""),)]


def test_content_in_text_parts_is_joined(source):
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    path = source({"prompt": [{"role": "user", "content": parts}]})
    assert messages_read(path, config()) == [(user("one two"),)]


def test_system_message_goes_first_and_yields_to_a_row_with_its_own(source):
    own = [{"role": "system", "content": "Own."}, user("b")]
    path = source({"prompt": "a"}, {"prompt": own})
    read = messages_read(path, config(system="Be brief."))
    assert read == [({"role": "system", "content": "Be brief."}, user("a")), tuple(own)]


def test_template_over_columns(source):
    path = source({"body": "Long {text}", "n": 2}, {"body": None, "n": 3})
    read = messages_read(path, config(template="Summarise in {n} words {{so}}: {body}"))
    assert read[0] == (user("Summarise in 2 words {so}: Long {text}"),)
    assert read[1] == (user("Summarise in 3 words {so}: "),)
    around = messages_read(source({"body": " a\n"}), config(template="\n{body}\n"))
    assert around == [(user(" a\n"),)]


def test_another_column(source):
    assert messages_read(source({"q": "a"}), config(column="q")) == [(user("a"),)]


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        ({"q": "secret", "a": 1}, {}, "line 1, has no column prompt; the columns there are: a, q"),
        ({"q": "x"}, {"template": "{body}"}, "has no column body; the columns there are: q"),
        ({"prompt": 5}, {}, "line 1: prompt holds int, where text"),
        ({"prompt": [{"role": "user"}]}, {}, "line 1: prompt[0].content is missing"),
        (
            {"prompt": [{"role": "guide", "content": "secret"}]},
            {},
            "line 1: prompt[0].role is guide,",
        ),
        (
            {"prompt": [{"role": "system", "content": "secret"}]},
            {},
            "line 1: prompt does not end with",
        ),
        ({"prompt": "secret \ud800"}, {}, "line 1: prompt holds half a surrogate"),
        ({"q": "x"}, {"template": "no column"}, "names no column"),
        ({"q": "x"}, {"template": "{q"}, "prompts.template cannot be read"),
        ({"q": "x"}, {"template": "{q.__class__}"}, "plain column names"),
        ({"q": "x"}, {"template": "{q!r}"}, "plain column names"),
        ({"q": "x"}, {"template": "{}"}, "plain column names"),
    ],
)
def test_rows_that_do_not_fit_are_refused(source, row, changes, message):
    with pytest.raises(PotstillError) as caught:
        messages_read(source(row), config(**changes))
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


# Tools


FUNCTION = {"name": "find", "parameters": {"type": "object"}}
TOOLS = '[{"type":"function","function":{"name":"find","parameters":{"type":"object"}}}]'
CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": {"b": 1, "a": 2}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": " found\n", "tool_call_id": "c"}


def as_text(call):
    function = {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}
    return {**call, "function": function}


def test_prompts_may_hold_calls_and_end_with_a_tools_result(source):
    written = {"role": "assistant", "content": None, "tool_calls": [as_text(CALL)]}
    answer = {"role": "assistant", "content": "Done."}
    path = source(
        {"prompt": [user("a"), written, RESULT], "tools": json.loads(TOOLS)},
        {"prompt": [user("a"), written, RESULT, answer], "tools": TOOLS},
        {"prompt": [user("a"), written], "tools": [FUNCTION]},
        {"prompt": [user("a")], "tools": None},
        {"prompt": "a", "tools": TOOLS},
        {"prompt": "a", "tools": "a hammer"},
    )
    asked = (user("a"), CALLING, RESULT)
    assert [(turns.messages, turns.tools) for turns in read_prompts(path, config())] == [
        (asked, TOOLS),
        (asked, TOOLS),
        ((user("a"),), TOOLS),
        ((user("a"),), None),
        ((user("a"),), TOOLS),
        ((user("a"),), None),
    ]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"source": "gone.jsonl"}, "prompts.source"),
        ({"source": ("p.jsonl", "gone.jsonl")}, "prompts.source"),
        ({"held_out": "gone.jsonl"}, "prompts.held_out"),
        ({"held_out": ("h.jsonl", "gone.jsonl")}, "prompts.held_out"),
        ({}, "curate.decontaminate.sources"),
    ],
)
def test_a_missing_file_names_the_setting_that_names_it(settings, field):
    with pytest.raises(PotstillError, match=f"gone.jsonl does not exist; check {field}$"):
        read_prompts("gone.jsonl", PromptsConfig(**settings))


@pytest.mark.parametrize("given", ["", [], ["p.jsonl", ""]])
@pytest.mark.parametrize("field", ["source", "held_out"])
def test_a_blank_source_is_refused(field, given):
    with pytest.raises(ValueError, match="name at least one source, and none that is blank"):
        PromptsConfig(**{field: given})


def test_a_column_called_tools_may_be_what_is_asked(source):
    path = source({"tools": "a hammer"})
    assert messages_read(path, config(column="tools")) == [(user("a hammer"),)]
    assert messages_read(path, config(template="Use {tools}.")) == [(user("Use a hammer."),)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": [user("a"), RESULT]}, "holds a tool's result that follows no call"),
        ({"prompt": [user("a"), CALLING, {**RESULT, "tool_call_id": "z"}]}, "follows no call"),
        (
            {"prompt": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]},
            "line 1: prompt[0] has a kind of tool that is no function",
        ),
        (
            {
                "prompt": [
                    user("a"),
                    {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "secret"}]},
                    RESULT,
                ]
            },
            "has a tool call whose arguments are no JSON object",
        ),
        ({"prompt": [user("a")], "tools": "secret"}, "line 1: the column tools holds tools that"),
        ({"prompt": [user("a")], "tools": [{"type": "web_search"}]}, "a kind of tool that is no"),
        (
            {"prompt": [user("a"), CALLING, {"role": "tool", "content": 7}]},
            "prompt[2].content holds int",
        ),
        ({"prompt": [user("a"), CALLING, {**RESULT, "content": "\ud800"}]}, "half a surrogate"),
    ],
)
def test_calls_and_tools_that_do_not_fit_are_refused(source, row, message):
    with pytest.raises(PotstillError) as caught:
        read_prompts(source(row), config())
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nulls_that_a_struct_column_filled_in_are_refused(tmp_path):
    other = {**CALL, "function": {"name": "find", "arguments": {"c": 3}}}
    calling = [{"role": "assistant", "content": "", "tool_calls": [call]} for call in (CALL, other)]
    rows = [{"prompt": [user("a"), turn, RESULT]} for turn in calling]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    with pytest.raises(PotstillError, match=r"p.parquet, row 1: calls or tools stand in struct"):
        read_prompts(str(tmp_path / "p.parquet"), config())
    plain = [{"prompt": [user("a")], "tools": TOOLS}, {"prompt": [user("b")], "tools": None}]
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "q.parquet")
    read = read_prompts(str(tmp_path / "q.parquet"), config())
    assert [turns.tools for turns in read] == [TOOLS, None]


def read_back(record):
    """Return the plan of a record, by way of its JSON."""
    return PromptPlan.of(Prompts.from_json(json.dumps(record).encode()))


def test_the_plan_keeps_tools_and_comes_back_from_its_record():
    rows = [Turns((user(text),), TOOLS) for text in WORDS]
    last = (*rows[0].messages, CALLING, {**RESULT, "content": ""})
    rows.append(Turns(last, TOOLS))
    plan = plan_prompts(config(), seed=0, read=lambda source, config: rows)
    assert {p.tools for p in plan.prompts} == {TOOLS} and len(plan.prompts) == len(rows)
    assert all(p.prompt_id == prompt_id_of(p.messages, TOOLS) for p in plan.prompts)
    again = read_back(plan.kept().as_json())
    assert again == plan
    assert any(list(p.messages) == list(last) for p in again.prompts)
    without = plan_prompts(config(), seed=0, read=made(WORDS)).kept().as_json()
    for prompt in without["prompts"]:
        del prompt["tools"]  # as an older version recorded it
    assert read_back(without) == plan_prompts(config(), seed=0, read=made(WORDS))


# The plan


WORDS = [f"{a} {b} {c}" for a in "kmnprst" for b in "aeiou" for c in "bdfg"]


def test_splits_are_disjoint_complete_and_of_the_size_asked():
    plan = plan_prompts(config(), seed=0, read=made(WORDS))
    assert (len(plan.held_out), len(plan.validation)) == (4, 2)
    assert len({p.prompt_id for p in plan.prompts}) == len(WORDS) == len(plan.prompts)
    assert {p.split for p in plan.train} == {"train"}
    assert {p.split for p in plan.held_out} == {"held_out"}
    assert all(p.prompt_id == prompt_id_of(p.messages) for p in plan.prompts)
    assert plan.train[0].source == "file:p.jsonl"


def test_held_out_depends_on_neither_order_nor_seed():
    one = plan_prompts(config(), seed=0, read=made(WORDS))
    other = plan_prompts(config(), seed=1, read=made(WORDS[::-1]))
    assert one.held_out == other.held_out
    assert one.validation == other.validation
    assert {p.prompt_id for p in one.train} == {p.prompt_id for p in other.train}
    assert one.train != other.train
    assert one == plan_prompts(config(), seed=0, read=made(WORDS[::-1]))


def test_limit_is_for_training_alone():
    plan = plan_prompts(config(limit=7), seed=0, read=made(WORDS))
    assert (len(plan.train), len(plan.validation), len(plan.held_out)) == (7, 2, 4)
    assert plan.train == plan_prompts(config(), seed=0, read=made(WORDS)).train[:7]


def test_near_duplicates_of_held_out_prompts_leave_training():
    held_out = [f"please tell me what the number {i} is good for in real life" for i in range(4)]
    # A prompt shares all but one word with each of these four.
    leaked = ["Please tell me what the number 2 is good for in real life!", held_out[1] + " now"]

    def read(source, config):
        texts = held_out if source == "h.jsonl" else [*WORDS, *leaked]
        return [Turns((user(text),)) for text in texts]

    plan = plan_prompts(config(held_out="h.jsonl"), seed=0, read=read)
    assert (plan.overlap.exact, plan.overlap.near) == (1, 1)
    assert plan.overlap.dropped_from_training == 2
    assert plan.overlap.train == len(WORDS) + 2
    assert not {p.messages[0]["content"] for p in plan.train + plan.validation} & set(leaked)
    assert any("2 training prompts were dropped" in note for note in plan.notes)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=7).map(" ".join),
        min_size=30,
        max_size=80,
        unique=True,
    ),
    st.integers(0, 3),
)
def test_nothing_planned_resembles_a_held_out_prompt(texts, seed):
    try:
        plan = plan_prompts(config(limit=12), seed=seed, read=made(texts))
    except PotstillError:  # all of a small set may resemble what is held out
        assume(False)
    check = overlap(
        [prompt_text(p.messages) for p in plan.train],
        [prompt_text(p.messages) for p in plan.held_out],
    )
    assert check.train_indices == ()
    words = {words_of(prompt_text(p.messages)) for p in plan.train + plan.validation}
    assert not words & {words_of(prompt_text(p.messages)) for p in plan.held_out}


def test_blank_and_repeated_prompts_are_left_out_and_told():
    plan = plan_prompts(config(), seed=0, read=made([*WORDS, WORDS[0], WORDS[1], "", " ".strip()]))
    assert len(plan.prompts) == len(WORDS)
    assert "2 blank prompts of file:p.jsonl were left out" in plan.notes
    assert "2 repeated prompts of file:p.jsonl were left out" in plan.notes


def test_of_prompts_that_differ_in_white_space_around_them_the_first_stands():
    first = f" {WORDS[0]}\n"
    plan = plan_prompts(
        config(), seed=0, read=made([first, *WORDS, f"{WORDS[0]}\t", WORDS[1] + " "])
    )
    texts = [p.messages[0]["content"] for p in plan.prompts]
    assert sorted(texts) == sorted([first, *WORDS[1:]])
    assert "3 repeated prompts of file:p.jsonl were left out" in plan.notes
    assert all(p.prompt_id == prompt_id_of(p.messages) for p in plan.prompts)


def test_too_few_prompts_are_refused_with_numbers():
    with pytest.raises(PotstillError, match=r"leaves no prompt to train on, after 4 held out.*2 f"):
        plan_prompts(config(), seed=0, read=made(WORDS[:6]))
    with pytest.raises(PotstillError, match="no prompt that is not blank"):
        plan_prompts(config(), seed=0, read=made(["", ""]))


def test_fewer_held_out_prompts_than_asked_are_told():
    def read(source, config):
        return [Turns((user(t),)) for t in (WORDS[:2] if source == "h.jsonl" else WORDS[2:])]

    plan = plan_prompts(config(held_out="h.jsonl"), seed=0, read=read)
    assert len(plan.held_out) == 2
    assert any("only 2 prompts are held out, where 4 were asked" in note for note in plan.notes)


# The starter set


def test_starter_set_is_large_varied_and_disjoint():
    plan = plan_prompts(PromptsConfig(), seed=0)
    assert len(plan.held_out) == 200
    assert len(plan.train) >= 1000
    assert plan.overlap.dropped_from_training == 0
    assert plan.notes == ()
    everything = PromptsConfig(held_out_count=10_000)
    assert len(plan_prompts(everything, seed=0).held_out) >= 240


def test_starter_set_has_no_near_duplicates_and_reads_like_text():
    texts = [
        prompt_text(turns.messages)
        for source in ("starter", "starter-held-out")
        for turns in read_prompts(source, PromptsConfig())
    ]
    for index in range(0, len(texts), 97):
        others = texts[:index] + texts[index + 97 :]
        assert overlap(others, texts[index : index + 97]).train_indices == ()
    for text in texts:
        assert len(text.split()) <= 60
        assert text[0].isupper() or text[0] in '"“'
        assert text[-1] in ".?!)]\"'", text
        assert "{" not in text
        assert "  " not in text
