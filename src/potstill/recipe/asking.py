"""What is asked of which teacher, and how it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from potstill.recipe.section import Section


class TermsConfig(Section):
    """Permission to use this teacher's outputs, where its licence does not settle it."""

    authorisation: str | None = Field(
        None,
        description="Path of a text file in which the rights holder permits distillation. "
        "Needed only where the licence is unknown or forbids it; its digest is recorded.",
    )


class TeacherConfig(Section):
    """The model whose outputs are distilled."""

    model: str = Field(
        description="A Hugging Face directory, a hub id, a .gguf file, or `package:NAME` for a "
        "GGUF inside an installed Python package."
    )
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit).")
    trust_remote_code: bool = Field(
        False, description="Run Python code that ships with the model. Recorded in the manifest."
    )
    terms: TermsConfig = Field(TermsConfig(), description="Permission to use the outputs.")


class MagpieConfig(Section):
    """Prompts written by the teacher itself (Magpie, Xu et al. 2024, arXiv 2406.08464)."""

    count: int = Field(1000, ge=1, description="How many usable prompts to collect.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the prompts.")
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus of the prompts' sampling.")
    max_tokens: int = Field(64, ge=4, description="Longest prompt, in tokens.")


class PromptsConfig(Section):
    """Where prompts come from, and which of them are held out."""

    source: str = Field(
        "starter",
        description="`starter` (ships with potstill, as do the tasks `routing` and `orders` with "
        "their `-held-out` rows), `magpie` (written by the teacher), a path (.jsonl, .csv, "
        ".parquet, .txt), or `hf:NAME` with an optional `:SPLIT`.",
    )
    column: str = Field(
        "prompt", description="Column that holds the prompt: text, or a list of messages."
    )
    template: str | None = Field(
        None, description="Prompt text over columns, for example `Summarise: {body}`."
    )
    system: str | None = Field(None, description="System message put before every prompt.")
    limit: int | None = Field(None, ge=1, description="Use at most this many training prompts.")
    held_out: str | None = Field(
        None,
        description="Source of the held-out prompts, same forms as `source`. Without it, "
        "`starter` uses its own held-out split and other sources are split by hash.",
    )
    held_out_count: int = Field(200, ge=1, description="Held-out prompts to evaluate on.")
    validation_count: int = Field(
        32, ge=1, description="Training prompts set aside for choices during shrink and train."
    )
    magpie: MagpieConfig = Field(MagpieConfig(), description="Settings of `source: magpie`.")


class CollectConfig(Section):
    """How the teacher answers."""

    max_tokens: int = Field(128, ge=1, description="Longest response, in tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 is no truncation.")
    top_k: int = Field(0, ge=0, description="Sample among the k likeliest tokens; 0 is all.")
    samples: int = Field(1, ge=1, description="Responses for each prompt.")
    slots: int = Field(96, ge=1, description="Responses that are decoded at the same time.")
    wave: int = Field(
        4,
        ge=1,
        description="Prompts in a wave, as a multiple of `slots`. A wave is what a "
        "killed run computes again.",
    )
    targets: Literal["hidden", "hidden-int8", "sampled", "top-k", "none"] = Field(
        "hidden",
        description="What is stored of the teacher's next-token distribution. `hidden`: its final "
        "hidden states, which are all of it, in fp16; `hidden-int8`: the same in half the bytes; "
        "`sampled`: draws from it, for forward KL and cross-entropy; `top-k`: its likeliest "
        "tokens, a lower bound; `none`: text only, and training asks the teacher again.",
    )
    draws: int = Field(
        50, ge=1, le=65_535, description="Draws at each position, with `targets: sampled`."
    )
    top_k_targets: int = Field(
        8, ge=1, description="Tokens kept at each position, with `targets: top-k`."
    )
