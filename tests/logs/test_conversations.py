"""Rows and cells of every form as messages, and what is said of those that fit none."""

from __future__ import annotations

import json

import pytest

from potstill.logs.conversations import (
    asked,
    chat_of_cell,
    chat_of_row,
    messages_of,
    order_of,
    without_nulls,
)
from potstill.logs.turns import Chat, Unfit


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def read(row, column=None, **options):
    chat = chat_of_row(row, column, **options)
    assert isinstance(chat, Chat), chat
    messages = messages_of(chat)
    assert not isinstance(messages, Unfit), messages
    return list(messages)


def refused(row, column=None, **options) -> Unfit:
    chat = chat_of_row(row, column, **options)
    found = chat if isinstance(chat, Unfit) else messages_of(chat)
    assert isinstance(found, Unfit), found
    assert "secret" not in str(found)
    return found


TALK = [user(" Hi\n"), assistant("Yes")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TALK},
        {"conversations": [{"from": "human", "value": " Hi\n"}, {"from": "gpt", "value": "Yes"}]},
        {"conversation": [{"from": "User", "value": " Hi\n"}, {"from": "chatgpt", "value": "Yes"}]},
        {"messages": json.dumps(TALK)},
        {"messages": repr(TALK)},
        {"prompt": json.dumps({"messages": TALK})},
        {"prompt": {"messages": TALK}},
        {"prompt": json.dumps([{"from": "human", "value": " Hi\n"}, assistant("Yes")])},
        {"messages": [{**user([{"type": "text", "text": " Hi\n"}]), "name": None}, TALK[1]]},
        {
            "messages": [
                user([{"type": "input_text", "text": " Hi"}, {"text": "\n", "image_url": None}]),
                assistant([{"type": "output_text", "text": "Yes"}]),
            ]
        },
        {"messages": [{**turn, "tool_calls": None, "from": None, "value": None} for turn in TALK]},
    ],
)
def test_one_conversation_in_every_spelling(row):
    assert read(row) == TALK
    assert asked(read(row)) == (user(" Hi\n"),)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [user(" Hi\n")], "completion": [assistant("Yes")]},
        {"prompt": " Hi\n", "completion": "Yes"},
        {"prompt": json.dumps([user(" Hi\n")]), "completion": "Yes"},
        {"instruction": " Hi\n", "output": "Yes"},
        {"instruction": " Hi\n", "input": "", "output": "Yes"},
        {"instruction": " Hi\n", "input": None, "output": "Yes"},
    ],
)
def test_answers_in_columns_of_their_own_are_turns_where_they_are_wanted(row):
    assert read(row) == [user(" Hi\n")]
    assert read(row, answers=True) == TALK


def test_alpaca_asks_the_instruction_and_its_input():
    row = {"instruction": "Add up.", "input": "1, 2", "output": "3"}
    assert read(row) == read(row, "instruction") == [user("Add up.\n\n1, 2")]
    assert read({"instruction": "", "input": "1, 2"}) == [user("1, 2")]
    assert read({"instruction": "Add up.", "system": "Be brief."}) == [
        system("Be brief."),
        user("Add up."),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Shout.", "messages": TALK},
        {"system_prompt": "Shout.", "messages": json.dumps(TALK)},
        {"system": "Shout.", "messages": [system("Shout."), *TALK]},
        {"system": "Shout.", "conversations": [{"from": "human", "value": " Hi\n"}, TALK[1]]},
        {"system": [{"type": "text", "text": "Shout."}], "messages": TALK},
        {"messages": [{"role": "developer", "content": "Shout."}, *TALK]},
        {"prompt": {"system": "Shout.", "messages": TALK}},
        {"system": None, "system_prompt": "Shout.", "messages": TALK},
    ],
)
def test_a_system_message_beside_the_others_goes_first(row):
    assert read(row) == [system("Shout."), *TALK]


def test_text_is_asked_as_it_stands():
    for text in ("Hi", " Hi \n", "", "[1, 2, 3]", '{"a": 1}', "[x] or {y}?", '[{"role": "king"}]'):
        chat = chat_of_cell(text, "prompt")
        assert isinstance(chat, Chat) and chat.form == "text"
        assert messages_of(chat) == (user(text),)
    listed = '[{"from": "Paris", "to": "Rome"}]'
    assert messages_of(chat_of_cell(listed, "prompt")) == (user(listed),)
    assert messages_of(chat_of_cell(None, "prompt")) == (user(""),)
    assert messages_of(chat_of_cell("[]", "prompt")) == messages_of(chat_of_cell([], "p")) == ()


def test_calls_reasoning_and_weights_stay_and_other_keys_go():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    kept = {**call, "function": {"name": "f", "arguments": {"a": 1}}}
    turns = [
        {**user("a"), "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "function", "name": "f", "tool_call_id": "c", "content": "1"},
        {**assistant("b"), "weight": 0, "reasoning": "Well."},
        user("c"),
    ]
    assert read({"messages": turns}) == [
        user("a"),
        {**assistant(""), "tool_calls": [kept]},
        {"role": "tool", "content": "1", "tool_call_id": "c", "name": "f"},
        {**assistant("b"), "weight": 0, "reasoning_content": "Well."},
        user("c"),
    ]


def test_the_tools_of_a_request_in_a_cell_come_with_it():
    tools = [{"type": "function", "function": {"name": "f"}}]
    chat = chat_of_cell(json.dumps({"messages": TALK, "tools": tools}), "request")
    assert isinstance(chat, Chat) and chat.tools == tools
    assert chat.fields == ("request.messages[0].content", "request.messages[1].content")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "secret"}, "the row has none of the columns messages, conversations,"),
        ({"prompt": "secret", "messages": TALK}, "messages and prompt stand in one row"),
        ({"chosen": TALK, "rejected": TALK}, "chosen and rejected answers stand there without"),
        ({"messages": 7}, "messages holds int, where text or a list of messages is needed"),
        ({"messages": ["secret"]}, "messages[0] is no message with a role and content"),
        ({"messages": [TALK[0], {"content": "secret"}]}, "messages[1] is a message without a role"),
        (
            {"conversations": [{"from": "guide", "value": "secret"}]},
            "conversations[0].from is guide, which is none of system, developer, user, human",
        ),
        ({"messages": [{"role": "my secret", "content": "a"}]}, "messages[0].role holds what is"),
        ({"messages": [{"role": 3, "content": "a"}]}, "messages[0].role holds what is none of"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
        ({"conversations": [{"from": "human", "value": 3}]}, "conversations[0].value holds int"),
        (
            {"messages": [user([{"type": "text", "text": "secret"}, {"type": "image_url"}])]},
            "messages[0].content[1] is of the type image_url; only text",
        ),
        ({"messages": [user([{"type": "input_audio"}])]}, "is of the type input_audio"),
        ({"messages": [user(["secret"])]}, "messages[0].content[0] is no part of text"),
        ({"messages": [user([{"type": "text", "text": None}])]}, "messages[0].content[0].text is"),
        ({"messages": [user("secret \ud800")]}, "messages[0].content holds half a surrogate pair"),
        ({"messages": "[{'role': 'user', 'content': 'secret'}\n {'role'"}, "messages begins like"),
        ({"messages": json.dumps(TALK)[:-3]}, "messages begins like a list of messages"),
        ({"messages": json.dumps([*TALK, "secret"])}, "messages[2] is no message"),
        ({"prompt": {"text": "secret"}}, "prompt holds an object"),
        ({"instruction": 7}, "instruction holds int"),
        ({"instruction": "a", "input": {"secret": 1}}, "input holds dict"),
        ({"instruction": "a", "history": [["secret", "b"]]}, "history holds earlier turns"),
        (
            {"system": "secret", "messages": [system("Other."), *TALK]},
            "system stands beside messages that have a system message of their own; keep one",
        ),
        ({"system": "a", "system_prompt": "b", "messages": TALK}, "system and system_prompt diff"),
        ({"system": 7, "messages": TALK}, "system holds int, where text is needed; rename it"),
        (
            {"prompt": {"system": "secret", "messages": [system("b"), user("a")]}},
            "prompt.system stands beside",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]},
            "messages[0] has a kind of tool that is no function",
        ),
    ],
)
def test_what_fits_no_form_is_named_with_its_field(row, message):
    assert message in str(refused(row))


@pytest.mark.parametrize("key", ["prompt", "messages"])
def test_of_answers_to_choose_between_none_is_taken(key):
    row = {key: TALK, "chosen": "secret", "rejected": "secret"}
    assert read(row) == TALK  # asked, not answered
    assert refused(row, answers=True).trouble == "preference"


def test_what_cannot_be_asked_as_it_ends():
    assert order_of([user("a")], "messages") is None
    for messages in ([], [system("a")], [user("a"), assistant("b")]):
        assert "messages does not end with" in str(order_of(messages, "messages"))
    result = {"role": "tool", "content": "1"}
    assert "follows no call" in str(order_of([user("a"), result], "messages"))


def test_nulls_of_a_typed_column_go_and_others_stay():
    value = {"a": 1, "b": None, "c": [{"d": None, "e": 0}, None], "f": {"g": None}, "h": ""}
    assert without_nulls(value) == {"a": 1, "c": [{"e": 0}, None], "f": {}, "h": ""}
