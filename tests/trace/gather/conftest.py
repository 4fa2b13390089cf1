"""A run's store of served answers, for the tests of twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnt_stores import Answered, answered


@pytest.fixture(scope="module")
def answers(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """Answers of the nano llama to a few prompts, at temperature 1."""
    sections = {"collect": {"max_tokens": 12, "targets": "none"}, "train": {"cross_entropy": 1}}
    return answered(nano_llama, tmp_path_factory.mktemp("served"), **sections)
