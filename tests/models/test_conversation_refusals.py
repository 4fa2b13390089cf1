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


# Dates

TALK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATES = {
    "{{ strftime_now('%d %b %Y') }}": "29 Nov 2026",
    '{{ strftime_now("%A %-d") }}': "Sunday 29",
    "{{ strftime_now(format='%Y') }}": "2026",
    "{{ strftime_now('%Y') | int + 1 }}": "2027",
    "{{ \"It's 100% \" + strftime_now('%d') }}": "It's 100% 29",
    "{{ 'It\\'s 1% ' + strftime_now('%d') }}": "It's 1% 29",
    "{{ strftime_now('%d\\n%m') }}": "29\n11",
    "{% set f = '%Y-%m-%d' %}{{ strftime_now(f) }}": "2026-11-29",
    "{% macro day() %}{{ strftime_now('%d') }}{% endmacro %}{{ day() }}": "29",
    "{% if strftime_now is defined %}{{ strftime_now('%y') }}{% else %}24{% endif %}": "26",
    "{{ 'a\nb% ' ~ strftime_now('%d') }}": "a\nb% 29",
}


@pytest.mark.parametrize("head", DATES)
def test_every_way_to_write_a_date_gives_the_runs_day(head: str) -> None:
    kind = dataclasses.replace(CHATML, template=head + TALK)
    talk = Conversation.of(tokenizer_of(kind), date="2026-11-29", name="acme/student")
    user = "<|im_start|>user\nHi parcel<|im_end|>\n<|im_start|>assistant\n"
    assert talk.prompt_text([USER]) == DATES[head] + user


def test_a_format_that_is_put_together_is_refused_and_not_left_empty() -> None:
    with pytest.raises(PotstillError) as refused:
        talking("{{ strftime_now('%d ' ~ '%b') }}" + TALK)
    assert "does not spell whole" in one_sentence(refused, "acme/student")


def test_what_a_template_misses_is_named() -> None:
    with pytest.raises(PotstillError, match="'bos' is undefined") as refused:
        talking("{{ bos + '' }}" + TALK)
    one_sentence(refused, "acme/student")


def test_a_message_that_a_template_looks_up_is_not_repeated() -> None:
    head = "{% if 'Hi' in messages[0].content %}{{ {}[messages[0].content].x }}{% endif %}"
    talk = talking(head + TALK)
    with pytest.raises(PotstillError) as refused:
        talk.prompt_ids([USER])
    one_sentence(refused, "acme/student")
