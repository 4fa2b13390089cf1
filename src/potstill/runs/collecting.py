"""Collect: the run's prompts, and the answers to them, by what the run has open."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from potstill.collect import stage
from potstill.collect.planning import Planning, known_before, new_plan, reading, told_anew
from potstill.collect.served.step import TextReader
from potstill.collect.served.unanswered import worth_asking_again
from potstill.recipe import Recipe
from potstill.runs.parts import Parts
from potstill.watermark.marking import doubts
from potstill.work.plan import PromptPlan
from potstill.work.records import Prompts, Teacher, Unasked
from potstill.work.samplings import Samplings
from potstill.work.speaking import AnswerRoom
from potstill.work.stage_records import CollectRecord
from potstill.work.target_specs import training_spec

# What a server was paid without an answer to store, beside what it was given to read.
PAID = "paid.jsonl"


def collect_answers(parts: Parts) -> CollectRecord:
    """Plan the prompts, have them answered, and return the figures."""
    _keep_mark(parts)
    kept = stage.Kept(
        author=lambda identity: parts.run.finish(Teacher(identity=identity)),
        plan=lambda plan: parts.run.finish(plan.kept()),
        paid=parts.run.readings_path.with_name(PAID),
        readings=parts.run.readings_path,
    )
    return stage.collect_answers(
        parts.opened,
        parts.store,
        parts.decision,
        replace(asking(parts.recipe), cut=parts.cut, mark=parts.mark),
        kept,
        plan=partial(_planned, parts),
        log=lambda: parts.calls,
        progress=parts.progress,
    )


def _keep_mark(parts: Parts) -> None:
    """Record, before the first answer is stored, how answers are marked, and say so."""
    mark, recipe = parts.mark, parts.recipe
    if mark is None:
        return
    record, learnt = mark.record(), recipe.collect.targets
    parts.run.finish(record)
    how = ", ".join(f"{name} {value:g}" for name, value in record.parameters.items())
    by = (
        "from draws of the marked distribution (collect.targets sampled)"
        if learnt == "sampled"
        else "from the marked text alone (train.cross_entropy 1)"
    )
    parts.progress.note(
        f"mark: training and validation answers carry a {record.scheme} mark ({how}) of epoch "
        f"{record.epoch}, key {record.key_id}; held-out answers carry none; the student learns {by}"
    )
    said = doubts(
        mark.scheme,
        Samplings.of(recipe.collect, recipe.evaluate, recipe.seed).training,
        recipe.collect.samples,
    )
    for warning in (mark.warning, *said):
        if warning is not None:
            parts.progress.note(f"mark: {warning}")


def asking(recipe: Recipe) -> stage.Asking:
    """Return how a recipe has answers drawn, and what it keeps of them."""
    return stage.Asking(
        recipe.collect,
        recipe.evaluate,
        recipe.prompts,
        Samplings.of(recipe.collect, recipe.evaluate, recipe.seed),
        recipe.train.temperature,
        recipe.seed,
        reasoning=recipe.curate.reasoning,
        # A task is scored on greedy answers to all rows.
        all_greedy=recipe.task is not None,
        currency=recipe.cost.currency,
        int8=recipe.teacher.precision == "int8",
    )


def planning(recipe: Recipe) -> Planning:
    """Return what a recipe says of its prompts."""
    room = AnswerRoom.of(recipe.collect, recipe.evaluate, recipe.task)
    return Planning(recipe.prompts, recipe.task, recipe.collect.gold, room, recipe.seed)


def text_reader(parts: Parts) -> TextReader | None:
    """Return the server that reads answers without targets; None where none does."""
    server = parts.access.server
    if server is None or not server.reads_given_text:
        return None
    return TextReader.of(
        server,
        parts.opened.served_tokens,
        training_spec(parts.recipe.collect, parts.recipe.train.temperature),
        parts.run.readings_path,
        parts.scorer_decision,
    )


def planned_prompts(parts: Parts) -> PromptPlan | None:
    """Return the run's prompts, planned by its first call and then read back.

    None where nobody is asked anything that could be planned before.
    """
    if not parts.run.has(Prompts) and not known_before(parts.access.author, parts.recipe.prompts):
        return None
    return _planned(parts)


def retold(parts: Parts, plan: PromptPlan) -> PromptPlan:
    """Return a stored plan with the right answers that the recipe names now; stores it again."""
    wanted, known = planning(parts.recipe), parts.run.done(Prompts)
    # Calls that came with their answers have no columns.
    if known is None or known.columns is None or list(known.columns) == wanted.columns:
        return plan
    plan = told_anew(plan, wanted)
    _keep(parts, plan, wanted)
    return plan


def _planned(parts: Parts) -> PromptPlan:
    if parts.run.has(Prompts):
        return parts.plan
    wanted = planning(parts.recipe)
    read = reading(
        parts.opened,
        parts.decision,
        seed=parts.recipe.seed,
        slots=parts.recipe.collect.slots,
        progress=parts.progress,
    )
    log = None if parts.recipe.collect.calls is None else parts.calls
    found = new_plan(wanted, log, read, parts.opened, parts.progress)
    if found.left_out:
        parts.run.finish(Unasked(**found.left_out))
    _keep(parts, found.plan, wanted)
    return found.plan


def _keep(parts: Parts, plan: PromptPlan, wanted: Planning) -> None:
    parts.run.finish(plan.kept(wanted.columns))


def some_failed(parts: Parts, *, in_vain: bool = True) -> bool:
    """Tell whether prompts are without an answer that asking again may give.

    Without `in_vain`, blank and refused answers are none: the same question would get them again.
    """
    known = parts.run.done(CollectRecord)
    failures = () if known is None else known.failures
    return worth_asking_again([reason for _, reason in failures], in_vain=in_vain)


def rows_are_lost(parts: Parts) -> bool:
    """Tell whether the store holds less than collecting left there.

    So it is where a call set a damaged shard aside and was killed before its rows were back.
    """
    known = parts.run.done(CollectRecord)
    if known is None:
        return False
    now, left = parts.store.stats(), known.stored
    return bool(now["exchanges"] < left.exchanges or now["targets"] < left.targets)
