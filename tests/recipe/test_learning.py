"""What `shrink` may say together."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.recipe import ShrinkConfig


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"blocks": [1], "drop_layers": 1}, "remove one"),
        ({"blocks": [1, 2], "drop_layers": 4}, "remove one"),
        ({"blocks": [], "drop_layers": 2}, "remove one"),
        ({"blocks": [3], "drop_layers": 1, "vocabulary": 400}, "remove one"),
        ({"parameters": 0.5, "drop_layers": 2}, "remove shrink.drop_layers"),
    ],
)
def test_two_ways_to_choose_blocks_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ShrinkConfig.model_validate(values)


@pytest.mark.parametrize(
    "values", [{"blocks": [1]}, {"drop_layers": 2}, {"blocks": [1], "drop_layers": 0}, {}]
)
def test_one_way_is_taken(values: dict[str, Any]) -> None:
    assert ShrinkConfig.model_validate(values).blocks == (
        tuple(values["blocks"]) if "blocks" in values else None
    )
