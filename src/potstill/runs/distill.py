"""The only place that knows the order of the stages.

terms gate -> collect -> curate -> shrink -> train -> evaluate -> report -> manifest. Each stage
records what it did in the run directory, so that the same call goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from potstill.energy import EnergyMeter
from potstill.errors import PotstillError
from potstill.machine import gpu_of
from potstill.models.memory import release_freed
from potstill.models.precision import resolve_device
from potstill.progress import Progress, Silent
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT
from potstill.runs.callbacks import Callback
from potstill.runs.changed_files import note_changed_files
from potstill.runs.checking import check_all
from potstill.runs.collecting import collect_answers, rows_are_lost, some_failed
from potstill.runs.curating import curate_stored
from potstill.runs.dry_run import checked_apart
from potstill.runs.evaluating import evaluate_students
from potstill.runs.minutes.fields import with_stored_plan
from potstill.runs.minutes.keeping import Clock, TimeKeeper
from potstill.runs.order import training_begun
from potstill.runs.parts import Parts
from potstill.runs.report_run import write_report
from potstill.runs.shrinking import make_student
from potstill.runs.student_terms import require_terms_of_all
from potstill.runs.training import train_students
from potstill.work.records import AskingCost
from potstill.work.run_recipe import RECIPE, changes, holds_nothing, refuse_changes
from potstill.work.rundir import RunDir
from potstill.work.stage_records import STAGE_RECORDS, CurateRecord, StageRecord

_RECORDS = {record.name: record for record in STAGE_RECORDS}
STAGES: dict[str, Callable[[Parts], StageRecord]] = {
    "collect": collect_answers,
    "curate": curate_stored,
    "shrink": make_student,
    "train": train_students,
    "evaluate": evaluate_students,
}


def distill(
    recipe: Recipe,
    out: Path | None = None,
    *,
    fresh: bool = False,
    redo: bool = False,
    until: str | None = None,
    progress: Progress,
    callbacks: Sequence[Callback] = (),
    clock: Clock = Clock(),
) -> RunDir:
    """Run a recipe, or go on with it, and return its run directory, which is no longer held.

    `until` names the last stage (`collect`, `curate`, `shrink`, `train` or `evaluate`); None goes
    on to report and manifest. Stages that a changed field decides about are done again, from what
    the stages before them left; in a finished run only with `redo`. A finished run whose recipe
    has not changed is returned as it is, and nothing is written. `callbacks` are told of stages and
    of what training logs. `clock` says since when the recipe's minutes count.
    """
    check_until(until)
    root = out or Path("runs") / recipe.name
    recipe = with_stored_plan(recipe, root, fresh=fresh)
    _check_before_losing(recipe, root, fresh=fresh, redo=redo, progress=progress)
    with RunDir.open(root, recipe, fresh=fresh, redo=redo) as run:
        if run.changed:
            progress.note(run.changed)
        parts = Parts(run, recipe, progress, callbacks)
        keeper = None
        try:
            finished = run.manifest_path.is_file()
            if finished and not _reopened(parts, redo=redo):
                return run
            keeper = clock.keeper(parts)
            _run_stages(parts, until, keeper, reopened=finished)
        finally:
            parts.store.close()
            if keeper is not None:
                keeper.end()
    return run


def check_until(until: object) -> None:
    """Raise PotstillError for what names no stage; None means all of them."""
    if until is not None and until not in tuple(STAGES):
        raise PotstillError(f"there is no stage {until}; there are {', '.join(STAGES)}")


def _reopened(parts: Parts, *, redo: bool) -> bool:
    """Tell whether a finished run goes on, and say where it does not.

    With `redo` it does for prompts without an answer, which are asked again.
    """
    failed = some_failed(parts)
    if redo and failed:
        parts.run.forget("report")
        return True
    more = "; --redo asks again what got no answer" if failed else ""
    parts.progress.note(f"{parts.run.root} is finished already; --fresh starts over{more}")
    return False


def _check_before_losing(
    recipe: Recipe, root: Path, *, fresh: bool, redo: bool, progress: Progress
) -> None:
    """Refuse a recipe that fails its checks before what it has done again is put away.

    A student that took hours is not lost to a field with a wrong number.
    """
    if not RECIPE.begins(root) or holds_nothing(root):
        return
    found = changes(root, recipe)
    if not fresh:
        refuse_changes(root, found, redo=redo)
    if fresh or found:
        with (
            progress.step("check the recipe"),
            checked_apart(recipe, None if fresh else root, Silent()),
        ):
            release_freed()


def _run_stages(
    parts: Parts, until: str | None, keeper: TimeKeeper | None, *, reopened: bool = False
) -> None:
    require_terms_of_all(parts)
    for said in parts.run.damage():
        parts.progress.note(said)
    note_changed_files(parts)
    if keeper is None:
        check_all(parts)
    else:
        keeper.begin()
    damaged = parts.store.repair()
    for name in damaged:
        parts.progress.note(f"{name} was damaged and set aside; its rows are collected again")
    for name, stage in STAGES.items():
        # A damaged file has lost rows: collecting again fetches just those.
        again = name == "collect" and (
            damaged
            or rows_are_lost(parts)
            or _ask_again(parts, all_of_them=reopened or until == "collect")
        )
        # What a server read was in the store as well.
        again = again or (name == "curate" and damaged and parts.access.target_server is not None)
        if parts.run.done(_RECORDS[name]) is None or again:
            if keeper is not None:
                keeper.before(name)
            taken = _do(parts, name, stage).seconds
            if keeper is not None:
                keeper.after(name, taken)
        if name == COLLECT and parts.run.done(CurateRecord) is not None and _uncurated(parts):
            parts.run.forget("curate")
        if name == until:
            return
    parts.store.compact()
    parts.store.close()
    if keeper is not None:
        keeper.end()
    write_report(parts)


def _do(parts: Parts, name: str, stage: Callable[[Parts], StageRecord]) -> StageRecord:
    """Do a stage, record what it did and took, and tell of it."""
    for callback in parts.callbacks:
        callback.stage_started(name)
    meter = EnergyMeter(gpu=gpu_of(resolve_device(parts.recipe.device)))
    start = time.perf_counter()
    seconds, joules = 0.0, None
    try:
        record = stage(parts)
    finally:
        seconds, joules = time.perf_counter() - start, meter.joules()
        if name == COLLECT:
            seconds, joules = _asking_cost(parts.run, seconds, joules)
    record = record.taking(seconds, joules)
    parts.run.finish(record)
    parts.next_stage()
    if name == COLLECT:
        # The stages to come read shards many times as fast as the journal.
        parts.store.compact()
    release_freed()
    for callback in parts.callbacks:
        callback.stage_finished(name, record)
    return record


def _asking_cost(run: RunDir, seconds: float, joules: float | None) -> tuple[float, float | None]:
    """Return what asking took in this call and in earlier ones, whose answers stay; record it."""
    earlier = run.done(AskingCost)
    if earlier is not None:
        known = earlier.seconds is not None
        seconds = seconds + (earlier.seconds or 0.0) if known else seconds
        joules = None if joules is None or earlier.joules is None else joules + earlier.joules
    run.finish(AskingCost(seconds=seconds, joules=joules))
    return seconds, joules


def _ask_again(parts: Parts, *, all_of_them: bool) -> bool:
    """Tell whether prompts that a server gave no answer to are asked again, and say if not.

    Once training has begun they are only where `all_of_them` is set, as by `potstill collect`, or
    by --redo in a finished run: training has to begin anew with other answers. So are those whose
    answers were blank or refused.
    """
    if not some_failed(parts, in_vain=all_of_them):
        return False
    if all_of_them or not training_begun(parts.run.root):
        return True
    parts.progress.note(
        "prompts that the server gave no answer to are left out, since training has begun without "
        "them; `potstill collect --redo` asks them again"
    )
    return False


def _uncurated(parts: Parts) -> bool:
    """Tell whether the store holds answers that came after the others were curated.

    Which they are, a call that was killed while it asked again cannot have said.
    """
    return not parts.store.ids() <= {mark.exchange_id for mark in parts.store.marks()}
