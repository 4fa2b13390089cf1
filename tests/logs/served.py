"""Rows of a serving log for the tests."""

from __future__ import annotations

import json
from typing import Any

from potstill.logs.serving import ServedCall


def served(number: int = 0, **more: Any) -> ServedCall:
    """Return a whole row, which twins can be drawn for."""
    values: dict[str, Any] = {
        "schema": "potstill/serving-log/1",
        "request_id": f"r{number}",
        "at": "2026-11-30T08:00:00.000Z",
        "model": "nano",
        "messages": [{"role": "user", "content": f"Question {number}?"}],
        "turn": 1,
        "prompt_token_ids": [1, 2, 3 + number],
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 8, "seed": 3},
        "engine": {"name": "potstill", "version": "0.1.0"},
        "snapshot": "blake3:00",
        "dtype": "float32",
        "template": "blake3:01",
        "tokenizer": "blake3:02",
        "response": f"Answer {number}.",
        "response_token_ids": [4, 5, 6],
        "finish_reason": "stop",
        "watermark": "none",
    }
    return ServedCall.model_validate_json(json.dumps(values | more))
