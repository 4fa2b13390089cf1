"""The only place that knows the order of the stages.

terms gate -> collect -> curate -> shrink -> train -> evaluate -> report -> manifest. Each stage
records what it did in the run directory, so that the same call goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.job import Job
from potstill.models.memory import release_freed
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.run_report import write_report
from potstill.rundir import RunDir
from potstill.stages.collecting import collect_answers, rows_are_lost, some_failed
from potstill.stages.curating import check_curation, curate_answers
from potstill.stages.evaluating import evaluate_student
from potstill.stages.shrinking import make_student
from potstill.stages.speaking import check_speaking
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
    until: str | None = None,
    progress: Progress,
) -> RunDir:
    """Run a recipe, or go on with it, and return its run directory, which is no longer held.

    `until` names the last stage (`collect`, `curate`, `shrink`, `train` or `evaluate`); None goes
    on to report and manifest. A finished run is returned as it is, and nothing is written.
    """
    if until is not None and until not in STAGES:
        raise PotstillError(f"there is no stage {until}; there are {', '.join(STAGES)}")
    with RunDir.open(out or Path("runs") / recipe.name, recipe, fresh=fresh) as run:
        if run.manifest_path.is_file():
            progress.note(f"{run.root} is finished already; --fresh starts over")
            return run
        job = Job(run, recipe, progress)
        try:
            _run_stages(job, until)
        finally:
            job.store.close()
    return run


def _run_stages(job: Job, until: str | None) -> None:
    job.decision.require()
    check_curation(job)
    check_speaking(job)
    damaged = job.store.repair()
    for name in damaged:
        job.progress.note(f"{name} was damaged and set aside; its rows are collected again")
    for name, stage in STAGES.items():
        # A damaged file has lost rows: collecting again fetches just those. Prompts that a server
        # gave no answer to are asked again where collecting is all that is wanted: later stages
        # may have been made of what there was.
        asked_again = until == "collect" and some_failed(job)
        again = name == "collect" and (damaged or rows_are_lost(job) or asked_again)
        # What a server read was in the store as well.
        again = again or (name == "curate" and damaged and job.recipe.served_targets)
        if job.run.done(name) is None or again:
            with job.measured() as spent:
                result = stage(job)
            job.run.finish(name, {**result, **spent})
            release_freed()
        if name == until:
            return
    job.store.compact()
    job.store.close()
    write_report(job)
