"""What is checked before a teacher is asked anything: nothing is paid for a recipe that fails.

Each check is the very code that would refuse later. It runs once for a recipe: a run that goes on
knows what it was checked with.
"""

from __future__ import annotations

from potstill.collect.served.open_files import in_flight_allowed
from potstill.curate.curate import check
from potstill.errors import PotstillError
from potstill.evaluate.tasks import check_apart
from potstill.job import Job
from potstill.models.adopt import adopted
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT, stage_of
from potstill.shrink.rehearsal import rehearsed
from potstill.stages.collecting import planned_prompts, retold
from potstill.stages.curating import evaluation_texts, judge_of
from potstill.stages.speaking import check_room, check_speaking, check_written
from potstill.text.answers import AnswerForm
from potstill.train.rehearsal import rehearse
from potstill.work.named_files import changed_fields, digests, named_files, naming_fields
from potstill.work.plan import PromptPlan
from potstill.work.run_recipe import recipe_digest
from potstill.work.rundir import CHECKED

_FILES = "files"


def check_all(job: Job) -> None:
    """Refuse what any later stage would refuse for its recipe, its files or its models.

    Nobody is asked anything, and nothing is written but the plan of prompts and what was checked.
    """
    files = (job.run.done(_FILES) or {}).get("digests")
    # The same recipe may fail where a file that it names is another by now.
    now = {"recipe": recipe_digest(job.recipe), "files": files}
    checked = job.run.done(CHECKED) or {}
    if {key: checked.get(key) for key in now} == now:
        return
    _check_words(job)
    check_speaking(job)
    planned = job.run.done("prompts") is not None
    plan = planned_prompts(job)
    if plan is not None and planned:
        check_room(job, plan)  # planning does so itself
    if plan is not None:
        _check_plan(job, retold(job, plan))
    models = _check_models(job) if job.run.done("train") is None else {}
    job.run.finish(CHECKED, {**now, "models": models})


def note_changed_files(job: Job) -> None:
    """Say which files of the recipe have changed since the run read them, and have them read again.

    A changed file is as a changed field: stages that read it are done again. Prompts and calls
    that were asked already stay, since their answers are paid. Raises PotstillError where calls
    have changed while only some of them are stored.
    """
    files = named_files(job.recipe)
    now = digests(files)
    then = (job.run.done(_FILES) or {}).get("digests")
    named = naming_fields(job.recipe)
    # A field that the recipe has dropped since is no file that is gone.
    then = None if then is None else {f: paths for f, paths in then.items() if f in named}
    for field, what in changed_fields(then or now, now).items():
        stage = stage_of(field, job.recipe)
        read = field not in now and job.run.done(stage) is not None
        if stage == COLLECT or read:
            _note_changed_rows(job, field, what)
        else:
            # What cannot be read is refused before anything is put away for its sake.
            _check_files(job.recipe)
            done = job.run.forget(stage)
            again = f"; done again: {', '.join(done)}" if done else ""
            job.progress.note(f"{field}: {what} since this run began{again}")
    # Of a file that is gone it is kept what was in it, should it come back as another.
    kept = {**(then or {}), **now}
    if then != kept:
        job.run.finish(_FILES, {"digests": kept})


def _note_changed_rows(job: Job, field: str, what: str) -> None:
    if job.run.holds_nothing:
        job.run.begin_again()
        job.progress.note(f"{field}: {what} since this run began, and is read anew")
        return
    if field == "collect.calls.path" and job.run.done("collect") is None:
        raise PotstillError(
            f"{field}: {what} while only some of its calls are stored; bring it back as it was, "
            "choose another directory with --out, or start over with --fresh"
        )
    job.progress.note(
        f"{field}: {what} since this run read it; the run goes on with what it read then, and "
        "takes nothing new from it (another directory, by --out, or --fresh would)"
    )


def _check_words(job: Job) -> None:
    """Refuse schemas and evaluation sets that cannot be read, and too few files to open."""
    recipe = job.recipe
    _check_files(recipe, curated=job.run.done("curate") is not None)
    endpoint = recipe.teacher.endpoint
    if endpoint is not None:
        in_flight_allowed(endpoint, Silent())  # asking says so where it is fewer


def _check_files(recipe: Recipe, *, curated: bool = False) -> None:
    """Refuse schemas, and evaluation sets for a curation to come, that cannot be read."""
    if recipe.task is not None:
        AnswerForm.of(recipe.task)
    if not curated:
        evaluation_texts(recipe.curate.decontaminate)


def _check_plan(job: Job, plan: PromptPlan) -> None:
    """Refuse a plan that the recipe's task, filters, contexts or templates do not fit."""
    recipe = job.recipe
    gold = {p.prompt_id: p.gold for p in plan.prompts if p.gold is not None}
    check(recipe.curate, gold or None)
    if recipe.task is not None:
        check_apart(recipe.task, [p.slice for p in plan.held_out])
    check_written(job, plan)


def _check_models(job: Job) -> dict[str, str]:
    """Load what the recipe names, cut and prepare the student as it says, and put it away.

    Returns the identities of the models that later stages load again, by their fields.
    """
    recipe, found = job.recipe, dict[str, str]()
    if recipe.curate.judge.model is not None and job.run.done("curate") is None:
        with job.progress.step("check judge"):
            found["curate.judge.model"] = judge_of(recipe.curate.judge.model, job).identity
    if job.run.done("shrink") is not None:
        with job.progress.step("check student"):
            rehearse(job.load_student(job.untrained, trainable=True), recipe.train)
    elif recipe.student.model is not None and not recipe.cuts:
        with job.progress.step("check student"):
            student = _given_student(job)
            found["student.model"] = student.identity
            rehearse(student, recipe.train)
            del student
    elif recipe.cuts or _asks_much(recipe):
        parent = job.parent
        with job.progress.step("check student"):
            rehearse(rehearsed(parent, recipe.shrink), recipe.train)
    if not job.open:
        job.release_teacher()
    release_freed()
    return found


def _given_student(job: Job) -> LoadedModel:
    stated = job.recipe.student
    assert stated.model is not None
    student = load(
        stated.model,
        device=job.recipe.device,
        precision=job.precision,
        trainable=True,
        template_arguments=stated.template_arguments,
        date=job.day,
    )
    return adopted(student, job.teacher) if job.open else student


def _asks_much(recipe: Recipe) -> bool:
    """Tell whether training asks anything of a student that not every one can give."""
    train = recipe.train
    return (
        train.lora is not None
        or train.frozen_blocks > 0
        or train.packing == "packed"
        or train.gradient_checkpointing != "none"
    )
