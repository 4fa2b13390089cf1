"""What a recipe names on this machine, looked at before anything heavy is imported.

Files and models that are not there are said in the time that it takes to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from potstill.durable import no_file, temporary_folder
from potstill.errors import PotstillError
from potstill.models.reference import check_reference
from potstill.recipe import Recipe
from potstill.text.answers import AnswerForm
from potstill.work.access import Access
from potstill.work.named_files import sources_of
from potstill.work.run_recipe import RECIPE
from potstill.work.rundir import RunDir
from potstill.work.stage_records import CollectRecord

# Folders of the rows that ship with potstill.
_SHIPPED = ("prompts", "tasks")
_LOG = "log of calls"


def check_named(recipe: Recipe) -> None:
    """Raise PotstillError where a file or model that a recipe names is not there or is another.

    Only what is on this machine is looked at: neither a hub nor a server is asked.
    """
    for field, sources in sources_of(recipe).items():
        for source in sources:
            _check_source(source, field)
    for field, what, path in _files(recipe):
        fault = _fault(path)
        # A folder of calls is for their reader to take or to refuse.
        if fault is not None and not (what == _LOG and fault == "is a directory"):
            raise PotstillError(f"the {what} {path} {fault}; check {field}")
    if recipe.shrink.vocabulary is not None or recipe.shrink.parameters is not None:
        with temporary_folder():  # a smaller tokenizer is made in one, long after
            pass
    if recipe.task is not None:
        AnswerForm.of(recipe.task)  # reads the schema
    for field, ref in _models(recipe):
        try:
            check_reference(ref)
        except PotstillError as error:
            raise PotstillError(f"{field}: {error}") from error


def check_wanted(recipe: Recipe, root: Path, *, fresh: bool = False) -> None:
    """Check what a recipe names for its run directory; one that has its answers needs it less.

    Raises PotstillError as `check_named`, and where the directory is no run's.
    """
    RECIPE.refuse_foreign(root)
    known = not fresh and RECIPE.begins(root)
    if not known or not RunDir(root, recipe).has(CollectRecord):
        check_named(recipe)


def _files(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Yield the field, what it is, and the path, of each file that is no source of rows."""
    calls, task = recipe.collect.calls, recipe.task
    if task is not None and isinstance(task.json_schema, str):
        yield "task.json_schema", "schema", task.json_schema
    permissions = {"teacher.terms.authorisation": recipe.teacher.terms.authorisation}
    if calls is not None:
        permissions["collect.calls.terms.authorisation"] = calls.terms.authorisation
    for field, path in permissions.items():
        if path is not None:
            yield field, "authorisation", path
    for path in calls.paths if calls is not None else ():
        yield "collect.calls.path", _LOG, path


def _models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the field and the reference of each model that is loaded here."""
    teacher = Access.of(recipe).weights
    named = {
        "teacher.model": None if teacher is None else teacher.model,
        "student.model": recipe.student.model,
        "curate.judge.model": recipe.curate.judge.model,
    }
    for field, ref in named.items():
        if ref is not None:
            yield field, ref


def _check_source(source: str, field: str) -> None:
    if source == "magpie" or source.startswith("hf:") or _ships(source):
        return
    fault = _fault(source)
    if fault is None or fault == "is a directory":
        return
    if fault == "does not exist" and not Path(source).suffix and "/" not in source:
        raise PotstillError(
            f"the prompt source {source} is neither a name that potstill knows (starter, magpie, "
            f"hf:NAME) nor a file that is there; check {field}"
        )
    raise PotstillError(f"the prompt file {source} {fault}; check {field}")


def _ships(source: str) -> bool:
    if not source.replace("-", "").isalnum():
        return False
    data = resources.files("potstill") / "data"
    return any((data / folder / f"{source}.jsonl").is_file() for folder in _SHIPPED)


def _fault(path: str) -> str | None:
    try:
        return no_file(Path(path).expanduser())
    except RuntimeError:
        return "lies in a home directory that is not known"
