"""potstill as a library: one call that runs a recipe.

It leaves the process as it was: random numbers, threads, and what torch and transformers are set to
are given back, and nothing exits.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch

from potstill.models.quiet import quiet_transformers
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.runs import distill as pipeline
from potstill.runs.call import Call, Model, checked_callbacks, draft_of, placed
from potstill.runs.callbacks import Callback, Logged, Told
from potstill.runs.given import given_folder
from potstill.runs.in_python import said_in_python
from potstill.runs.minutes.fields import replayed, with_stored_plan
from potstill.runs.minutes.keeping import Clock
from potstill.runs.run import Run
from potstill.work.named import check_wanted
from potstill.work.run_recipe import changes, refuse_changes

# What is given back, and how transformers loads, belong to the process: two runs at a time would
# leave it broken for every later load. A callback may distil something else in its own thread.
_ONE_RUN = RLock()


def distill(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    teacher: Model | None = None,
    student: Model | None = None,
    prompts: str | Path | Iterable[Any] | None = None,
    terms: str | Mapping[str, Any] | None = None,
    until: str | None = None,
    plan: str | Path | None = None,
    fresh: bool = False,
    redo: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> Run:
    """Run a recipe, or go on with it where it stopped, and return the run.

    `recipe` is one, its values, or its YAML file; `teacher`, `student` and `prompts` stand in place
    of what it says of them. `out` is the run directory, without it `runs/NAME`; a recipe without a
    name has the directory's. Prompts are texts, lists of messages, rows of a data set, or the name
    of a source. `terms` is the licence of a teacher that is handed in as a network
    (`"apache-2.0"`), or the section `teacher.terms`: without either such a teacher is refused as
    unknown. `until`, `plan`, `fresh` and `redo` are those of the command: `plan` is the
    state/minutes.json of a run with minutes, or its directory. Notes go to the logger
    `potstill`, unless `progress` shows them. A process runs one at a time: a call in another thread
    waits.

    What is handed in as an object is kept as files in the folder `OUT-given`, and read from there.
    Raises PotstillError, with the way out, for whatever the command would refuse.
    """
    with _ONE_RUN, said_in_python(), _given_back(), quiet_transformers():
        pipeline.check_until(until)
        told = checked_callbacks(callbacks)
        root, draft = placed(draft_of(recipe), out)
        call = Call(draft, given_folder(root)).with_terms(terms, teacher)
        if teacher is not None:
            call = call.with_model("teacher", teacher, terms if isinstance(terms, str) else None)
        if student is not None:
            call = call.with_model("student", student)
        if prompts is not None:
            call = call.with_prompts(prompts)
        chosen = call.draft.recipe()
        chosen, clock = _clocked(chosen, root, plan, fresh=fresh)
        if not fresh:
            # Before anything is written for a run that refuses it.
            refuse_changes(root, changes(root, chosen), redo=redo)
        call.keep()
        # The run reads them from their files: whoever holds a network for this alone is rid of it.
        del teacher, student, prompts, call
        check_wanted(chosen, root, fresh=fresh)
        shown = Told(progress or Logged(), told)
        run = pipeline.distill(
            chosen,
            root,
            fresh=fresh,
            redo=redo,
            until=until,
            progress=shown,
            callbacks=told,
            clock=clock,
        )
    return Run(run.root)


def _clocked(
    recipe: Recipe, root: Path, plan: str | Path | None, *, fresh: bool
) -> tuple[Recipe, Clock]:
    """Return the recipe with what a plan, or an earlier call's clock, decided, and the clock."""
    if plan is None:
        return with_stored_plan(recipe, root, fresh=fresh), Clock()
    found, known = replayed(recipe, Path(plan))
    return found, Clock(replay=known)


@contextmanager
def _given_back() -> Iterator[None]:
    """Give random numbers, threads and what torch is set to back as they were."""
    drawn, threads, dtype = random.getstate(), torch.get_num_threads(), torch.get_default_dtype()
    numpy_drawn, torch_drawn = np.random.get_state(), torch.get_rng_state()
    cuda_drawn = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    torch.set_default_dtype(torch.float32)
    try:
        # A caller in torch.no_grad() has a student trained all the same.
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_rng_state(torch_drawn)
        if cuda_drawn is not None:
            torch.cuda.set_rng_state_all(cuda_drawn)
        np.random.set_state(numpy_drawn)
        random.setstate(drawn)
