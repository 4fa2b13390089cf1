"""The recipe: every choice that one distillation makes, in one frozen object.

All defaults of potstill live here and nowhere else. A stage receives its own section (for
example `TrainConfig`) and never the whole recipe.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of every section: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


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


class StudentConfig(Section):
    """The model that is trained."""

    model: str | None = Field(
        None,
        description="An existing model to train, with the teacher's tokenizer. Without it the "
        "student is made from the teacher as `shrink` says.",
    )


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
        description="`starter` (ships with potstill), `magpie` (written by the teacher), a path "
        "(.jsonl, .csv, .parquet, .txt), or `hf:NAME` with an optional `:SPLIT`.",
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


class ShrinkConfig(Section):
    """How the teacher becomes a smaller student."""

    drop_layers: int = Field(0, ge=0, description="How many transformer blocks to drop.")
    blocks: tuple[int, ...] | None = Field(
        None, description="Drop exactly these blocks instead of searching for them."
    )
    vocabulary: int | None = Field(
        None, ge=256, description="Keep this many tokens of the teacher's vocabulary."
    )
    ffn_channels: int | None = Field(
        None,
        ge=1,
        description="Keep this many feed-forward channels in every block: those whose loss the "
        "others can make up for least.",
    )
    kv_heads: int | None = Field(
        None,
        ge=1,
        description="Keep this many key-value heads in every block, each with all the query heads "
        "that read it.",
    )
    parameters: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep at most this share of the teacher's parameters: blocks, channels, heads "
        "and tokens go as each loses least on validation prompts, after healing, for what it "
        "saves. What other fields number stays as they say.",
    )
    axes: tuple[Literal["depth", "ffn", "heads", "vocabulary"], ...] = Field(
        ("depth", "ffn", "heads", "vocabulary"),
        min_length=1,
        description="What `parameters` may cut.",
    )
    step: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of the teacher's parameters that each proposal of the search for "
        "`parameters` gives up, about.",
    )
    heal: Literal["none", "gap", "cascade"] = Field(
        "cascade",
        description="Closed-form repair: `gap` refits the block before each gap and those that "
        "lost channels or heads, `cascade` also refits every later block, in order, on the "
        "student's own activations.",
    )
    calibration_tokens: int = Field(
        40_000, ge=256, description="Teacher tokens that the closed-form repair is fitted on."
    )
    trial_tokens: int = Field(
        4096,
        ge=256,
        description="Teacher tokens that each trial of a search is healed on: enough to rank, "
        "not to keep.",
    )
    candidates: int = Field(
        8, ge=1, description="Blocks that block influence proposes to the search at each step."
    )
    beam: int = Field(
        1, ge=1, description="How many of the best sets of blocks the search goes on from."
    )
    ridge: float = Field(
        0.3,
        gt=0,
        description="Pull towards the old weights, as a share of the Gram matrix's mean diagonal.",
    )

    @model_validator(mode="after")
    def _one_depth(self) -> ShrinkConfig:
        if self.parameters is not None and self.drop_layers:
            raise ValueError(
                "shrink.parameters looks for the number of blocks to drop: remove "
                "shrink.drop_layers, or name the blocks in shrink.blocks"
            )
        return self


class TrainConfig(Section):
    """How the student learns."""

    objective: Literal[
        "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation"
    ] = Field("forward_kl", description="Divergence between teacher and student at each position.")
    beta: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="The teacher's share in the mixture of `jsd`: towards 0 it acts like forward "
        "KL, towards 1 like reverse KL.",
    )
    alpha: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the teacher in the mixture of `skew_forward_kl`, and of the student "
        "in that of `skew_reverse_kl`.",
    )
    cross_entropy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of cross-entropy on the teacher's text; the "
        "divergence has the rest. 1 needs no targets.",
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of both distributions.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay (AdamW).")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's moment decays.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps that warm up.")
    final_learning_rate: float = Field(
        0.0, ge=0, le=1, description="Where the cosine ends, as a share of the peak."
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the training exchanges.")
    batch_tokens: int = Field(
        4096, ge=1, description="Tokens (prompt and response) in one optimiser step, about."
    )
    micro_batch_tokens: int = Field(
        4096,
        ge=1,
        description="Tokens in one forward pass, padding included. Changes memory "
        "and speed, never the gradient.",
    )
    packing: Literal["auto", "buckets", "packed"] = Field(
        "auto",
        description="Rows of a forward pass: `buckets` puts one exchange in each, alike in length; "
        "`packed` puts several in a row, which do not see one another. `auto` takes what is faster "
        "on the device: `packed` on CUDA, else `buckets`. Changes speed, never the gradient.",
    )
    gradient_checkpointing: Literal["none", "elementwise", "blocks"] = Field(
        "none",
        description="What the backward pass computes again instead of keeping it: `elementwise` "
        "all but the results of matrix products (norms, activations, attention's weights), "
        "`blocks` all but the input of every block. Less memory, more time, the same gradient.",
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether the student's blocks are compiled (torch.compile), which takes some "
        "seconds at first. `auto` does so on CUDA where there are steps enough to win them back; "
        "with `gradient_checkpointing` they never are.",
    )
    frozen_blocks: int = Field(
        0,
        ge=0,
        description="Blocks from the first on that stay as they are, the input embedding with "
        "them. Those before the first dropped block lack nothing: leaving them out costs little "
        "and saves their gradients' time and memory.",
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    validate_every: int = Field(
        25, ge=1, description="Optimiser steps between two measurements on validation prompts."
    )
    checkpoint_every: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")


class EvaluateConfig(Section):
    """What is measured on held-out prompts."""

    max_tokens: int = Field(96, ge=1, description="Longest held-out response, in tokens.")
    greedy: bool = Field(True, description="Measure on greedy teacher text as a second column.")
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples over prompts.")
    cross_entropy_baseline: bool = Field(
        False, description="Also train the same student on the teacher's text alone."
    )
    sample_pairs: int = Field(6, ge=0, description="Sample responses shown side by side.")
    speed_tokens: int = Field(48, ge=1, description="Tokens decoded when speed is measured.")


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


class Recipe(Section):
    """One distillation, from prompts to report."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the run; its directory is runs/NAME unless --out says otherwise.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Precision of the matrix products. `auto` takes bf16 where the device "
        "computes in it; weights, reductions and optimiser state stay fp32.",
    )
    teacher: TeacherConfig = Field(description="The model whose outputs are distilled.")
    student: StudentConfig = Field(StudentConfig(), description="The model that is trained.")
    prompts: PromptsConfig = Field(PromptsConfig(), description="What the teacher is asked.")
    collect: CollectConfig = Field(CollectConfig(), description="How the teacher answers.")
    shrink: ShrinkConfig = Field(ShrinkConfig(), description="How the student is made.")
    train: TrainConfig = Field(TrainConfig(), description="How the student learns.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="What is measured.")
    cost: CostConfig = Field(CostConfig(), description="Prices.")

    @model_validator(mode="after")
    def _possible_pairs(self) -> Recipe:
        knobs = ("drop_layers", "blocks", "vocabulary", "ffn_channels", "kv_heads", "parameters")
        used = [f"shrink.{name}" for name in knobs if getattr(self.shrink, name)]
        if self.student.model is not None and used:
            raise ValueError(
                "student.model and shrink cannot be combined: an existing student is trained as "
                f"it is; remove student.model, or {' and '.join(used)}"
            )
        self._possible_targets()
        return self

    def _possible_targets(self) -> None:
        """Refuse targets that cannot give the loss: it would be biased, or infinite."""
        kind, train = self.collect.targets, self.train
        if train.cross_entropy == 1:
            return
        if kind == "sampled" and train.objective != "forward_kl":
            raise ValueError(
                f"collect.targets sampled and train.objective {train.objective} cannot be "
                "combined: draws give forward_kl without a bias and nothing else; set "
                "train.objective to forward_kl, or collect.targets to hidden"
            )
        if kind == "top-k" and train.temperature != 1:
            raise ValueError(
                f"collect.targets top-k and train.temperature {train.temperature:g} cannot be "
                "combined: the likeliest tokens do not say what the rest is at another "
                "temperature; set train.temperature to 1, or collect.targets to hidden"
            )
        shrink = self.shrink
        searched = shrink.parameters is not None and "vocabulary" in shrink.axes
        if kind == "top-k" and (shrink.vocabulary is not None or searched):
            name, way = ("vocabulary", "leave the vocabulary whole")
            if shrink.vocabulary is None:
                name, way = ("parameters", "take vocabulary out of shrink.axes")
            raise ValueError(
                f"collect.targets top-k and shrink.{name} cannot be combined: where the mass of "
                f"removed tokens goes is not known of the rest; {way}, or set collect.targets to "
                "hidden"
            )
