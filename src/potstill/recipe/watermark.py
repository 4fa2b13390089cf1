"""The mark that training answers carry, where a recipe names a key."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from potstill.recipe.section import Section

# What is taken where the recipe does not say otherwise: chosen by benchmarks/watermark_rule.py from
# benchmarks/results/watermark_power.json (docs/methods/watermark.md).
WINDOW, GAMMA, DELTA = 1, 0.5, 1.0


class WatermarkConfig(Section):
    """A mark in the training answers, found later with the key (docs/how-to/watermark.md)."""

    key: str = Field(
        min_length=1,
        description="Path of the key file, as `potstill watermark keygen` wrote it. Only the key's "
        "digest is stored.",
    )
    epoch: str | None = Field(
        None,
        description="The epoch whose key marks, for example `2026-12`. A master key's file needs "
        "it; an epoch's file has its own.",
    )
    scheme: Literal["green", "gumbel"] = Field(
        "green",
        description="`green`: a green list, which makes a share of all tokens likelier, so that "
        "the student learns it from distributions; `gumbel`: the text is the teacher's own on "
        "average over keys, and the student learns it from text alone.",
    )
    window: int = Field(
        WINDOW,
        ge=1,
        le=16,
        description="How many tokens before a token decide how it is marked. More are harder to "
        "guess and repeat less; a student learns less of them.",
    )
    gamma: float | None = Field(
        None,
        gt=0,
        lt=1,
        description=f"Share of tokens that are green, of a green list; {GAMMA:g} where left out.",
    )
    delta: float | None = Field(
        None,
        gt=0,
        description="What marking adds to the logits of green tokens, of a green list; "
        f"{DELTA:g} where left out. 2 instead of 1 is found in half of the text or far less, and "
        "adds three to six times as much to its perplexity.",
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_green_list(cls, given: Any) -> Any:
        """Complete a green list's parameters: what marks is written down whole."""
        if not isinstance(given, dict) or given.get("scheme", "green") != "green":
            return given
        known = {name: value for name, value in given.items() if value is not None}
        return {"gamma": GAMMA, "delta": DELTA, **known}

    @model_validator(mode="after")
    def _of_the_scheme(self) -> WatermarkConfig:
        for name in ("gamma", "delta"):
            if self.scheme == "gumbel" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} and scheme gumbel cannot be combined: it is a green list's; take it "
                    "out, or set scheme to green"
                )
        return self
