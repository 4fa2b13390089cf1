"""What is measured, and what it is worth."""

from __future__ import annotations

from pydantic import Field

from potstill.recipe.section import Section


class EvaluateConfig(Section):
    """What is measured on held-out prompts."""

    fidelity_prompts: int | None = Field(
        None,
        ge=1,
        description="Held-out prompts whose responses fidelity is measured on: the first so many, "
        "or all. A task's score takes all of them in any case.",
    )
    max_tokens: int = Field(96, ge=1, description="Longest held-out response, in tokens.")
    greedy: bool = Field(True, description="Measure on greedy teacher text as a second column.")
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples over prompts.")
    cross_entropy_baseline: bool = Field(
        False, description="Also train the same student on the teacher's text alone."
    )
    sample_pairs: int = Field(6, ge=0, description="Sample responses shown side by side.")
    speed_tokens: int = Field(
        48,
        ge=1,
        description="Tokens decoded when speed is measured; fewer where the slowest model takes "
        "more than two seconds for them.",
    )


class CostConfig(Section):
    """Prices, to turn seconds and energy into money."""

    machine_hour: float = Field(
        0.10, ge=0, description="Price of one hour of this machine, in `currency`."
    )
    accelerator_hour: float = Field(
        2.0, ge=0, description="Price of one accelerator hour, used for the from-scratch estimate."
    )
    accelerator_flops: float = Field(
        4e14, gt=0, description="Useful floating-point operations a second of that accelerator."
    )
    currency: str = Field("USD", description="Currency of the prices.")
    teacher_training_flops: float | None = Field(
        None,
        gt=0,
        description="Floating-point operations of the teacher's own training, where its maker "
        "states them; what is not stated is unknown.",
    )
    base_training_flops: float | None = Field(
        None,
        gt=0,
        description="The same of the model that the student begins as, where that is another one.",
    )
