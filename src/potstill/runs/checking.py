"""What is checked before a teacher is asked anything: nothing is paid for a recipe that fails.

Each check is the very code that would refuse later. It runs once for a recipe: a run that goes on
knows what it was checked with.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from potstill.curate.curate import check
from potstill.endpoint.open_files import in_flight_allowed
from potstill.evaluate.tasks import check_apart
from potstill.models.adopt import adopted
from potstill.models.load import load_conversation
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.changed_files import check_files
from potstill.runs.collecting import planned_prompts, planning, retold
from potstill.runs.curating import judge_of
from potstill.runs.order import stated_secret
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.rehearsal import rehearsed_cut
from potstill.train.rehearsal import asks_much, rehearse
from potstill.work.access import Weights
from potstill.work.opened import Opened
from potstill.work.plan import PromptPlan
from potstill.work.records import Checked, Files, Prompts
from potstill.work.run_recipe import recipe_digest
from potstill.work.speaking import check_room, check_written, taken_over
from potstill.work.stage_records import CollectRecord, CurateRecord, ShrinkRecord, TrainRecord
from potstill.work.stated import server_settings

# Told of a student that was cut only to be checked: its token map, its cut, and the seconds that
# cutting took.
TriedStudent = Callable[[LoadedModel, VocabularyMap | None, Cut, float], object]


def check_all(parts: Parts, *, tried: TriedStudent | None = None) -> None:
    """Refuse what any later stage would refuse for its recipe, its files or its models.

    Nobody is asked anything, and nothing is written but the plan of prompts and what was checked.
    `tried` may do as it likes with the student that is checked, before it is.
    """
    files, checked = parts.run.done(Files), parts.run.done(Checked)
    # The same recipe may fail where a file that it names is another by now.
    now = Checked(
        recipe=recipe_digest(parts.recipe), files=None if files is None else files.digests
    )
    if checked is not None and (checked.recipe, checked.files) == (now.recipe, now.files):
        return
    _check_words(parts)
    _check_speaking(parts)
    planned = parts.run.has(Prompts)
    plan = planned_prompts(parts)
    if plan is not None and planned:
        # Planning does so itself.
        check_room(plan, parts.opened, planning(parts.recipe).room)
    if plan is not None:
        _check_plan(parts.recipe, retold(parts, plan), parts.opened)
    models = _check_models(parts, tried) if parts.run.done(TrainRecord) is None else {}
    parts.run.finish(now.model_copy(update={"models": models}))


def _check_words(parts: Parts) -> None:
    """Refuse keys, schemas and evaluation sets that cannot be read, and too few files to open."""
    check_files(parts.recipe, curated=parts.run.done(CurateRecord) is not None)
    if parts.run.done(TrainRecord) is None:
        stated_secret(parts.recipe)
    if parts.run.done(CollectRecord) is None:
        # A key that cannot be read is refused before anybody writes.
        _ = parts.mark
    server = parts.access.server
    if server is not None:
        # Asking says so where it is fewer.
        in_flight_allowed(server_settings(server.endpoint), Silent())


def _check_speaking(parts: Parts) -> None:
    """Refuse files and templates that cannot be read, and a student that cannot be taught."""
    judge = parts.recipe.curate.judge.model
    if judge is not None and parts.run.done(CurateRecord) is None:
        load_conversation(judge, date=parts.compute.day)
    over = taken_over(parts.opened)
    if over is not None and parts.run.done(ShrinkRecord) is None:
        parts.progress.note(over)


def _check_plan(recipe: Recipe, plan: PromptPlan, opened: Opened) -> None:
    """Refuse a plan that the recipe's task, filters, contexts or templates do not fit."""
    gold = {p.prompt_id: p.gold for p in plan.prompts if p.gold is not None}
    check(recipe.curate, gold or None)
    if recipe.task is not None:
        check_apart(recipe.task, [p.slice for p in plan.held_out])
    check_written(plan, opened)


def _check_models(parts: Parts, tried: TriedStudent | None) -> dict[str, str]:
    """Load what the recipe names, cut and prepare the student as it says, and put it away.

    Returns the identities of the models that later stages load again, by their fields.
    """
    recipe, found = parts.recipe, dict[str, str]()
    judge, named = recipe.curate.judge.model, parts.access.student
    if judge is not None and parts.run.done(CurateRecord) is None:
        with parts.progress.step("check judge"):
            found["curate.judge.model"] = judge_of(judge, parts).identity
    shrunk = parts.run.done(ShrinkRecord)
    if shrunk is not None:
        with parts.progress.step("check student"):
            student = parts.opened.student(parts.untrained, trainable=True)
            rehearse(student, recipe.train, _matched_to(parts), shrunk.blocks)
    elif named is not None and not recipe.cuts:
        with parts.progress.step("check student"):
            start = time.perf_counter()
            student = _given_student(named, parts.opened)
            found["student.model"] = student.identity
        if tried is not None:
            tried(student, None, Cut(), time.perf_counter() - start)
        rehearse(student, recipe.train, _matched_to(parts))
        del student
    elif recipe.cuts or asks_much(recipe.train) or tried is not None:
        parent = parts.opened.parent
        with parts.progress.step("check student"):
            start = time.perf_counter()
            cut = rehearsed_cut(parent, recipe.shrink)
            student, vocabulary = pruned(parent, cut)
        if tried is not None:
            tried(student, vocabulary, cut, time.perf_counter() - start)
        rehearse(student, recipe.train, _matched_to(parts), cut.blocks)
        del student
    if parts.access.weights is None:
        parts.opened.release()
    release_freed()
    return found


def _matched_to(parts: Parts) -> LoadedModel | None:
    """Return whose hidden states a student's are matched to; None where none are."""
    return None if parts.recipe.train.hidden_matching is None else parts.opened.teacher


def _given_student(named: Weights, opened: Opened) -> LoadedModel:
    student = opened.compute.load(named, trainable=True)
    return student if opened.access.weights is None else adopted(student, opened.teacher)
