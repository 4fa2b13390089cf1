"""What must hold of every conversation, for drawn messages and every family's template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_families import DAY, Family, conversation, families, family, frame, spoken, tokenizer_of
from potstill.models.conversation import Reply

# One of each template, and those whose arguments lay answers out in another way.
FAMILIES = [
    f
    for n, f in enumerate(families())
    if f.template and (f.template != families()[n - 1].template or "not thinking" in f.name)
]
EVERY = pytest.mark.parametrize("kind", FAMILIES, ids=str)
# Few for each of the many families.
EACH = settings(max_examples=4, deadline=None, derandomize=True)
PLACE = "qzwordsqz"
Talk = tuple[list[dict[str, Any]], str]
# No marks of any family's templates: those are drawn on purpose, as whole tokens. A ▁ is a space
# to a tokenizer of pieces.
_LETTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters="<>[]|｜◁▷{}/▁", max_codepoint=0x2FFFF
)
_PIECES = ("Yes.", "the fox", "Où est", "日本語", "e\u0301", "1", "12", "a", "x", "?", "{", "'s")
_SPACES = (" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0")


def texts(tokens: Sequence[str] = ()) -> st.SearchStrategy[str]:
    """Return texts of words, white space and, where `tokens` are given, spelled tokens."""
    pieces = st.sampled_from([*_PIECES, *_SPACES, *tokens, *tokens])
    return st.lists(pieces, max_size=6).map("".join)


def talks(kind: Family, *, spelled: bool, framed: bool = False) -> st.SearchStrategy[Talk]:
    """Return talks of 1 to 4 turns that ask a family, and an answer to each.

    `spelled` draws the family's own tokens as text; `framed` puts letters around each text, where
    templates trim white space.
    """
    words = texts(kind.added if spelled else ())
    answers = st.one_of(words, st.text(_LETTERS, max_size=20))
    if framed:
        words, answers = (s.map(lambda text: f"x{text}x") for s in (words, answers))
    user, said = _messages("user", words), _messages("assistant", words)
    turns = st.tuples(st.lists(st.tuples(user, said), max_size=3), user)
    flat = turns.map(lambda drawn: [*(m for pair in drawn[0] for m in pair), drawn[1]])
    if kind.prompts.get("system") != "refused":
        head = st.one_of(st.just([]), _messages("system", words).map(lambda m: [m]))
        flat = st.tuples(head, flat).map(lambda drawn: [*drawn[0], *drawn[1]])
    return st.tuples(flat, answers)


def _messages(role: str, words: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return words.map(lambda text: {"role": role, "content": text})


def rendered(kind: Family, messages: list[dict[str, Any]], *, generate: bool) -> str:
    """Return what transformers renders, on the day of these tests."""
    text = tokenizer_of(kind).apply_chat_template(
        messages,
        chat_template=_on_the_day(kind.name),
        tokenize=False,
        add_generation_prompt=generate,
        **kind.arguments,
    )
    return str(text)


@cache
def _on_the_day(name: str) -> str:
    text = str(family(name).template)
    for form in ("%d %b %Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y"):
        text = text.replace(f"strftime_now('{form}')", repr(DAY.strftime(form)))
    assert "strftime_now" not in text
    return text


@EVERY
@EACH
@given(data=st.data())
def test_what_is_trained_is_the_templates_own_rendering(kind: Family, data: st.DataObject) -> None:
    # A space that begins a whole text is lost to a tokenizer of pieces.
    framed = kind.tokenizer == "sentencepiece"
    messages, answer = data.draw(talks(kind, spelled=False, framed=framed))
    talk = conversation(kind.name)
    prompt, reply = talk.prompt_ids(messages), talk.reply_ids(messages, Reply(answer))
    asked = rendered(kind, messages, generate=True)
    assert talk.prompt_text(messages) == asked
    assert spoken(kind, prompt) == asked
    before, behind = frame(kind)
    said = spoken(kind, (*prompt, *reply))
    assert said == asked + before + answer + behind
    # Rendered with the answer as one more message, wherever the template repeats its own prompt.
    whole = rendered(kind, [*messages, {"role": "assistant", "content": PLACE}], generate=False)
    if whole.startswith(asked + before):
        head, _, tail = whole.partition(PLACE)
        assert head == asked + before
        # Some leave the end to the tokenizer, or to what begins the next turn.
        assert tail.startswith(behind) or behind.startswith(tail)


@EVERY
@EACH
@given(data=st.data())
def test_the_ids_are_the_tokenizers_own_for_the_rendering(
    kind: Family, data: st.DataObject
) -> None:
    messages, answer = data.draw(talks(kind, spelled=False, framed=True))
    talk, tokenizer = conversation(kind.name), tokenizer_of(kind)
    prompt, reply = talk.prompt_ids(messages), talk.reply_ids(messages, Reply(answer))
    text = spoken(kind, (*prompt, *reply))
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(prompt) == tokenizer(spoken(kind, prompt), add_special_tokens=False)["input_ids"]
    if whole[: len(prompt)] == list(prompt):  # else a token would reach over the seam
        assert [*prompt, *reply] == whole


@EVERY
@EACH
@given(data=st.data())
def test_spelled_tokens_are_said_and_never_meant(kind: Family, data: st.DataObject) -> None:
    messages, answer = data.draw(talks(kind, spelled=True, framed=True))
    # Marks of reasoning in an earlier answer are the template's to take out.
    added = tokenizer_of(kind).added_tokens_decoder.values()
    marks = [token.content for token in added if not token.special]
    for message in messages:
        if message["role"] == "assistant":
            for mark in marks:
                message["content"] = message["content"].replace(mark, "x")
    talk = conversation(kind.name)
    prompt, reply = talk.prompt_ids(messages), talk.reply_ids(messages, Reply(answer))
    # What is rendered of words that spell nothing, with the words put in afterwards.
    names = [{**m, "content": f"qz{n}qz"} for n, m in enumerate(messages)]
    asked = rendered(kind, names, generate=True)
    for n, message in enumerate(messages):
        assert asked.count(f"qz{n}qz") == 1
        asked = asked.replace(f"qz{n}qz", message["content"])
    before, behind = frame(kind)
    assert spoken(kind, (*prompt, *reply)) == asked + before + answer + behind
    bare = talk.prompt_ids(names)
    special = kind.token_ids([*kind.special, kind.eos])
    assert [i for i in prompt if i in special] == [i for i in bare if i in special]
    stops = set(talk.stop_ids) | kind.token_ids(kind.stop)
    assert [i for i in reply if i in stops] == [reply[-1]]


@EVERY
@EACH
@given(data=st.data())
def test_a_prompt_is_a_prefix_and_a_cut_answer_a_prefix_of_the_whole(
    kind: Family, data: st.DataObject
) -> None:
    messages, answer = data.draw(talks(kind, spelled=True))
    talk = conversation(kind.name)
    reasoned = data.draw(st.booleans())
    reply = Reply(answer, reasoning="why" if reasoned and "not thinking" not in kind.name else None)
    prompt = talk.prompt_ids(messages)
    whole = talk.reply_ids(messages, reply)
    cut = talk.reply_ids(messages, reply, whole=False)
    said = spoken(kind, (*prompt, *whole))
    assert said.startswith(spoken(kind, prompt))
    assert said.startswith(spoken(kind, (*prompt, *cut)))
    assert not set(cut) & set(talk.stop_ids)
    assert whole[-1] == talk.end_ids[-1]


@EVERY
@EACH
@given(data=st.data())
def test_what_is_trained_is_read_back(kind: Family, data: st.DataObject) -> None:
    messages, answer = data.draw(talks(kind, spelled=True))
    talk = conversation(kind.name)
    thought = "" if "not thinking" in kind.name else data.draw(texts()).strip()
    # An answer that spells a mark which the family writes as letters is its own mark.
    written = [t for t in ("<think>", "</think>") if t not in kind.added]
    if any(token in answer for token in written):
        return
    ids = talk.reply_ids(messages, Reply(answer, reasoning=thought or None))
    read = talk.read(ids)
    assert (read.reasoning or "") == thought
    assert read.text == answer
