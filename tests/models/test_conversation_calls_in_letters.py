"""Calls behind tags that are letters to the tokenizer, no control tokens: told from the words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from potstill.models.conversation import Conversation, Reply

TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] + '\\n' + message['content'] }}"
    "{%- for call in message.tool_calls or [] -%}{{ '\\nOPEN' }}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "{{ 'CLOSE' }}{%- endfor -%}<|im_end|>{{ '\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}"
)
USER = {"role": "user", "content": "Where is parcel 7?"}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "find", "arguments": {"number": 7}}}


def talk(nano_llama: Path, opening: str, closing: str) -> Conversation:
    tokenizer = AutoTokenizer.from_pretrained(nano_llama)
    tokenizer.chat_template = TEMPLATE.replace("OPEN", opening).replace("CLOSE", closing)
    return Conversation.of(tokenizer)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<call>", "</call>"),
        ("<tool_call>\\n", "\\n</tool_call>"),
        ("[TOOL_CALLS] ", ""),
        ("Action: ", "\\nEnd of action"),
    ],
)
@pytest.mark.parametrize("words", ["Let me look.", "", "First this.\n\nThen that."])
def test_words_and_a_call_are_told_apart(nano_llama: Path, opening, closing, words) -> None:
    speaker = talk(nano_llama, opening, closing)
    ids = speaker.reply_ids([USER], Reply(words, tool_calls=json.dumps([CALL])), TOOLS)
    found = speaker.read(ids, tools=True)
    assert found.text == words
    assert json.loads(found.tool_calls or "") == [CALL]
    # A tag in letters is one only where tools are on offer.
    assert speaker.read(ids).tool_calls is None


def test_json_behind_words_without_any_tag_stays_text(nano_llama: Path) -> None:
    speaker = talk(nano_llama, "", "")
    ids = speaker.tokenizer('Such as {"name": "find", "arguments": {"number": 7}}')["input_ids"]
    assert speaker.read(ids, tools=True).tool_calls is None
    alone = speaker.tokenizer('{"name": "find", "arguments": {"number": 7}}')["input_ids"]
    assert json.loads(speaker.read(alone, tools=True).tool_calls or "") == [CALL]
