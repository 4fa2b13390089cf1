"""What is known of templates and contexts before a teacher is asked anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt, prompt_id_of
from potstill.job import Job
from potstill.models.adopt import differences, require_same_tokens
from potstill.models.conversation import Conversation, Reply
from potstill.models.load import load_conversation, stated_context
from potstill.recipe import Recipe
from potstill.train.examples import TrainingExample
from potstill.work.corpus import Text, reply_of, tokenised
from potstill.work.plan import PromptPlan

# Where a student made from the teacher, or learning from text, has nothing to take over.
_PROBE = Reply("Yes.")
TOO_LONG, UNRENDERABLE = "too_long", "unrenderable"


def check_speaking(job: Job) -> None:
    """Refuse files and templates that cannot be read, and a student that cannot be taught.

    Says what a student takes over from its teacher. Nothing is loaded but tokenizers.
    """
    spoken = job.spoken
    named, judge = job.recipe.student.model, job.recipe.curate.judge.model
    if judge is not None and job.run.done("curate") is None:
        load_conversation(judge, date=job.day)
    if named is None or not job.open:
        return
    student = load_conversation(named, date=job.day)
    require_same_tokens(spoken, student)
    found = differences(spoken, student)
    if found and job.run.done("shrink") is None:
        job.progress.note(
            f"student.model {named} learns the teacher's distributions, so it takes over from "
            f"{job.recipe.teacher.model}: {'; '.join(found)}"
        )


def student_context(job: Job) -> int:
    """Return how many tokens the student will read at once, from its parent's files."""
    stated = job.recipe.teacher
    named = job.recipe.student.model
    if named is None:
        return stated_context(stated.model, revision=stated.revision)
    return stated_context(named)


def askable(job: Job, plan: PromptPlan) -> PromptPlan:
    """Return the plan without prompts that leave the student no room for an answer; says so.

    Raises PotstillError, with the prompt's place, where a template cannot render one.
    """
    room = student_context(job)
    spoken = job.spoken
    lengths = {p.prompt_id: _length(spoken, p) for p in plan.prompts}
    kept = {key for key, length in lengths.items() if length < room}
    left_out = [p for p in plan.prompts if p.prompt_id not in kept]
    splits: Counter[str] = Counter(p.split for p in left_out)
    if job.open:
        _tell_of_tools(job, sum(p.tools is not None for p in plan.prompts), "prompts")
        _require_room(job.recipe, [p for p in plan.prompts if p.prompt_id in kept], lengths)
    if not left_out:
        return plan
    shown = PromptPlan(
        train=_those(plan.train, kept),
        validation=_those(plan.validation, kept),
        held_out=_those(plan.held_out, kept),
        overlap=plan.overlap,
        notes=(
            *plan.notes,
            f"{len(left_out)} of {len(plan.prompts)} prompts are left out "
            f"({in_splits(splits)}): the student reads "
            f"{room:,} tokens at once, and they leave no room for an answer (the first is from "
            f"{left_out[0].source})",
        ),
    )
    if not shown.train or not shown.held_out:
        split = "held-out" if shown.train else "training"
        raise PotstillError(
            f"every {split} prompt is longer than the {room:,} tokens that the student reads at "
            "once; shorten the prompts, or take a student with a longer context"
        )
    job.progress.note(shown.notes[-1])
    job.run.finish("unasked", dict(splits))
    return shown


def check_room(job: Job, plan: PromptPlan) -> None:
    """Refuse a stored plan whose prompts leave no room for answers as long as the recipe asks."""
    if job.open:
        lengths = {p.prompt_id: _length(job.spoken, p) for p in plan.prompts}
        _require_room(job.recipe, plan.prompts, lengths)


def _require_room(recipe: Recipe, prompts: Sequence[Prompt], lengths: Mapping[str, int]) -> None:
    """Refuse prompts that leave the teacher no room for an answer, before it gives the first."""
    stated, task = recipe.teacher, recipe.task
    context = stated_context(stated.model, revision=stated.revision)
    asked = {"collect.max_tokens": recipe.collect.max_tokens}
    held_out = {"evaluate.max_tokens": recipe.evaluate.max_tokens}
    if task is not None:
        held_out["task.max_tokens"] = task.max_tokens
    for prompt in prompts:
        longest = held_out if prompt.split == "held_out" else asked
        field, tokens = max(longest.items(), key=lambda item: item[1])
        length = lengths[prompt.prompt_id]
        if length + tokens > context:
            raise PotstillError(
                f"prompt {prompt.prompt_id} from {prompt.source} has {length} tokens, but the "
                f"teacher reads {context} and {tokens} are kept for the response: shorten it, or "
                f"lower {field}"
            )


def check_written(job: Job, plan: PromptPlan) -> None:
    """Refuse a student that learns from text and whose template writes none of its answers."""
    if job.open:
        return
    errors: list[PotstillError] = []
    for prompt in plan.train:
        try:
            job.spoken.reply_ids(prompt.messages, _PROBE, prompt.tool_list)
            return
        except PotstillError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def in_splits(counts: Mapping[str, int]) -> str:
    """Return counts by split in words: `3 for training, 1 held out`."""
    names = {"train": "for training", "validation": "for validation", "held_out": "held out"}
    return ", ".join(
        f"{counts[split]} {name}" for split, name in names.items() if counts.get(split)
    )


def unlearnable(job: Job, rows: Sequence[Exchange]) -> dict[str, dict[str, str]]:
    """Return the rows that the student cannot read, or its template not render, and why.

    By filter of curation and exchange id. Raises PotstillError where no training row is left for
    its template's sake.
    """
    room, spoken = student_context(job), job.spoken
    how = job.recipe.curate.reasoning
    found: dict[str, dict[str, str]] = {TOO_LONG: {}, UNRENDERABLE: {}}
    for row in rows:
        try:
            prompt, response = row.ids
            if not job.open:
                text = tokenised(row, spoken, how)
                prompt, response = text.prompt_ids, text.response_ids
        except PotstillError as error:
            found[UNRENDERABLE][row.exchange_id] = str(error)
            continue
        length = len(prompt) + len(response)
        if length > room:
            why = f"{length:,} tokens with its prompt, where the student reads {room:,}"
            found[TOO_LONG][row.exchange_id] = why
    _tell_of_tools(job, sum(row.tools is not None for row in rows), "answers")
    train = [row.exchange_id for row in rows if row.split == "train"]
    if train and all(key in found[UNRENDERABLE] for key in train):
        raise PotstillError(found[UNRENDERABLE][train[0]])
    return found


def _tell_of_tools(job: Job, count: int, what: str) -> None:
    """Say for how many rows the tools on offer are not written."""
    if count and not job.spoken.writes_tools:
        job.progress.note(
            f"of {count} {what} with tools on offer, the chat template of {job.spoken.name} does "
            "not write which"
        )


@dataclass(frozen=True)
class EarlierAnswers:
    """Earlier answers of talks as examples; `refused` counts those that no template lays out."""

    examples: tuple[TrainingExample, ...]
    refused: int


def earlier_answers(
    texts: Sequence[Text], spoken: Conversation, reasoning: Literal["keep", "leave_out"]
) -> EarlierAnswers:
    """Return every answer that stands in the messages of `texts`, each behind its own prompt."""
    found: dict[str, TrainingExample] = {}
    refused: set[str] = set()
    for text in texts:
        messages = text.exchange.messages
        for turn, message in enumerate(messages):
            if message["role"] != "assistant" or message.get("weight") == 0:
                continue
            tools = text.exchange.tool_list
            key = prompt_id_of(messages[: turn + 1], text.exchange.tools)
            if key in found or key in refused:
                continue
            try:
                prompt = spoken.prompt_ids(messages[:turn], tools)
                ids = spoken.reply_ids(
                    messages[:turn], reply_of(message), tools, reasoning=reasoning
                )
            except PotstillError:
                refused.add(key)
                continue
            found[key] = TrainingExample(key, prompt, ids, by_text=True)
    return EarlierAnswers(tuple(found.values()), len(refused))


def _those(prompts: Iterable[Prompt], kept: set[str]) -> tuple[Prompt, ...]:
    return tuple(p for p in prompts if p.prompt_id in kept)


def _length(spoken: Conversation, prompt: Prompt) -> int:
    try:
        return len(spoken.prompt_ids(prompt.messages, prompt.tool_list))
    except PotstillError as error:
        raise PotstillError(f"a prompt from {prompt.source} cannot be asked: {error}") from error
