"""The schema of evaluation.json, documented in docs/reference/evaluation.md.

A later version may add fields under the same schema name, each with a default: files of older
versions lack them. A field that changes its meaning changes the name. `potstill.work.
evaluation_file` reads files, those of older schemas too.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, FiniteFloat

from potstill.work.figures import Estimate, Part
from potstill.work.marked import MarkedAnswers
from potstill.work.matched_states import MatchedStatesPart
from potstill.work.own_text import OwnTextPart
from potstill.work.payback_part import PaybackPart
from potstill.work.rounded import RoundedAnswers
from potstill.work.scores import CallScores, TaskScores
from potstill.work.time_part import TimePart

# In 1 an interval without width stood for none, and money, tokens and agreement were never null.
Schema = Literal["potstill/evaluation/1", "potstill/evaluation/2"]
SCHEMA: Schema = "potstill/evaluation/2"
ValidatedBy = Literal["kl", "own_kl", "kl_both", "nll"]


class Machine(Part):
    """What everything ran on."""

    cpu: str = Field(description="The processor's name.")
    cores: int = Field(description="Cores that the process may use.")
    memory_gb: float = Field(description="Memory of the machine, in 10^9 bytes.")
    accelerator: str | None = Field(description="The accelerator's name; null without one.")
    packages: dict[str, str] = Field(description="Versions of Python and the packages used.")
    compute_dtype: str = Field(description="Precision of the matrix products.")


class HeldOutText(Part):
    """The teacher's text that fidelity is measured on."""

    prompts: int = Field(description="Held-out prompts.")
    tokens: int = Field(description="Response tokens, end of sequence included.")
    max_tokens: int = Field(description="Longest response.")
    sampling: dict[str, float] = Field(description="How the teacher's responses were drawn.")
    left_out: dict[str, int] = Field(
        {},
        description="Held-out prompts that these figures lack, by reason: `no_answer`, `too_long` "
        "for the student, or a filter of curation.",
    )


class GreedyFidelity(Part):
    """The same on the teacher's greedy text."""

    kl_per_token: Estimate = Field(description="KL(teacher || student), nats a token.")
    top1_agreement: Estimate = Field(
        description="Share of positions with the same likeliest token."
    )
    perplexity: Estimate = Field(description="exp(negative log-likelihood a token).")


class ModelFigures(Part):
    """One model, on the teacher's held-out text sampled at temperature 1."""

    params: int = Field(description="Parameters, tied ones counted once.")
    bytes: int = Field(
        description="Bytes of weights, config and tokenizer on disk (of the parameters in memory "
        "for a model that is not kept)."
    )
    prefill_tok_s: FiniteFloat = Field(description="Tokens read a second, one sequence at a time.")
    decode_tok_s: FiniteFloat = Field(
        description="Tokens written a second, one sequence at a time."
    )
    perplexity: Estimate = Field(
        description="exp(negative log-likelihood a token). The teacher's is under the "
        "distribution that students are compared with."
    )
    bits_per_byte: Estimate = Field(
        description="Bits a UTF-8 byte of the original text, each model with its own tokens."
    )
    kl_per_token: Estimate | None = Field(
        None, description="Students: KL(teacher || student), nats a token, whole vocabulary."
    )
    top1_agreement: Estimate | None = Field(
        None, description="Students: share of positions with the same likeliest token."
    )
    own_kl_per_token: Estimate | None = Field(
        None,
        description="With `train.on_policy`, students: KL(student || teacher), nats a token, whole "
        "vocabulary, on what each itself draws at temperature 1 for the held-out prompts "
        "(`held_out.max_tokens` at most).",
    )
    greedy: GreedyFidelity | None = Field(
        None, description="Trained students: the same on the teacher's greedy text, where measured."
    )


class Models(Part):
    """The models. `pruned` is the student before healing, `untrained` healed, not trained."""

    teacher: ModelFigures | None = Field(
        None, description="The teacher itself; absent where its weights are not at hand."
    )
    student: ModelFigures = Field(description="The trained student.")
    untrained: ModelFigures | None = Field(None, description="The student before training.")
    pruned: ModelFigures | None = Field(None, description="The student before healing.")
    cross_entropy: ModelFigures | None = Field(
        None, description="The same student trained on the teacher's text alone."
    )


class Differences(Part):
    """The student against each baseline, paired over prompts: KL a token, and where the teacher's
    weights are not at hand, negative log-likelihood of its text a token."""

    student_minus_untrained_nll: Estimate | None = Field(
        None, description="Below 0: the teacher's text became likelier."
    )

    student_minus_untrained_kl: Estimate | None = Field(None, description="Below 0: training paid.")
    student_over_untrained_kl: Estimate | None = Field(None, description="The same as a ratio.")
    student_over_untrained_own_kl: Estimate | None = Field(
        None, description="`own_kl_per_token` as a ratio: below 1, training paid on own text."
    )
    student_minus_pruned_kl: Estimate | None = Field(
        None, description="Below 0: healing and training paid."
    )
    student_over_pruned_kl: Estimate | None = Field(None, description="The same as a ratio.")
    student_minus_cross_entropy_kl: Estimate | None = Field(
        None, description="Below 0: the teacher's distributions taught more than its text."
    )
    student_over_cross_entropy_kl: Estimate | None = Field(None, description="The same as a ratio.")


class Vocabulary(Part):
    """A trimmed vocabulary."""

    kept: int = Field(description="Tokens of the student.")
    of: int = Field(description="Tokens of the teacher.")
    teacher_mass_removed: Estimate = Field(
        description="The teacher's probability on removed tokens, a position. It counts: it is "
        "moved to the first piece of the token's re-encoding, never left out of the KL."
    )


class Overlap(Part):
    """Held-out prompts against training prompts."""

    held_out: int = Field(description="Held-out prompts.")
    train: int = Field(description="Training prompts.")
    exact: int = Field(description="Held-out prompts that training holds too, in the final store.")
    near: int = Field(description="Held-out prompts with a near-duplicate in training.")
    dropped_from_training: int = Field(description="Training prompts left out for that reason.")
    method: str = Field(description="How near-duplicates are found.")
    threshold: float = Field(description="From which similarity on they count.")


class CollectionPart(Part):
    """How the teacher's answers were collected."""

    exchanges: int = Field(description="Exchanges stored.")
    response_tokens: int | None = Field(
        description="Tokens the teacher wrote; null where a server did not say how many."
    )
    seconds: FiniteFloat = Field(description="Time it took.")
    tokens_per_s: FiniteFloat | None = Field(description="Response tokens a second.")
    slots_busy: FiniteFloat | None = Field(
        None, description="Share of decoding slots that did work; null where a server decodes."
    )
    slots_busy_before_last_wave: FiniteFloat | None = Field(
        None, description="The same until the last wave; null with one wave."
    )
    waves: int | None = Field(None, description="Waves.")
    failed: dict[str, int] = Field({}, description="Prompts without an answer, by reason.")
    money: FiniteFloat | None = Field(None, description="What the server's tokens cost.")
    notes: list[str] = Field([], description="What was odd about the answers.")
    lengths: dict[str, int] = Field(
        {}, description="Training answers by length, in `length_unit`: `9-16` and so on."
    )
    length_unit: str = Field("tokens", description="Tokens, or characters where none are known.")
    languages: dict[str, int] = Field(
        {},
        description="Training answers by language, the most frequent first; empty without the "
        "extra `curate`. Short ones are `unknown`.",
    )
    watermark: MarkedAnswers | None = Field(
        None, description="The mark in the answers that were learnt from; null without one."
    )
    int8: RoundedAnswers | None = Field(
        None, description="What int8 came to in these answers; null where none was asked for."
    )


class CurationPart(Part):
    """Which answers the student learnt from; all counts but `elsewhere` are of training answers."""

    train: int = Field(description="Answers to training prompts.")
    train_kept: int = Field(description="Those that were learnt from.")
    dropped: dict[str, int] = Field(description="The others, by the first filter that drops them.")
    alone: dict[str, int] = Field(description="What each filter would drop by itself.")
    elsewhere: dict[str, dict[str, int]] = Field(
        {}, description="Answers left out of the other splits, by split and filter."
    )
    verified: dict[str, float | None] | None = Field(
        None, description="How many could be checked, and were right; null without a verifier."
    )
    judge: str | None = Field(None, description="The model that scored answers.")
    notes: list[str] = Field([], description="What to know of these counts.")


class Closeness(Part):
    """KL and agreement on validation text, without an interval: for choices, not for claims."""

    kl: FiniteFloat = Field(description="KL(teacher || student), nats a token.")
    agreement: FiniteFloat = Field(description="Share of positions with the same likeliest token.")


class Shrink(Part):
    """How the student was cut from the teacher."""

    blocks: list[int] = Field(description="Blocks that were dropped, as the teacher counts them.")
    heal: str = Field(description="The closed-form repair; `none` where no block was refitted.")
    calibration_tokens: int = Field(description="Teacher tokens that it was fitted on.")
    plain: Closeness | None = Field(description="Before healing.")
    healed: Closeness | None = Field(
        description="After healing, before any training; null where nothing was healed."
    )
    rejected: list[Any] = Field(description="Other choices that were measured and not taken.")
    ids_dropped: dict[str, int] = Field(
        {},
        description="Entries of the teacher's configs (suppressed words and such) that went with "
        "the tokens they name, by field.",
    )
    ffn_channels: int | None = Field(
        None, description="Feed-forward channels left in each block; null where all are."
    )
    kv_heads: int | None = Field(
        None, description="Key-value heads left in each block; null where all are."
    )


class TrainingPart(Part):
    """The training run."""

    steps: int = Field(description="Optimiser steps.")
    tokens: int = Field(description="Tokens read, prompts included.")
    seconds: FiniteFloat = Field(description="Time it took.")
    tokens_per_s: FiniteFloat = Field(description="Tokens a second.")
    first_loss: FiniteFloat = Field(description="Loss of the first step.")
    last_loss: FiniteFloat = Field(description="Loss of the last step.")
    left_out: int | None = Field(
        None,
        description="A server's answers that have no likeliest tokens, where the objective cannot "
        "be had from their text; null where none was left out.",
    )
    kept_step: int | None = Field(
        None,
        description="The step after which the student was as it is kept: the best on validation "
        "prompts of those measured; 0 is the student before training.",
    )
    cross_entropy_kept_step: int | None = Field(
        None, description="The same of the student that was trained on text alone; null without."
    )
    validated_by: ValidatedBy | None = Field(
        None,
        description="What students were compared by on validation prompts, in nats a token: "
        "KL(teacher || student) on the teacher's answers (`kl`), KL(student || teacher) on the "
        "student's own (`own_kl`), their mean (`kl_both`), or the negative log-likelihood of the "
        "teacher's answers (`nll`); null without any.",
    )
    validation_before: FiniteFloat | None = Field(None, description="That, before training.")
    validation_kept: FiniteFloat | None = Field(None, description="Of the student that is kept.")
    validation_last: FiniteFloat | None = Field(None, description="After the last step.")
    validation_left_out: dict[str, int] = Field(
        {}, description="Validation prompts that were not measured on, by reason."
    )
    on_policy: OwnTextPart | None = Field(None, description="Own answers; null without any.")
    hidden_matching: MatchedStatesPart | None = Field(None, description="Null without any.")


class Stage(Part):
    """What a stage cost (docs/methods/cost.md)."""

    flops: FiniteFloat = Field(
        description="Floating-point operations here, counted from shapes; a server's are not known."
    )
    tokens: int | None = Field(description="Tokens; null where a server did not say how many.")
    seconds: FiniteFloat = Field(description="Seconds.")
    joules: FiniteFloat | None = Field(description="Energy; null where the machine does not say.")
    money: FiniteFloat | None = Field(
        description="The machine's time at the recipe's price, and what a server charged; null "
        "where the recipe states no prices of the server."
    )


class FromScratch(Part):
    """An estimate of training a model of this size from scratch."""

    tokens: int = Field(description="Training tokens.")
    flops: FiniteFloat = Field(description="Floating-point operations.")
    money: FiniteFloat = Field(description="At the recipe's accelerator price.")
    formula: str = Field(description="The formula and its source.")


class ParentModel(Part):
    """The trained model that the student began as, which somebody paid for before this run."""

    model: str = Field(description="Its name in the recipe.")
    parameters: int = Field(description="Its parameters.")
    flops: FiniteFloat = Field(
        description="Its training, estimated by the formula for training from scratch."
    )


class Cost(Part):
    """What the run cost, by stage."""

    collection: Stage | None = Field(None, description="The teacher's answers.")
    shrink: Stage | None = Field(None, description="Cutting and healing.")
    training: Stage | None = Field(None, description="Training.")
    evaluation: Stage | None = Field(None, description="These measurements.")
    total: Stage = Field(description="All stages.")
    from_scratch: FromScratch = Field(description="The estimate to compare with.")
    ratio_flops: FiniteFloat = Field(description="Total operations over the estimate's.")
    parent: ParentModel | None = Field(
        None, description="What the student began as, where `student.model` names a trained model."
    )
    ratio_flops_with_parent: FiniteFloat | None = Field(
        None, description="The ratio with the parent's training in the total; null without one."
    )
    currency: str = Field(description="Currency of the prices.")


class SamplePair(Part):
    """One prompt, drawn by the seed, with both greedy responses."""

    messages: list[dict[str, Any]] = Field(
        description="The prompt, calls of tools and their results among its messages."
    )
    teacher: str = Field(description="The teacher's response, calls of tools as JSON.")
    student: str = Field(description="The student's response.")


class Evaluation(Part):
    """The whole file."""

    schema_name: Schema = Field(
        SCHEMA, alias="schema", description="Name and version of this schema."
    )
    run: str = Field(description="Name of the run.")
    created_at: str = Field(description="When it was written (ISO 8601, UTC).")
    answers: Literal["teacher", "gold"] = Field(
        "teacher",
        description="Whose answers the student learnt and is measured on: a teacher's, or `gold`: "
        "the right ones that the rows hold, so that there is no teacher to compare with.",
    )
    machine: Machine = Field(description="What everything ran on.")
    held_out: HeldOutText = Field(description="The text that fidelity is measured on.")
    models: Models = Field(description="The figures of each model.")
    differences: Differences = Field(description="The student against its baselines.")
    vocabulary: Vocabulary | None = Field(description="The trimmed vocabulary; null if whole.")
    overlap: Overlap = Field(description="Held-out prompts against training prompts.")
    collection: CollectionPart | None = Field(description="How answers were collected.")
    curation: CurationPart | None = Field(None, description="Which answers were learnt from.")
    task: TaskScores | None = Field(None, description="How both do the task, where there is one.")
    tool_calls: CallScores | None = Field(
        None, description="The student's calls of tools; absent where the teacher's hold none."
    )
    payback: PaybackPart | None = Field(None, description="What calls cost, where there is a task.")
    shrink: Shrink | None = Field(description="How the student was cut; null if it was not.")
    training: TrainingPart | None = Field(description="The training run.")
    cost: Cost = Field(description="What the run cost.")
    samples: list[SamplePair] = Field(description="Responses side by side.")
    time: TimePart | None = Field(
        None, description="The run's minutes; absent where nobody planned its time."
    )
    peak_memory_bytes: int = Field(description="Most memory that the process has held.")
    seconds: FiniteFloat = Field(description="Time that the evaluation took.")

    def as_json(self) -> dict[str, Any]:
        """Return the file's content; absent models, differences, stages and calls are left out."""
        content = self.model_dump(mode="json", by_alias=True)
        for name in ("models", "differences"):
            content[name] = _measured(content[name])
        content["cost"] = {k: v for k, v in content["cost"].items() if v is not None}
        for name in ("tool_calls", "time"):
            if content[name] is None:
                del content[name]
        return content


def _measured(section: Any) -> Any:
    """Return a section without what was not measured; that there is no interval is a finding."""
    if not isinstance(section, dict):
        return section
    return {k: _measured(v) for k, v in section.items() if v is not None or k == "ci95"}
