"""Text that begins like a list of messages: a damaged list, or text about one."""

from __future__ import annotations

import json

import pytest

from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.logs.conversations import chat_of_cell
from potstill.logs.turns import Unfit
from potstill.recipe import PromptsConfig

TEXTS = (
    '[{"role": "user", "content": "x"}] is a list. Explain',
    '[{"role": "user", "content": "x"}]\n\nWhich of these messages is the last one?',
    "[{'role': 'user', 'content': 'it\\'s'}] is what my server gets; is it JSON?",
    '[{"role": "user", "content": ...}] is the form of a chat. What else may stand there?',
    '[{"role": "user", "content": "a"}, {"from": "gpt", "value": "b]"}] 这是什么？',
    '[{"content": "x"} why does this not parse',
    '[{"role": "user", "content": "x"}] and [1, 2] differ how? Compare with [3]',
    '[{"value": [1, {"a": 2}]}] has how many brackets',
)
DAMAGED = (
    '[{"role": "user", "content": "x",, }]',
    '[{"role": "user", "content": "x"}',
    '[{"role": "user", "content": "x and then it was cut o',
    '[{"role": "user", "content": "say "hi" to me"}]',
    '[{"role": "user", "content": "x"} {"role": "assistant", "content": "y"}]',
    '[{"role": "user", "content": "x"}]\n[{"role": "user", "content": "y"}]',
    "[{'role': 'user', 'content': 'x', 'at': datetime(2024)}]",
    '[{"role": "user", "content": "x"}]]',
    '  [ { "from": "human", "value": "x" }, { "from": "gpt", "value": None ]',
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_goes_on_behind_a_list_is_text(text: str) -> None:
    chat = chat_of_cell(text, "prompt")
    assert not isinstance(chat, Unfit)
    assert chat.form == "text"
    assert chat.turns == ({"role": "user", "content": text},)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_list_with_a_flaw_is_refused(text: str) -> None:
    found = chat_of_cell(text, "prompt")
    assert isinstance(found, Unfit)
    assert "write the list as JSON" in found.problem


@pytest.mark.parametrize("cell", ["[]", " [ ] ", []])
def test_an_empty_list_is_a_blank_prompt_and_counted(cell, tmp_path) -> None:
    path = tmp_path / "p.jsonl"
    texts = ["Name a red fruit.", "How far is the moon?", "Sing me something new, please."]
    path.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in [*texts, cell]))
    config = PromptsConfig(source=str(path), held_out_count=1, validation_count=1)
    assert [turns.messages[-1]["content"] for turns in read_prompts(str(path), config)][-1] == ""
    notes = plan_prompts(config, seed=0).notes
    assert any("1 blank prompt" in note and "left out" in note for note in notes)
    assert not any("conversation as text" in note for note in notes)
