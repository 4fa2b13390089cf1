"""Templates that refuse a talk, or are broken: one sentence that names whose they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chat_families import SYSTEM, USER, conversation, family, one_sentence, tokenizer_of
from potstill.errors import PotstillError
from potstill.models.conversation import Conversation, Reply

CHATML = family("ChatML")


def talking(template: str, **changes: Any) -> Conversation:
    """Return the conversation of ChatML's tokenizer with another template."""
    kind = dataclasses.replace(CHATML, template=template, **changes)
    return Conversation.of(tokenizer_of(kind), name="acme/student")


BROKEN = {
    "a missing endfor": "{% for m in messages %}{{ m.content }}<|im_end|>",
    "a missing endif": "{% if messages %}{{ messages[0].content }}<|im_end|>",
    "an unclosed expression": "{{ messages[0].content",
    "an unknown filter": "{% for m in messages %}{{ m.content | shout }}<|im_end|>{% endfor %}",
    "an unknown test": "{% for m in messages %}{% if m is loud %}x{% endif %}{% endfor %}",
    "an unknown tag": "{% shout %}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
    "an unknown function": "{{ shout() }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "text and number": "{% for m in messages %}{{ m.content + 1 }}<|im_end|>{% endfor %}",
    "a missing name": "{% for m in messages %}{{ m.a.b }}{{ m.content }}<|im_end|>{% endfor %}",
    "a sandbox's limit": "{{ messages.append(1) }}{% for m in messages %}{{ m }}{% endfor %}",
    "a refusal of all": "{{ raise_exception('Not today') }}",
    "a division by zero": "{{ 1 // 0 }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "no word of a message": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.mark.parametrize("template", BROKEN.values(), ids=BROKEN)
def test_a_broken_template_is_refused_in_one_sentence(template: str) -> None:
    with pytest.raises(PotstillError) as refused:
        talking(template).reply_ids([USER], Reply("Yes."))
    one_sentence(refused, "acme/student")


REFUSING = {
    "Gemma 2": "System role not supported here",
    "Mistral v1": "only user and assistant, in turns",
}


@pytest.mark.parametrize("name", REFUSING)
def test_a_template_that_refuses_a_system_message_says_so_in_its_own_words(name: str) -> None:
    with pytest.raises(PotstillError) as refused:
        conversation(name).prompt_ids([SYSTEM, USER])
    text = one_sentence(refused, name)
    assert "system" in text
    assert REFUSING[name] in text
    assert "Be brief" not in text


def test_roles_that_do_not_take_turns_are_refused() -> None:
    with pytest.raises(PotstillError) as refused:
        conversation("Gemma 3").prompt_ids([USER, USER])
    one_sentence(refused, "Gemma 3")


def test_a_complaint_that_quotes_a_message_is_not_repeated() -> None:
    template = "{{ raise_exception('Cannot take ' + messages[0].content) }}"
    with pytest.raises(PotstillError) as refused:
        talking(template).prompt_ids([USER])
    one_sentence(refused, "acme/student")


def test_an_argument_that_no_template_reads_is_refused() -> None:
    with pytest.raises(PotstillError, match="enable_thinking"):
        Conversation.of(
            tokenizer_of(CHATML), arguments={"enable_thinking": False}, name="acme/student"
        )


def test_row_5_refusals_come_before_anything_is_asked() -> None:
    for template in ("{% for m in messages %}{{ m.content }}", "{{ m.content | shout }}"):
        with pytest.raises(PotstillError) as refused:
            talking(template)
        one_sentence(refused, "acme/student")
