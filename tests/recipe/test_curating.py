"""How curation is written in a recipe."""

from __future__ import annotations

import pytest

from potstill.recipe import CurateConfig


@pytest.mark.parametrize(
    ("given", "meant"), [("keep", "keep"), ("train", "keep"), ("leave_out", "leave_out")]
)
def test_an_older_word_for_keeping_reasoning_is_understood(given: str, meant: str) -> None:
    config = CurateConfig.model_validate({"reasoning": given})
    assert config.reasoning == meant
    assert config == CurateConfig.model_validate(config.model_dump())


@pytest.mark.parametrize("given", ["Train", "drop", "", None, 1])
def test_other_words_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match="should be 'keep' or 'leave_out'"):
        CurateConfig.model_validate({"reasoning": given})
