"""The student: what it is made of, and how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from potstill.recipe.matched_states import HiddenMatchingConfig
from potstill.recipe.names import Names
from potstill.recipe.section import Section, TemplateArguments


class StudentConfig(Section):
    """The model that is trained."""

    model: str | None = Field(
        None,
        description="An existing model to train. Where the teacher's distributions are learnt its "
        "tokens have to be the teacher's, and it takes over the teacher's chat template and end "
        "tokens. Without it the student is made from the teacher as `shrink` says.",
    )
    template_arguments: TemplateArguments = Field(
        default_factory=dict,
        description="What the chat template of `student.model` is given beside the messages, where "
        "it learns from text and so speaks by a template of its own. The student that is saved "
        "has it as its template's default.",
    )
    licence: str | None = Field(
        None,
        description="Licence of the weights of `model`, where its own files state none: its name, "
        "or `own` for weights that are yours.",
    )
    intent: Literal["internal", "distribute", "host"] | None = Field(
        None,
        description="What the student is for, which terms may ask: `internal`, `distribute` (its "
        "weights are given to others) or `host` (others use it as a service). Left out, the one "
        "counts that permits least.",
    )
    kind: Literal["general", "classifier"] = Field(
        "general",
        description="`classifier`: a narrow model that puts a task's labels to text (`task.kind: "
        "label`), which some terms permit where they forbid a general one.",
    )


class ShrinkConfig(Section):
    """How the teacher becomes a smaller student."""

    drop_layers: int = Field(0, ge=0, description="How many transformer blocks to drop.")
    blocks: tuple[int, ...] | None = Field(
        None,
        description="Drop exactly these blocks instead of searching for them: in the place of "
        "`drop_layers`, not beside it.",
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
        description="Pull towards the old weights, as a share of the Gram matrix's mean diagonal; "
        "at most that where attention and feed-forward part write side by side (GPT-NeoX, Phi) or "
        "there is a norm behind each (Gemma 2 and 3, OLMo 2).",
    )

    @model_validator(mode="after")
    def _one_depth(self) -> ShrinkConfig:
        if self.blocks is not None and self.drop_layers:
            raise ValueError(
                "shrink.blocks names the blocks to drop and shrink.drop_layers looks for some: "
                "remove one"
            )
        if self.parameters is not None and self.drop_layers:
            raise ValueError(
                "shrink.parameters looks for the number of blocks to drop: remove "
                "shrink.drop_layers, or name the blocks in shrink.blocks"
            )
        return self


class LoraConfig(Section):
    """Low-rank adapters that learn in place of the weights; without this section all weights do.

    Hu et al. 2021, arXiv 2106.09685.
    """

    rank: int = Field(
        16,
        ge=1,
        description="Rank of each adapter. Adapters take about ten times the `learning_rate` that "
        "weights take.",
    )
    alpha: float = Field(
        32.0, gt=0, description="Adapters count alpha / rank times: a larger rank learns as fast."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of an adapter's inputs that training leaves out."
    )
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        min_length=1,
        description="The blocks' linear layers that get an adapter: all of them, or those of these "
        "names, for example [q_proj, v_proj].",
    )
    dora: bool = Field(
        False,
        description="Learn the length of each weight's rows apart from their direction (DoRA, Liu "
        "et al. 2024, arXiv 2402.09353): often better at a small rank, and slower.",
    )


# `potstill.losses.register_divergence` adds to them.
OBJECTIVES = Names(
    "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation"
)


class OnPolicyConfig(Section):
    """Steps in which the student writes answers of its own, and learns what the teacher would
    have written at each of their tokens (docs/methods/on-policy.md)."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the steps after `stored_first` that learn from the student's own "
        "answers, spread evenly. Each takes the place of a step on stored answers.",
    )
    stored_first: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Share of all steps that come first and learn from stored answers alone. What "
        "a student writes that is far from its teacher teaches little.",
    )
    prompts: int = Field(8, ge=1, description="Prompts that the student answers for one step.")
    max_tokens: int = Field(128, ge=1, description="Longest answer of its own, in tokens.")
    temperature: float = Field(
        1.0,
        gt=0,
        description="Temperature that the student samples at. `temperature` of `train` is the "
        "loss's, of student and teacher alike.",
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Mass of the likeliest tokens that the student samples from."
    )
    refresh_every: int = Field(
        4,
        ge=1,
        description="Steps on own answers that are written at once, by the student as it was then. "
        "More are written faster, and are older when they are learnt from.",
    )
    keep_by: Literal["own", "teacher", "both"] | None = Field(
        None,
        description="Which student is kept: the best of those measured, by KL(student || teacher) "
        "on answers that it writes to validation prompts (`own`), by KL(teacher || student) on "
        "the teacher's answers to them (`teacher`), or by the mean of the two (`both`). Left out, "
        "`both` where the teacher's weights are at hand, else `teacher`.",
    )
    validation_answers: int = Field(
        32,
        ge=1,
        description="Answers that the student writes at each measurement, to validation prompts in "
        "turn. Fewer take less time, and differ more by luck.",
    )
    objective: Annotated[str, OBJECTIVES] | None = Field(
        None,
        description="Divergence at the student's own tokens. Left out, that of `train.objective`.",
    )
    cut_at_most: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Largest share of the last 64 own answers that may be cut off at `max_tokens`: "
        "beyond it training stops, since a student that ends no answer learns from endless ones.",
    )


class TrainConfig(Section):
    """How the student learns."""

    objective: Annotated[str, OBJECTIVES] = Field(
        "forward_kl", description="Divergence between teacher and student at each position."
    )
    beta: float = Field(
        0.5,
        ge=0.001,
        le=0.999,
        description="The teacher's share in the mixture of `jsd`: towards 0 it acts like forward "
        "KL, towards 1 like reverse KL. Nearer to either, take that objective itself.",
    )
    alpha: float = Field(
        0.1,
        ge=0.001,
        le=0.999,
        description="Share of the teacher in the mixture of `skew_forward_kl`, and of the student "
        "in that of `skew_reverse_kl`. Towards 0 they are the plain ones, towards 1 "
        "nothing: nearer than 0.001 fp32 cannot tell them apart.",
    )
    cross_entropy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of cross-entropy on the teacher's text; the "
        "divergence has the rest. 1 needs no targets.",
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of both distributions.")
    hidden_matching: HiddenMatchingConfig | None = Field(
        None,
        description="Match hidden states beside the divergence. Left out, none are.",
    )
    turns: Literal["last", "all"] = Field(
        "last",
        description="Which of a talk's answers are learnt. `last`: the one that the teacher was "
        "asked for. `all`: every earlier answer in the talk too, each as it is written when it is "
        "the last one. Of earlier answers there are no targets: cross-entropy teaches them.",
    )
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay (AdamW).")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's moment decays.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps that warm up.")
    final_learning_rate: float = Field(
        0.0, ge=0, le=1, description="Where the cosine ends, as a share of the peak."
    )
    order_secret: str | None = Field(
        None,
        description="Path of a file with the secret (64 hexadecimal digits) that epochs' orders "
        "are drawn from, to train in the order of another run. Without it a run draws a secret of "
        "its own and keeps it in `order.secret`. A model that descends from the run can be told by "
        "it (docs/how-to/training-order.md).",
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the training exchanges.")
    steps: int | None = Field(
        None,
        ge=1,
        description="End after this many optimiser steps, where the epochs hold more; the "
        "learning rate falls over these.",
    )
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
    lora: LoraConfig | None = Field(
        None,
        description="Train low-rank adapters instead of the weights, and merge them in at the end.",
    )
    on_policy: OnPolicyConfig | None = Field(
        None,
        description="Learn from answers of the student's own too. Left out, from stored alone.",
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    validate_every: int = Field(
        25, ge=1, description="Optimiser steps between two measurements on validation prompts."
    )
    checkpoint_every: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")
