"""Files that a recipe names and that change while a run goes on."""

from __future__ import annotations

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT, stage_of
from potstill.runs.curating import evaluation_texts
from potstill.runs.parts import Parts
from potstill.text.answers import AnswerForm
from potstill.work.named_files import changed_fields, digests, named_files, naming_fields
from potstill.work.records import Files
from potstill.work.stage_records import STAGE_RECORDS, CollectRecord


def note_changed_files(parts: Parts) -> None:
    """Say which files of the recipe have changed since the run read them, and have them read again.

    A changed file is as a changed field: stages that read it are done again. Prompts and calls
    that were asked already stay, since their answers are paid. Raises PotstillError where calls
    have changed while only some of them are stored.
    """
    files = named_files(parts.recipe)
    now = digests(files)
    known, named = parts.run.done(Files), naming_fields(parts.recipe)
    # A field that the recipe has dropped since is no file that is gone.
    then = None if known is None else {f: p for f, p in known.digests.items() if f in named}
    for field, what in changed_fields(then or now, now).items():
        stage = stage_of(field, parts.recipe)
        read = field not in now and _done(parts, stage)
        if stage == COLLECT or read:
            _note_changed_rows(parts, field, what)
        else:
            # What cannot be read is refused before anything is put away for its sake.
            check_files(parts.recipe)
            done = parts.run.forget(stage)
            again = f"; done again: {', '.join(done)}" if done else ""
            parts.progress.note(f"{field}: {what} since this run began{again}")
    # Of a file that is gone it is kept what was in it, should it come back as another.
    kept = {**(then or {}), **now}
    if then != kept:
        parts.run.finish(Files(digests=kept))


def _done(parts: Parts, stage: str) -> bool:
    """Tell whether a stage was done; the report, which records nothing, never was."""
    return any(r.name == stage and parts.run.done(r) is not None for r in STAGE_RECORDS)


def check_files(recipe: Recipe, *, curated: bool = False) -> None:
    """Refuse schemas, and evaluation sets for a curation to come, that cannot be read."""
    if recipe.task is not None:
        AnswerForm.of(recipe.task)
    if not curated:
        evaluation_texts(recipe.curate.decontaminate)


def _note_changed_rows(parts: Parts, field: str, what: str) -> None:
    if parts.run.holds_nothing:
        parts.run.begin_again()
        parts.progress.note(f"{field}: {what} since this run began, and is read anew")
        return
    if field == "collect.calls.path" and parts.run.done(CollectRecord) is None:
        raise PotstillError(
            f"{field}: {what} while only some of its calls are stored; bring it back as it was, "
            "choose another directory with --out, or start over with --fresh"
        )
    parts.progress.note(
        f"{field}: {what} since this run read it; the run goes on with what it read then, and "
        "takes nothing new from it (another directory, by --out, or --fresh would)"
    )
