"""What is checked before a teacher is asked anything: nothing is paid for a recipe that fails.

Each check is the very code that would refuse later. It runs once for a recipe: a run that goes on
knows what it was checked with.
"""

from __future__ import annotations

from potstill.curate.curate import check
from potstill.endpoint.open_files import in_flight_allowed
from potstill.errors import PotstillError
from potstill.evaluate.tasks import check_apart
from potstill.models.adopt import adopted
from potstill.models.load import load, load_conversation
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT, stage_of
from potstill.runs.collecting import answer_room, planned_prompts, retold
from potstill.runs.curating import evaluation_texts, judge_of
from potstill.runs.parts import Parts
from potstill.shrink.rehearsal import rehearsed
from potstill.text.answers import AnswerForm
from potstill.train.rehearsal import rehearse
from potstill.work.named_files import changed_fields, digests, named_files, naming_fields
from potstill.work.plan import PromptPlan
from potstill.work.records import Checked
from potstill.work.run_recipe import recipe_digest
from potstill.work.speaking import check_room, check_written, taken_over
from potstill.work.stated import server_settings

_FILES = "files"


def check_all(parts: Parts) -> None:
    """Refuse what any later stage would refuse for its recipe, its files or its models.

    Nobody is asked anything, and nothing is written but the plan of prompts and what was checked.
    """
    files = (parts.run.done(_FILES) or {}).get("digests")
    # The same recipe may fail where a file that it names is another by now.
    now = {"recipe": recipe_digest(parts.recipe), "files": files}
    checked = parts.run.done(Checked.name) or {}
    if {key: checked.get(key) for key in now} == now:
        return
    _check_words(parts)
    _check_speaking(parts)
    planned = parts.run.done("prompts") is not None
    plan = planned_prompts(parts)
    if plan is not None and planned:
        check_room(plan, parts.opened, answer_room(parts.recipe))  # planning does so itself
    if plan is not None:
        _check_plan(parts, retold(parts, plan))
    models = _check_models(parts) if parts.run.done("train") is None else {}
    parts.run.finish(Checked.name, {**now, "models": models})


def note_changed_files(parts: Parts) -> None:
    """Say which files of the recipe have changed since the run read them, and have them read again.

    A changed file is as a changed field: stages that read it are done again. Prompts and calls
    that were asked already stay, since their answers are paid. Raises PotstillError where calls
    have changed while only some of them are stored.
    """
    files = named_files(parts.recipe)
    now = digests(files)
    then = (parts.run.done(_FILES) or {}).get("digests")
    named = naming_fields(parts.recipe)
    # A field that the recipe has dropped since is no file that is gone.
    then = None if then is None else {f: paths for f, paths in then.items() if f in named}
    for field, what in changed_fields(then or now, now).items():
        stage = stage_of(field, parts.recipe)
        read = field not in now and parts.run.done(stage) is not None
        if stage == COLLECT or read:
            _note_changed_rows(parts, field, what)
        else:
            # What cannot be read is refused before anything is put away for its sake.
            _check_files(parts.recipe)
            done = parts.run.forget(stage)
            again = f"; done again: {', '.join(done)}" if done else ""
            parts.progress.note(f"{field}: {what} since this run began{again}")
    # Of a file that is gone it is kept what was in it, should it come back as another.
    kept = {**(then or {}), **now}
    if then != kept:
        parts.run.finish(_FILES, {"digests": kept})


def _note_changed_rows(parts: Parts, field: str, what: str) -> None:
    if parts.run.holds_nothing:
        parts.run.begin_again()
        parts.progress.note(f"{field}: {what} since this run began, and is read anew")
        return
    if field == "collect.calls.path" and parts.run.done("collect") is None:
        raise PotstillError(
            f"{field}: {what} while only some of its calls are stored; bring it back as it was, "
            "choose another directory with --out, or start over with --fresh"
        )
    parts.progress.note(
        f"{field}: {what} since this run read it; the run goes on with what it read then, and "
        "takes nothing new from it (another directory, by --out, or --fresh would)"
    )


def _check_speaking(parts: Parts) -> None:
    """Refuse files and templates that cannot be read, and a student that cannot be taught."""
    judge = parts.recipe.curate.judge.model
    if judge is not None and parts.run.done("curate") is None:
        load_conversation(judge, date=parts.compute.day)
    over = taken_over(parts.opened)
    if over is not None and parts.run.done("shrink") is None:
        parts.progress.note(over)


def _check_words(parts: Parts) -> None:
    """Refuse schemas and evaluation sets that cannot be read, and too few files to open."""
    recipe = parts.recipe
    _check_files(recipe, curated=parts.run.done("curate") is not None)
    endpoint = recipe.teacher.endpoint
    if endpoint is not None:
        in_flight_allowed(server_settings(endpoint), Silent())  # asking says so where it is fewer


def _check_files(recipe: Recipe, *, curated: bool = False) -> None:
    """Refuse schemas, and evaluation sets for a curation to come, that cannot be read."""
    if recipe.task is not None:
        AnswerForm.of(recipe.task)
    if not curated:
        evaluation_texts(recipe.curate.decontaminate)


def _check_plan(parts: Parts, plan: PromptPlan) -> None:
    """Refuse a plan that the recipe's task, filters, contexts or templates do not fit."""
    recipe = parts.recipe
    gold = {p.prompt_id: p.gold for p in plan.prompts if p.gold is not None}
    check(recipe.curate, gold or None)
    if recipe.task is not None:
        check_apart(recipe.task, [p.slice for p in plan.held_out])
    check_written(plan, parts.opened)


def _check_models(parts: Parts) -> dict[str, str]:
    """Load what the recipe names, cut and prepare the student as it says, and put it away.

    Returns the identities of the models that later stages load again, by their fields.
    """
    recipe, found = parts.recipe, dict[str, str]()
    if recipe.curate.judge.model is not None and parts.run.done("curate") is None:
        with parts.progress.step("check judge"):
            found["curate.judge.model"] = judge_of(recipe.curate.judge.model, parts).identity
    if parts.run.done("shrink") is not None:
        with parts.progress.step("check student"):
            rehearse(parts.opened.student(parts.untrained, trainable=True), recipe.train)
    elif recipe.student.model is not None and not recipe.cuts:
        with parts.progress.step("check student"):
            student = _given_student(parts)
            found["student.model"] = student.identity
            rehearse(student, recipe.train)
            del student
    elif recipe.cuts or _asks_much(recipe):
        parent = parts.opened.parent
        with parts.progress.step("check student"):
            rehearse(rehearsed(parent, recipe.shrink), recipe.train)
    if parts.access.weights is None:
        parts.opened.release()
    release_freed()
    return found


def _given_student(parts: Parts) -> LoadedModel:
    stated = parts.recipe.student
    assert stated.model is not None
    student = load(
        stated.model,
        device=parts.recipe.device,
        precision=parts.compute.precision,
        trainable=True,
        template_arguments=stated.template_arguments,
        date=parts.compute.day,
    )
    return adopted(student, parts.opened.teacher) if parts.access.weights is not None else student


def _asks_much(recipe: Recipe) -> bool:
    """Tell whether training asks anything of a student that not every one can give."""
    train = recipe.train
    return (
        train.lora is not None
        or train.frozen_blocks > 0
        or train.packing == "packed"
        or train.gradient_checkpointing != "none"
    )
