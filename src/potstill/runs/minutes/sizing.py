"""What a run has to do, by its recipe, its prompts and, once they are there, its answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from potstill.collect.calls import prompts_from_calls
from potstill.models.conversation import Conversation
from potstill.recipe import Recipe
from potstill.runs.minutes.fields import EPOCHS, SPARE, open_fields
from potstill.runs.minutes.predict import Rates, RunSizes
from potstill.runs.minutes.probes import Ids
from potstill.runs.parts import Parts
from potstill.shrink.choose import searched_axes
from potstill.shrink.cut import Cut
from potstill.work.access import PastCalls, RightAnswers, Server
from potstill.work.plan import PromptPlan

# Prompts whose length is looked at.
_LOOKED_AT = 64
# How many rows it is, nobody knows before the vocabulary is trimmed; in the demo these.
_REREAD = 0.85
# Prompts that a teacher writes itself are not known before.
_GUESSED_PROMPT = 32


def planned_texts(parts: Parts, plan: PromptPlan | None) -> tuple[int, list[Ids]]:
    """Return how many training prompts there are, and some of them in the parent's tokens."""
    if plan is None and isinstance(parts.access.author, PastCalls):
        plan = prompts_from_calls(parts.calls, parts.recipe.prompts, seed=parts.recipe.seed).plan
    if plan is None:
        filler = tuple(range(5, 5 + _GUESSED_PROMPT))
        return parts.recipe.prompts.magpie.count, [filler] * 8
    spoken: Conversation = parts.opened.conversation
    few = plan.train[:_LOOKED_AT]
    return len(plan.train), [spoken.prompt_ids(p.messages, p.tool_list) for p in few]


def known_length(parts: Parts, plan: PromptPlan | None) -> float | None:
    """Return the mean length, in the parent's tokens, of answers that are there before anybody is
    asked: a log's, or a table's right ones. None where there are none."""
    author = parts.access.author
    if isinstance(author, PastCalls):
        texts = [call.answer.response for call in parts.calls.calls[:_LOOKED_AT]]
    elif isinstance(author, RightAnswers) and plan is not None:
        texts = [p.gold for p in plan.train[:_LOOKED_AT] if p.gold is not None]
    else:
        return None
    count = parts.opened.parent.tokenizer
    # With the end of each.
    lengths = [len(count(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts]
    return sum(lengths) / len(lengths) if lengths else None


def run_sizes(
    parts: Parts, available: int, prompts: Sequence[Ids], cut: Cut | None, rates: Rates
) -> RunSizes:
    """Return what is to be done, before anything is: answers are as long as the rates foretell."""
    recipe, evaluate = parts.recipe, parts.recipe.evaluate
    baseline = 1 if evaluate.cross_entropy_baseline else 0
    cuts = cut is not None and cut != Cut()
    pruned = 1 if cuts and parts.access.weights is not None else 0
    held_out = recipe.prompts.held_out_count
    if evaluate.fidelity_prompts is not None:
        held_out = min(held_out, evaluate.fidelity_prompts)
    server = parts.access.author if isinstance(parts.access.author, Server) else None
    rounds, others = _search(recipe)
    own = recipe.train.on_policy
    return RunSizes(
        available=available,
        validation=recipe.prompts.validation_count,
        held_out=held_out,
        prompt=sum(map(len, prompts)) / max(1, len(prompts)),
        answer=rates.answer_tokens or recipe.collect.max_tokens,
        held_out_answer=rates.held_out_tokens or evaluate.max_tokens,
        batch_tokens=recipe.train.batch_tokens,
        models=2 + pruned + baseline,
        trained=1 + baseline,
        loads=2 + pruned + baseline,
        trainings=1 + baseline,
        reread=_REREAD if cut is not None and cut.kept_tokens is not None else 0.0,
        heals=cuts and recipe.shrink.heal != "none",
        weighs=cut is not None and cut.kept_tokens is not None,
        search_rounds=rounds,
        search_others=others,
        trial_tokens=recipe.shrink.trial_tokens,
        speed_tokens=evaluate.speed_tokens,
        task_tokens=0 if recipe.task is None else held_out * recipe.task.max_tokens,
        pairs=evaluate.sample_pairs,
        pair_tokens=evaluate.max_tokens,
        per_minute=(server and server.endpoint.requests_per_minute) or 0,
        own_share=_own_share(recipe),
        own_prompts=0 if own is None else own.prompts,
        own_most=0 if own is None else own.max_tokens,
    )


def _own_share(recipe: Recipe) -> float:
    """Return which share of a training's steps learns from the student's own answers."""
    own = recipe.train.on_policy
    if own is None:
        return 0.0
    # The first ones are a share of what the epochs make, which is more than is trained.
    spare = SPARE if recipe.minutes is not None and EPOCHS in open_fields(recipe) else 1.0
    return own.share * max(0.0, 1 - spare * own.stored_first)


def _search(recipe: Recipe) -> tuple[int, int]:
    """Return how often a search tries its candidates, and what else it tries each time."""
    shrink = recipe.shrink
    if shrink.parameters is not None:
        rounds = math.ceil((1 - shrink.parameters) / shrink.step)
        return rounds, len(searched_axes(shrink) - {"depth"})
    if shrink.drop_layers and shrink.blocks is None:
        return 1 + (shrink.drop_layers - 1) * shrink.beam, 0
    return 0, 0


def collected_sizes(parts: Parts, sizes: RunSizes) -> RunSizes:
    """Return the sizes with the lengths of the answers that were collected and kept."""
    train, held_out = parts.corpus.parent_ids("train"), parts.corpus.parent_ids("held_out")
    if not train or not held_out:
        return sizes
    return replace(
        sizes,
        available=len(train),
        prompt=sum(len(p) for p, _ in train) / len(train),
        answer=sum(len(r) for _, r in train) / len(train),
        held_out_answer=sum(len(r) for _, r in held_out) / len(held_out),
    )
