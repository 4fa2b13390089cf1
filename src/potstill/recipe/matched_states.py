"""How a student's hidden states are matched to its teacher's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from potstill.recipe.section import Section

LayerPair = tuple[int, int]
"""(block of the student, block of the teacher), both counted from 0."""


class HiddenMatchingConfig(Section):
    """Hidden states that are matched beside the divergence (docs/methods/hidden-matching.md)."""

    weight: float = Field(
        1.0,
        gt=0,
        description="What the distance of the states counts, beside the divergence and "
        "cross-entropy, which keep their weights.",
    )
    layers: Literal["last", "blocks"] | tuple[LayerPair | Literal["last"], ...] = Field(
        "last",
        min_length=1,
        description="Which states are matched. `last`: those behind the last norm, which are "
        "stored with the answers, so that the teacher reads nothing for them. `blocks`: `last`, "
        "and what each of the student's other blocks gives, against what the teacher has at that "
        "depth; the teacher then stays in memory and reads every text that is learnt. Or a list of "
        "pairs [block of the student, block of the teacher], counted from 0, and `last`.",
    )
    distance: Literal["relative_mse", "mse", "cosine"] = Field(
        "relative_mse",
        description="`relative_mse`: the squared error over the squared length of the teacher's "
        "state, so that no block counts for giving larger states. `mse`: the mean squared error of "
        "the components. `cosine`: 1 minus the cosine.",
    )
    projection: Literal["auto", "learned", "none"] = Field(
        "auto",
        description="Whether a matrix that is learnt with the student brings its states to the "
        "teacher's. `auto`: only where the student was not cut from its teacher, whose axes a cut "
        "student shares.",
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        """Take a pair as the list that YAML and JSON have."""
        if not isinstance(value, list | tuple):
            return value
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)

    @field_validator("layers")
    @classmethod
    def _named_once(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) < len(value):
            raise ValueError("names the same states twice; name each once")
        return value

    @property
    def reads(self) -> bool:
        """Whether the teacher has to read the text: states between blocks are not stored."""
        return self.layers not in ("last", ("last",))
