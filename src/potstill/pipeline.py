"""The only place that knows the order of the stages.

terms gate -> collect -> curate -> shrink -> train -> evaluate -> report -> manifest. Each stage
records what it did in the run directory, so that the same call goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from potstill.collect.served.pending import Estimate
from potstill.errors import PotstillError
from potstill.job import Job
from potstill.models.memory import release_freed
from potstill.progress import Progress, Silent
from potstill.recipe import Recipe
from potstill.recipe.stages import TRAIN, first_stage, from_stage
from potstill.run_report import write_report
from potstill.stages.checking import check_all, note_changed_files
from potstill.stages.collecting import collect_answers, planned_prompts, rows_are_lost, some_failed
from potstill.stages.curating import curate_answers
from potstill.stages.estimates import server_estimates
from potstill.stages.evaluating import evaluate_student
from potstill.stages.shrinking import make_student
from potstill.stages.training import train_students
from potstill.work.run_recipe import (
    MANIFEST_FILE,
    STATE,
    changes,
    holds_nothing,
    is_run_directory,
    refuse_changes,
    refuse_foreign,
)
from potstill.work.rundir import ASKED, RunDir

STAGES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "collect": collect_answers,
    "curate": curate_answers,
    "shrink": make_student,
    "train": train_students,
    "evaluate": evaluate_student,
}


def distill(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    redo: bool = False,
    until: str | None = None,
    progress: Progress,
) -> RunDir:
    """Run a recipe, or go on with it, and return its run directory, which is no longer held.

    `until` names the last stage (`collect`, `curate`, `shrink`, `train` or `evaluate`); None goes
    on to report and manifest. Stages that a changed field decides about are done again, from what
    the stages before them left; in a finished run only with `redo`. A finished run whose recipe
    has not changed is returned as it is, and nothing is written.
    """
    if until is not None and until not in STAGES:
        raise PotstillError(f"there is no stage {until}; there are {', '.join(STAGES)}")
    root = out or Path("runs") / recipe.name
    _check_before_losing(recipe, root, fresh=fresh, redo=redo, progress=progress)
    with RunDir.open(root, recipe, fresh=fresh, redo=redo) as run:
        if run.changed:
            progress.note(run.changed)
        job = Job(run, recipe, progress)
        try:
            finished = run.manifest_path.is_file()
            if finished and not _reopened(job, redo=redo):
                return run
            _run_stages(job, until, reopened=finished)
        finally:
            job.store.close()
    return run


def _reopened(job: Job, *, redo: bool) -> bool:
    """Tell whether a finished run goes on, and say where it does not.

    With `redo` it does for prompts without an answer, which are asked again.
    """
    failed = some_failed(job)
    if redo and failed:
        job.run.forget("report")
        return True
    more = "; --redo asks again what got no answer" if failed else ""
    job.progress.note(f"{job.run.root} is finished already; --fresh starts over{more}")
    return False


@dataclass(frozen=True)
class DryRun:
    """What a run would do: its prompts by split, and what is left to ask a server.

    `prompts` is None where nobody knows them yet, since the teacher would write them.
    """

    prompts: dict[str, int] | None
    asked: tuple[tuple[str, Estimate], ...]


def dry_run(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    redo: bool = False,
    until: str | None = None,
    progress: Progress,
) -> DryRun:
    """Check all that a run checks before its first question, and return what it would ask.

    The arguments are those of `distill`. Nothing is asked, and nothing is written into the run
    directory. Raises PotstillError for whatever a run would be refused for, then or later.
    """
    root = out or Path("runs") / recipe.name
    refuse_foreign(root)
    if not fresh:
        refuse_changes(root, changes(root, recipe), redo=redo)
    with _checked_apart(recipe, None if fresh else root, progress) as job:
        plan = planned_prompts(job)
        asks = job.run.done("collect") is None or _asks_again(job, root, redo=redo, until=until)
        estimates = server_estimates(job, job.run.root if fresh else root, asks=asks)
    counts = None if plan is None else Counter(str(prompt.split) for prompt in plan.prompts)
    return DryRun(None if counts is None else dict(counts), tuple(estimates))


def _asks_again(job: Job, root: Path, *, redo: bool, until: str | None) -> bool:
    """Tell whether a run that has collected in `root` asks again what got no answer."""
    found = changes(root, job.recipe)
    unchanged = (root / MANIFEST_FILE).is_file() and not found
    if unchanged and not redo:
        return False
    all_of_them = unchanged or until == "collect"
    anew = bool(found) and TRAIN in from_stage(first_stage(found))
    begun = _training_begun(root) and not anew
    return some_failed(job, in_vain=all_of_them) and (all_of_them or not begun)


@contextmanager
def _checked_apart(recipe: Recipe, like: Path | None, progress: Progress) -> Iterator[Job]:
    """Check all that a run checks first in a directory of its own, which goes afterwards.

    `like` is the run directory that the run would go on in.
    """
    with TemporaryDirectory() as name, RunDir.open(Path(name) / recipe.name, recipe) as scratch:
        if like is not None:
            scratch.begin_like(like)
        job = Job(scratch, recipe, progress)
        try:
            job.decision.require()
            note_changed_files(job)
            check_all(job)
            yield job
        finally:
            job.store.close()


def _check_before_losing(
    recipe: Recipe, root: Path, *, fresh: bool, redo: bool, progress: Progress
) -> None:
    """Refuse a recipe that fails its checks before what it has done again is put away.

    A student that took hours is not lost to a field with a wrong number.
    """
    if not is_run_directory(root) or holds_nothing(root):
        return
    found = changes(root, recipe)
    if not fresh:
        refuse_changes(root, found, redo=redo)
    if fresh or found:
        with (
            progress.step("check the recipe"),
            _checked_apart(recipe, None if fresh else root, Silent()),
        ):
            release_freed()


def _run_stages(job: Job, until: str | None, *, reopened: bool = False) -> None:
    job.decision.require()
    for name in job.run.damaged_records():
        job.progress.note(f"the record of {name} was damaged; {name} is done again")
    note_changed_files(job)
    check_all(job)
    damaged = job.store.repair()
    for name in damaged:
        job.progress.note(f"{name} was damaged and set aside; its rows are collected again")
    for name, stage in STAGES.items():
        # A damaged file has lost rows: collecting again fetches just those.
        again = name == "collect" and (
            damaged
            or rows_are_lost(job)
            or _ask_again(job, all_of_them=reopened or until == "collect")
        )
        # What a server read was in the store as well.
        again = again or (name == "curate" and damaged and job.recipe.served_targets)
        if job.run.done(name) is None or again:
            with _measured(job, name) as spent:
                result = stage(job)
            job.run.finish(name, {**result, **spent})
            release_freed()
        if name == "collect" and job.run.done("curate") is not None and _uncurated(job):
            job.run.forget("curate")
        if name == until:
            return
    job.store.compact()
    job.store.close()
    write_report(job)


@contextmanager
def _measured(job: Job, name: str) -> Iterator[dict[str, Any]]:
    """Fill in what a stage took; collecting also what earlier calls of it did, as answers stay."""
    spent: dict[str, Any] = {}
    try:
        with job.measured() as now:
            yield spent
    finally:
        earlier = job.run.done(ASKED) if name == "collect" else None
        spent.update(now)
        for key, value in (earlier or {}).items():
            known = value is not None and spent[key] is not None
            spent[key] = value + spent[key] if known else None
        if name == "collect":
            job.run.finish(ASKED, spent)


def _ask_again(job: Job, *, all_of_them: bool) -> bool:
    """Tell whether prompts that a server gave no answer to are asked again, and say if not.

    Once training has begun they are only where `all_of_them` is set, as by `potstill collect`, or
    by --redo in a finished run: training has to begin anew with other answers. So are those whose
    answers were blank or refused.
    """
    if not some_failed(job, in_vain=all_of_them):
        return False
    if all_of_them or not _training_begun(job.run.root):
        return True
    job.progress.note(
        "prompts that the server gave no answer to are left out, since training has begun without "
        "them; `potstill collect --redo` asks them again"
    )
    return False


def _training_begun(root: Path) -> bool:
    return (root / "checkpoints").is_dir() or (root / STATE / "train.json").is_file()


def _uncurated(job: Job) -> bool:
    """Tell whether the store holds answers that came after the others were curated.

    Which they are, a call that was killed while it asked again cannot have said.
    """
    return not job.store.ids() <= {mark.exchange_id for mark in job.store.marks()}
