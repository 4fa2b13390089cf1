"""Identities: what decides a prompt's and an exchange's, and that they stay what they were."""

from __future__ import annotations

import json

import pytest

from potstill.exchanges.exchange import Prompt, exchange_id_of
from potstill.text.turns import prompt_id_of

SAMPLING = {"temperature": 0.5, "seed": None}
PLAIN = [
    (
        ({"role": "user", "content": "Where is my parcel?"},),
        "33c6c4958006353b5c7953935574e14a",
        "ad1947d3b8f6995f933be62064274f15ab153c92cbc62a0fa616f7ef2fc1c98a",
    ),
    (
        ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Ünï ✓ \n two"}),
        "d7ad2d8c42f269010b538719744bd5d4",
        "96ebca126521f2fb0823e1d8c23e04663aa9ac75039681272388a373ec59b4bc",
    ),
    (
        (
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "b"},
        ),
        "6eda9a1db02e429c9ca120a7ffc07e3d",
        "fd34468c0964109a0b2249a70b7a6f04dfc28c04d7e63d9b815c311135e73ace",
    ),
]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(("messages", "prompt_id", "exchange_id"), PLAIN)
def test_plain_conversations_keep_their_ids(messages, prompt_id, exchange_id) -> None:
    """The constants were computed before messages could hold calls."""
    assert prompt_id_of(messages) == prompt_id
    assert exchange_id_of("maker/big@1", messages, SAMPLING, 1) == exchange_id


def test_tools_keep_their_part_of_an_exchange_id_and_now_have_one_of_a_prompt_id() -> None:
    messages = PLAIN[0][0]
    known = "505aabd30746f57a85acae447b68f71bd41b51c0c5e32f99578103032f370895"
    assert exchange_id_of("maker/big@1", messages, SAMPLING, 1, tools=TOOLS) == known
    assert prompt_id_of(messages, json.dumps(TOOLS)) != prompt_id_of(messages)
    other = [{"type": "function", "function": {"name": "g"}}]
    assert prompt_id_of(messages, json.dumps(other)) != prompt_id_of(messages, json.dumps(TOOLS))


def test_the_order_of_keys_is_no_part_of_an_id_but_stays() -> None:
    one = '[{"type":"function","function":{"name":"f","description":"d"}}]'
    other = '[{"function":{"description":"d","name":"f"},"type":"function"}]'
    messages = PLAIN[0][0]
    assert prompt_id_of(messages, one) == prompt_id_of(messages, other)
    prompt = Prompt("p", messages, "train", "test", tools=one)
    assert prompt.tool_list is not None and list(prompt.tool_list[0]) == ["type", "function"]
    assert list(prompt.tool_list[0]["function"]) == ["name", "description"]


def test_calls_and_results_are_part_of_an_id() -> None:
    def asked(arguments: dict, result: str) -> tuple:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return (
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": result},
        )

    ids = {
        prompt_id_of(asked({"x": 1}, "one")),
        prompt_id_of(asked({"x": 2}, "one")),
        prompt_id_of(asked({"x": 1}, "two")),
        prompt_id_of(asked({"x": True}, "one")),
    }
    assert len(ids) == 4
