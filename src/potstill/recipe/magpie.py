"""Prompts that a teacher writes itself."""

from __future__ import annotations

from pydantic import Field

from potstill.recipe.section import Section


class MagpieConfig(Section):
    """Prompts written by the teacher itself (Magpie, Xu et al. 2024, arXiv 2406.08464)."""

    count: int = Field(1000, ge=1, description="How many usable prompts to collect.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the prompts.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus of the prompts' sampling.")
    max_tokens: int = Field(64, ge=4, description="Longest prompt, in tokens.")
