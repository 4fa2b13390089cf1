"""Logs of calls as people have them, written by the tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from potstill.collect.calls import StoredCalls, exchanges_from_calls, prompts_from_calls
from potstill.logs import read_calls
from potstill.recipe import CallsConfig, PromptsConfig
from potstill.terms import Stated, decide
from potstill.terms.calls import evidence_of_calls

Write = Callable[..., str]
Take = Callable[..., StoredCalls]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes rows (or text, or bytes) as lines and returns the path."""

    def _write(name: str, *rows: Any) -> str:
        path = tmp_path / name
        lines = [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows]
        path.write_bytes(b"".join(_bytes(line) + b"\n" for line in lines))
        return str(path)

    return _write


def _bytes(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode()


@pytest.fixture
def take() -> Take:
    """Return a function from the paths and settings of `collect.calls` to what is taken in."""

    def _take(
        *paths: str, counts: tuple[int, int] = (1, 1), seed: int = 0, **fields: Any
    ) -> StoredCalls:
        fields = {"source": "apache-2.0", **fields}
        config = CallsConfig(path=paths, **fields)
        prompts = PromptsConfig(held_out_count=counts[0], validation_count=counts[1])
        log = read_calls(config)
        if config.use == "prompts":
            return prompts_from_calls(log, prompts, seed=seed)
        evidence = evidence_of_calls(config.source, log.models)
        decision = decide("calls/x", evidence, Stated())
        return exchanges_from_calls(log, prompts, decision, seed=seed)

    return _take
