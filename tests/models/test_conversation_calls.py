"""Calls of tools: as each template writes them, with what stands beside them, and read back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from chat_families import (
    CALL,
    TOOLS,
    USER,
    Family,
    conversation,
    families,
    family,
    one_sentence,
    spoken,
    tokenizer_of,
    written,
)
from potstill.errors import PotstillError
from potstill.models.conversation import Conversation, Reply

WRITERS = [f for f in families() if f.replies.get("call") not in (None, "refused")]
EACH = pytest.mark.parametrize("kind", WRITERS, ids=str)
# Those that write arguments as JSON, so that calls can be read back.
READERS = [
    f
    for f in WRITERS
    if not f.name.startswith(("GLM-4.5", "LFM2.5", "gpt-oss"))  # XML, Python, other channels
]


def call(name: str = "look", call_id: str | None = "call00001", **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**({"id": call_id} if call_id else {}), "type": "function", "function": function}


def bare(calls: str | None) -> list[Any]:
    return [c["function"] for c in json.loads(calls or "[]")]


def said(kind: Family, reply: Reply, messages: list[dict[str, Any]] | None = None) -> str:
    """Return the text of a reply behind its prompt."""
    talk, asked = conversation(kind.name), messages or [USER]
    prompt = talk.prompt_ids(asked, TOOLS)
    ids = talk.reply_ids(asked, reply, TOOLS)
    stops = kind.token_ids(kind.stop) | set(talk.stop_ids)
    assert [i for i in ids if i in stops] == [ids[-1]]
    return spoken(kind, (*prompt, *ids)).removeprefix(spoken(kind, prompt))


def test_there_are_ten_templates_that_write_calls() -> None:
    assert len({f.template for f in WRITERS}) >= 9


@EACH
def test_arguments_are_written_whole(kind: Family) -> None:
    where = {"q": "Où, 日本?\n\"so\" 'it' \\ is", "deep": {"n": [1, 2.5, None, True]}, "empty": ""}
    text = said(kind, Reply("", tool_calls=json.dumps([call("look_up", **where)])))
    assert "look_up" in text
    for word in ("Où", "日本", "2.5", "deep", "empty"):
        assert word in text
    assert "\\u" not in text


@EACH
def test_special_tokens_that_arguments_spell_are_text(kind: Family) -> None:
    talk = conversation(kind.name)
    plain = talk.reply_ids([USER], Reply("", tool_calls=json.dumps([call(q="the")])), TOOLS)
    for token in kind.special:
        (i,) = kind.token_ids([token])
        calls = json.dumps([call(q=f"{token}")])
        ids = talk.reply_ids([USER], Reply("", tool_calls=calls), TOOLS)
        assert ids.count(i) == plain.count(i), token
        assert token in spoken(kind, ids)


@EACH
def test_reasoning_stands_before_a_call(kind: Family) -> None:
    reply = Reply("", reasoning="why", tool_calls=json.dumps([CALL]))
    if "not thinking" in kind.name:
        with pytest.raises(PotstillError):
            conversation(kind.name).reply_ids([USER], reply, TOOLS)
        return
    text = said(kind, reply)
    assert text.count("why") == 1
    assert text.index("why") < text.index("look")
    assert text.count("</think>") <= 1


@EACH
def test_reasoning_beside_a_call_is_left_out_when_asked(kind: Family) -> None:
    talk, calls = conversation(kind.name), json.dumps([CALL])
    kept = talk.reply_ids(
        [USER], Reply("", reasoning="why", tool_calls=calls), TOOLS, reasoning="leave_out"
    )
    assert kept == talk.reply_ids([USER], Reply("", tool_calls=calls), TOOLS)


# The others write a call alone: words beside one are refused, never dropped in silence.
_WITH_WORDS = ("Qwen 2.5", "Qwen 3", "GLM-4.5", "Kimi K2 Thinking", "LFM2.5", "DeepSeek R1")


@EACH
def test_words_beside_a_call_are_trained_or_refused_but_never_dropped(kind: Family) -> None:
    reply = Reply("Let me look.", tool_calls=json.dumps([CALL]))
    if kind.name.startswith(_WITH_WORDS):
        text = said(kind, reply)
        assert text.count("Let me look.") == text.count("fox") == 1
        return
    with pytest.raises(PotstillError) as refused:
        said(kind, reply)
    text = one_sentence(refused, kind.name)
    assert "beside a call" in text
    assert "Let me" not in text


def test_row_8_the_call_is_trained_and_not_the_words_as_a_whole_answer() -> None:
    reply = Reply("Let me look.", tool_calls=json.dumps([CALL]))
    assert said(family("Qwen 3"), reply) == (
        "<think>\n\n</think>\n\nLet me look.\n"
        '<tool_call>\n{"name": "look", "arguments": {"q": "fox"}}\n</tool_call><|im_end|>'
    )


@EACH
def test_two_calls_are_both_written_or_refused(kind: Family) -> None:
    calls = json.dumps([call(q="fox"), call("find", "call00002", q="owl")])
    why = {"Llama 3.2": "one tool call at a time", "gpt-oss": "only one of several"}
    for name, words in why.items():
        if kind.name.startswith(name):
            with pytest.raises(PotstillError) as refused:
                said(kind, Reply("", tool_calls=calls))
            assert words in one_sentence(refused, kind.name)
            return
    text = said(kind, Reply("", tool_calls=calls))
    assert text.index("look") < text.index("fox") < text.index("find") < text.index("owl")


@EACH
def test_an_answer_behind_a_tools_result_follows_it(kind: Family) -> None:
    messages = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "It is red.", "tool_call_id": "call00001", "name": "look"},
    ]
    talk = conversation(kind.name)
    prompt = talk.prompt_ids(messages, TOOLS)
    assert "It is red." in spoken(kind, prompt)
    text = said(kind, Reply("Yes."), messages)
    assert text.count("Yes.") == 1
    assert "red" not in text


@pytest.mark.parametrize("given", ["call_0123456789abcdef", "x", None])
def test_ids_that_a_template_refuses_are_numbered(given: str | None) -> None:
    kind = family("Mistral v7 Tekken")
    text = said(kind, Reply("", tool_calls=json.dumps([call(call_id=given, q="fox")])))
    assert text == (
        '[TOOL_CALLS][{"name": "look", "arguments": {"q": "fox"}, "id": "call00000"}]</s>'
    )


def test_a_results_id_follows_its_calls() -> None:
    kind, given = family("Mistral v7 Tekken"), "call_0123456789abcdef"
    messages = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call(call_id=given, q="fox")]},
        {"role": "tool", "content": "red", "tool_call_id": given},
    ]
    text = spoken(kind, conversation(kind.name).prompt_ids(messages, TOOLS))
    assert '"id": "call00000"}]</s>[TOOL_RESULTS]' in text
    assert '"call_id": "call00000"}' in text
    text = said(kind, Reply("", tool_calls=json.dumps([call(call_id="other", q="owl")])), messages)
    assert '"id": "call00001"' in text


AS_TEXT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name + ' ' + c.function.arguments }}"
    "</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_that_wants_arguments_as_text_gets_json() -> None:
    kind = dataclasses.replace(family("ChatML"), template=AS_TEXT, name="acme")
    talk = Conversation.of(tokenizer_of(kind), name="acme")
    ids = talk.reply_ids([USER], Reply("", tool_calls=json.dumps([call(q="l'été")])))
    assert spoken(kind, ids) == '<call>look {"q": "l\'été"}</call><|im_end|>'


PRINTS = AS_TEXT.replace("' ' + c.function.arguments", "' ' ~ c.function.arguments")


def test_arguments_are_never_printed_as_python_does() -> None:
    kind = dataclasses.replace(family("ChatML"), template=PRINTS, name="acme")
    talk = Conversation.of(tokenizer_of(kind), name="acme")
    ids = talk.reply_ids([USER], Reply("", tool_calls=json.dumps([call(q="fox", all=True)])))
    assert spoken(kind, ids) == '<call>look {"q": "fox", "all": true}</call><|im_end|>'


@pytest.mark.parametrize(
    "calls",
    [
        "not JSON",
        "{}",
        "[1]",
        '[{"function": {"name": "look"}}]',
        '[{"function": {"name": "", "arguments": {}}}]',
        '[{"function": {"name": "look", "arguments": "{"}}]',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_calls_that_are_none_are_refused(calls: str) -> None:
    with pytest.raises(PotstillError) as refused:
        conversation("Qwen 3").reply_ids([USER], Reply("", tool_calls=calls), TOOLS)
    assert "tool_calls" in one_sentence(refused, "Qwen 3")


# Read back


@pytest.mark.parametrize("kind", READERS, ids=str)
def test_calls_read_back(kind: Family) -> None:
    talk = conversation(kind.name)
    for arguments in ({"q": "fox"}, {}, {"a": [1, {"b": None}], "c": 'say "}" \n'}):
        reply = Reply("", tool_calls=json.dumps([call("look_up", **arguments)]))
        read = talk.read(talk.reply_ids([USER], reply, TOOLS), tools=True)
        assert bare(read.tool_calls) == [{"name": "look_up", "arguments": arguments}]
        assert read.text == ""
        assert read.reasoning is None


@pytest.mark.parametrize("kind", READERS, ids=str)
def test_what_a_teacher_called_is_told_apart(kind: Family) -> None:
    talk = conversation(kind.name)
    for heard in (h for h in kind.heard if h.get("call")):
        read = talk.read(written(kind, heard["raw"]), tools=True)
        assert bare(read.tool_calls) == [CALL["function"]]
        assert (read.text, read.reasoning) == ("", heard.get("reasoning"))


@pytest.mark.parametrize("name", ["Qwen 2.5", "Qwen 3", "Qwen 3 not thinking", "Kimi K2 Thinking"])
def test_words_and_reasoning_and_two_calls_read_back(name: str) -> None:
    talk = conversation(name)
    calls = [call(q="fox"), call("find", "call00002", q="owl")]
    thought = None if name in ("Qwen 2.5", "Qwen 3 not thinking") else "why"
    reply = Reply("Let me look.", reasoning=thought, tool_calls=json.dumps(calls))
    read = talk.read(talk.reply_ids([USER], reply, TOOLS), tools=True)
    assert bare(read.tool_calls) == [c["function"] for c in calls]
    assert (read.text, read.reasoning) == ("Let me look.", thought)


@pytest.mark.parametrize("kind", READERS, ids=str)
def test_an_answer_that_tells_of_a_call_is_none(kind: Family) -> None:
    talk = conversation(kind.name)
    for answer in (
        'Write {"name": "look", "arguments": {"q": "fox"}} to look.',
        'Use <tool_call>\n{"name": "look", "arguments": {"q": "fox"}}\n</tool_call> for it.',
        '[TOOL_CALLS][{"name": "look", "arguments": {"q": "fox"}, "id": "call00001"}]',
    ):
        read = talk.read(talk.reply_ids([USER], Reply(answer)), tools=True)
        assert read == Reply(answer)


def test_a_call_that_was_cut_off_is_no_call() -> None:
    talk = conversation("Qwen 3")
    whole = talk.reply_ids([USER], Reply("", tool_calls=json.dumps([CALL])), TOOLS)
    assert talk.read(whole[:-8]).tool_calls is None
