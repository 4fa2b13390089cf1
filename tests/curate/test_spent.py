"""Tokens spent on answers and reasoning, as the server said or as they are counted."""

from __future__ import annotations

from curate_rows import exchange

from potstill.curate.spent import generated_tokens, reasoning_tokens


def test_tokens_spent() -> None:
    row = exchange("a", "<think>one two</think>three")
    assert reasoning_tokens(row, lambda text: len(text.split())) == 2
    assert reasoning_tokens(exchange("a", "three"), lambda text: 1) == 0
    said = exchange("a", "three", usage={"reasoning_tokens": 9, "completion_tokens": 12})
    assert reasoning_tokens(said, len) == 9
    assert generated_tokens(said) == 12
    assert generated_tokens(exchange("a", "b", response_token_ids=(1, 2))) == 2
    assert generated_tokens(exchange("a", "b")) is None
