"""The only place that knows the order of the stages.

terms gate -> collect -> curate -> shrink -> train -> evaluate -> report -> manifest. Each stage
records what it did in the run directory, so that the same call goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from potstill.collect.served.pending import Estimate
from potstill.errors import PotstillError
from potstill.job import Job
from potstill.models.memory import release_freed
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.run_recipe import changes, refuse_changes
from potstill.run_report import write_report
from potstill.rundir import RunDir
from potstill.stages.checking import check_all, note_changed_files
from potstill.stages.collecting import collect_answers, planned_prompts, rows_are_lost, some_failed
from potstill.stages.curating import curate_answers
from potstill.stages.estimates import server_estimates
from potstill.stages.evaluating import evaluate_student
from potstill.stages.shrinking import make_student
from potstill.stages.training import train_students

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
    with RunDir.open(out or Path("runs") / recipe.name, recipe, fresh=fresh, redo=redo) as run:
        if run.changed:
            progress.note(run.changed)
        if run.manifest_path.is_file():
            progress.note(f"{run.root} is finished already; --fresh starts over")
            return run
        job = Job(run, recipe, progress)
        try:
            _run_stages(job, until)
        finally:
            job.store.close()
    return run


@dataclass(frozen=True)
class DryRun:
    """What a run would do: its prompts by split, and what is left to ask a server.

    `prompts` is None where nobody knows them yet, since the teacher would write them.
    """

    prompts: dict[str, int] | None
    asked: tuple[tuple[str, Estimate], ...]


def dry_run(recipe: Recipe, out: Path | None = None, *, progress: Progress) -> DryRun:
    """Check all that a run checks before its first question, and return what it would ask.

    Nothing is asked, and nothing is written into the run directory. Raises PotstillError for
    whatever a run would be refused for, then or later.
    """
    root = out or Path("runs") / recipe.name
    refuse_changes(root, changes(root, recipe), redo=False)
    with TemporaryDirectory() as name, RunDir.open(Path(name) / recipe.name, recipe) as scratch:
        scratch.begin_like(root)
        job = Job(scratch, recipe, progress)
        try:
            job.decision.require()
            note_changed_files(job)
            check_all(job)
            plan = planned_prompts(job)
            estimates = server_estimates(job, root)
        finally:
            job.store.close()
    counts = None if plan is None else Counter(str(prompt.split) for prompt in plan.prompts)
    return DryRun(None if counts is None else dict(counts), tuple(estimates))


def _run_stages(job: Job, until: str | None) -> None:
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
        again = name == "collect" and (damaged or rows_are_lost(job) or _ask_again(job, until))
        # What a server read was in the store as well.
        again = again or (name == "curate" and damaged and job.recipe.served_targets)
        if job.run.done(name) is None or again:
            before = job.store.ids() if name == "collect" else set()
            with job.measured() as spent:
                result = stage(job)
            job.run.finish(name, {**result, **spent})
            release_freed()
            if again and not damaged and name == "collect" and job.store.ids() - before:
                job.run.forget("curate")
        if name == until:
            return
    job.store.compact()
    job.store.close()
    write_report(job)


def _ask_again(job: Job, until: str | None) -> bool:
    """Tell whether prompts that a server gave no answer to are asked again, and say if not.

    Once training has begun they are only where collecting is all that is wanted: it would have
    to begin anew with other answers. So are those whose answers were blank or refused.
    """
    if not some_failed(job, in_vain=until == "collect"):
        return False
    begun = job.run.checkpoints.is_dir() or job.run.done("train") is not None
    if until == "collect" or not begun:
        return True
    job.progress.note(
        "prompts that the server gave no answer to are left out, since training has begun without "
        "them; `potstill collect` asks them again"
    )
    return False
