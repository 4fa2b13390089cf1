"""What is known of templates and contexts before a teacher is asked anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.models.adopt import differences, require_same_tokens
from potstill.models.conversation import Conversation, Reply
from potstill.models.load import stated_context
from potstill.progress import Progress
from potstill.recipe import CollectConfig, EvaluateConfig, TaskConfig
from potstill.text.turns import prompt_id_of
from potstill.work.access import Access, Weights
from potstill.work.corpus import Cutter, Text, reply_of, tokenised
from potstill.work.opened import Opened
from potstill.work.plan import PromptPlan

# Where a student made from the teacher, or learning from text, has nothing to take over.
_PROBE = Reply("Yes.")
TOO_LONG, UNRENDERABLE = "too_long", "unrenderable"


@dataclass(frozen=True)
class AnswerRoom:
    """How many tokens are kept for an answer, and the recipe's field that says so.

    `asked` is for the prompts that are learnt from and watched, `held_out` for the others.
    """

    asked: tuple[str, int]
    held_out: tuple[str, int]

    @classmethod
    def of(
        cls, collect: CollectConfig, evaluate: EvaluateConfig, task: TaskConfig | None
    ) -> AnswerRoom:
        """Return what a recipe keeps: of held-out prompts the longest of all answers to them."""
        held_out = {"evaluate.max_tokens": evaluate.max_tokens}
        if task is not None:
            held_out["task.max_tokens"] = task.max_tokens
        longest = max(held_out.items(), key=lambda item: item[1])
        return cls(("collect.max_tokens", collect.max_tokens), longest)


@dataclass(frozen=True)
class AskablePlan:
    """A plan without prompts that leave the student no room, and how many those are by split."""

    plan: PromptPlan
    left_out: Mapping[str, int]


def taken_over(opened: Opened) -> str | None:
    """Return in a sentence what a student takes over from its teacher; None where nothing.

    Raises PotstillError where files or templates cannot be read, and where the student cannot be
    taught. Nothing is loaded but tokenizers.
    """
    spoken, access = opened.conversation, opened.access
    named, author = access.student, access.author
    if named is None or not isinstance(author, Weights):
        return None
    student = opened.compute.conversation(named)
    require_same_tokens(spoken, student)
    found = differences(spoken, student)
    if not found:
        return None
    return (
        f"student.model {named.model} learns the teacher's distributions, so it takes over from "
        f"{author.model}: {'; '.join(found)}"
    )


def askable(plan: PromptPlan, opened: Opened, kept: AnswerRoom, progress: Progress) -> AskablePlan:
    """Return the plan without prompts that leave the student no room for an answer; says so.

    `kept` is the room that the teacher needs, where its weights are at hand. Raises PotstillError,
    with the prompt's place, where a template cannot render one, or there is no such room, and where
    no prompt is left.
    """
    room, spoken = opened.context, opened.conversation
    lengths = {p.prompt_id: _length(spoken, p) for p in plan.prompts}
    read = {key for key, length in lengths.items() if length < room}
    left_out = [p for p in plan.prompts if p.prompt_id not in read]
    splits: Counter[str] = Counter(p.split for p in left_out)
    author = opened.access.weights
    if author is not None:
        _tell_of_tools(spoken, sum(p.tools is not None for p in plan.prompts), "prompts", progress)
        _require_room(author, [p for p in plan.prompts if p.prompt_id in read], lengths, kept)
    if not left_out:
        return AskablePlan(plan, {})
    note = (
        f"{len(left_out)} of {len(plan.prompts)} prompts are left out "
        f"({_in_splits(splits)}): the student reads "
        f"{room:,} tokens at once, and they leave no room for an answer (the first is from "
        f"{left_out[0].source})"
    )
    shown = PromptPlan(
        train=_those(plan.train, read),
        validation=_those(plan.validation, read),
        held_out=_those(plan.held_out, read),
        overlap=plan.overlap,
        notes=(*plan.notes, note),
    )
    if not shown.train or not shown.held_out:
        split = "held-out" if shown.train else "training"
        raise PotstillError(
            f"every {split} prompt is longer than the {room:,} tokens that the student reads at "
            "once; shorten the prompts, or take a student with a longer context"
        )
    progress.note(note)
    return AskablePlan(shown, dict(splits))


def check_room(plan: PromptPlan, opened: Opened, kept: AnswerRoom) -> None:
    """Refuse a stored plan whose prompts leave no room for answers as long as the recipe asks."""
    author = opened.access.weights
    if author is not None:
        lengths = {p.prompt_id: _length(opened.conversation, p) for p in plan.prompts}
        _require_room(author, plan.prompts, lengths, kept)


def _require_room(
    author: Weights, prompts: Sequence[Prompt], lengths: Mapping[str, int], kept: AnswerRoom
) -> None:
    """Refuse prompts that leave the teacher no room for an answer, before it gives the first."""
    context = stated_context(author.model, revision=author.revision)
    for prompt in prompts:
        field, tokens = kept.held_out if prompt.split == "held_out" else kept.asked
        length = lengths[prompt.prompt_id]
        if length + tokens > context:
            raise PotstillError(
                f"prompt {prompt.prompt_id} from {prompt.source} has {length} tokens, but the "
                f"teacher reads {context} and {tokens} are kept for the response: shorten it, or "
                f"lower {field}"
            )


def check_written(plan: PromptPlan, opened: Opened) -> None:
    """Refuse a student that learns from text and whose template writes none of its answers."""
    if isinstance(opened.access.author, Weights):
        return
    errors: list[PotstillError] = []
    for prompt in plan.train:
        try:
            opened.conversation.reply_ids(prompt.messages, _PROBE, prompt.tool_list)
            return
        except PotstillError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _in_splits(counts: Mapping[str, int]) -> str:
    """Return counts by split in words: `3 for training, 1 held out`."""
    names = {"train": "for training", "validation": "for validation", "held_out": "held out"}
    return ", ".join(
        f"{counts[split]} {name}" for split, name in names.items() if counts.get(split)
    )


def unlearnable(
    rows: Sequence[Exchange],
    access: Access,
    conversation: Conversation,
    room: int,
    reasoning: Literal["keep", "leave_out"],
    progress: Progress,
    *,
    cut: Cutter = tokenised,
) -> dict[str, dict[str, str]]:
    """Return the rows that the student cannot read, or its template not render, and why.

    By filter of curation and exchange id. `room` is how many tokens the student reads at once.
    Raises PotstillError where no training row is left for its template's sake.
    """
    found: dict[str, dict[str, str]] = {TOO_LONG: {}, UNRENDERABLE: {}}
    for row in rows:
        try:
            prompt, response = row.ids
            if not isinstance(access.author, Weights):
                text = cut(row, conversation, reasoning)
                prompt, response = text.prompt_ids, text.response_ids
        except PotstillError as error:
            found[UNRENDERABLE][row.exchange_id] = str(error)
            continue
        length = len(prompt) + len(response)
        if length > room:
            why = f"{length:,} tokens with its prompt, where the student reads {room:,}"
            found[TOO_LONG][row.exchange_id] = why
    _tell_of_tools(conversation, sum(r.tools is not None for r in rows), "answers", progress)
    train = [row.exchange_id for row in rows if row.split == "train"]
    if train and all(key in found[UNRENDERABLE] for key in train):
        raise PotstillError(found[UNRENDERABLE][train[0]])
    return found


def _tell_of_tools(spoken: Conversation, count: int, what: str, progress: Progress) -> None:
    """Say for how many rows the tools on offer are not written."""
    if count and not spoken.writes_tools:
        progress.note(
            f"of {count} {what} with tools on offer, the chat template of "
            f"{spoken.name} does not write which"
        )


@dataclass(frozen=True)
class EarlierAnswer:
    """An answer that stands inside a talk, in the ids of who learns it.

    `key` is the same for every talk that begins alike up to it.
    """

    key: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


@dataclass(frozen=True)
class EarlierAnswers:
    """Earlier answers of talks; `refused` counts those that no template lays out."""

    examples: tuple[EarlierAnswer, ...]
    refused: int


def earlier_answers(
    texts: Sequence[Text], conversation: Conversation, reasoning: Literal["keep", "leave_out"]
) -> EarlierAnswers:
    """Return every answer that stands in the messages of `texts`, each behind its own prompt."""
    found: dict[str, EarlierAnswer] = {}
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
                prompt = conversation.prompt_ids(messages[:turn], tools)
                ids = conversation.reply_ids(
                    messages[:turn], reply_of(message), tools, reasoning=reasoning
                )
            except PotstillError:
                refused.add(key)
                continue
            found[key] = EarlierAnswer(key, prompt, ids)
    return EarlierAnswers(tuple(found.values()), len(refused))


def _those(prompts: Iterable[Prompt], kept: set[str]) -> tuple[Prompt, ...]:
    return tuple(p for p in prompts if p.prompt_id in kept)


def _length(spoken: Conversation, prompt: Prompt) -> int:
    try:
        return len(spoken.prompt_ids(prompt.messages, prompt.tool_list))
    except PotstillError as error:
        raise PotstillError(f"a prompt from {prompt.source} cannot be asked: {error}") from error
