"""The run directory: what one recipe produces, and what of it is done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

from potstill.durable import write_bytes, write_errors
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe
from potstill.recipe.stages import (
    COLLECT,
    CURATE,
    ORDER,
    REPORT,
    SHRINK,
    TRAIN,
    Change,
    first_stage,
    from_stage,
)
from potstill.work.header import Header
from potstill.work.lock import Hold
from potstill.work.records import RECORDS, Checked
from potstill.work.run_recipe import (
    RECIPE,
    RECIPE_FILE,
    changes,
    holds_nothing,
    kept_by,
    refuse_changes,
)
from potstill.work.workdir import METRICS_FILE, STATE, WorkDir, manifests_in, remove

# What a stage leaves beside its record, and what goes when it is done again.
_LEFT_BEHIND = {
    SHRINK: ("untrained", "vocabulary.safetensors"),
    TRAIN: (
        "checkpoints",
        "checkpoints-cross-entropy",
        "cross_entropy",
        "student",
        METRICS_FILE,
    ),
    REPORT: ("evaluation.json", "report.html", "notice.html"),
}


def readings_path(root: Path) -> Path:
    """Return the file of what a run's server was given to read."""
    return root / STATE / "readings.jsonl"


class RunDir(WorkDir[Recipe]):
    """An open run directory; use it as a context manager, or `close` it."""

    records = RECORDS

    def __init__(self, root: Path, recipe: Recipe, held: Hold | None = None) -> None:
        super().__init__(root, recipe, held)
        self.changed = ""
        self._like: Path | None = None

    @classmethod
    def header(cls) -> Header[Recipe]:
        """Return the header of a run: its recipe."""
        return RECIPE

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run is made by."""
        return self.config

    @classmethod
    def open(cls, root: Path, config: Recipe, *, fresh: bool = False, redo: bool = False) -> Self:
        """Create a run directory, or go on in it.

        Where its recipe has changed, the stages that a changed field decides about are done again,
        from what the stages before them left, and `changed` says so. `fresh` empties it first, if
        it is a run directory; `redo` lets a finished run be changed too. Raises `PotstillError`
        where another process holds it, where it holds something else, where it is finished, and
        where it holds answers that the changed recipe would not have asked for: then each
        differing key is named with both values.
        """
        return cls._opened(root, config, fresh=fresh, go_on=partial(cls._take_over, redo=redo))

    @classmethod
    def reading(cls, root: Path) -> Self:
        """Open a run for reading, whether another process holds it or not; write nothing.

        Raises `PotstillError` where there is none, and where its recipe cannot be read or is of
        another version: with the line and the key.
        """
        root = Path(root)
        if not (root / RECIPE_FILE).is_file():
            RECIPE.require(root)
        return cls(root, read_recipe(root / RECIPE_FILE), None)

    def _take_over(self, *, redo: bool) -> None:
        """Go on under a changed recipe; say in `changed` what is done again for its sake."""
        found = changes(self.root, self.recipe)
        if not found:
            # Fields that decide nothing (a server's address, a budget) are shown by pages.
            if not self.manifest_path.is_file():
                RECIPE.write(self.root, self.recipe)
            return
        refuse_changes(self.root, found, redo=redo)
        self.changed = self._changed_by(found)
        RECIPE.write(self.root, self.recipe)

    def _changed_by(self, found: list[Change]) -> str:
        """Put away what a changed recipe has done again, and say so."""
        stage, named = first_stage(found), "; ".join(map(str, found))
        if stage == COLLECT and holds_nothing(self.root):
            self.begin_again()
            return f"{self.root} holds no answers yet, and takes the changed recipe: {named}"
        again = self.forget(stage, keep=kept_by(found))
        done = f"; done again: {', '.join(again)}" if again else ""
        return f"{self.root} goes on with a changed recipe: {named}{done}"

    @property
    def holds_nothing(self) -> bool:
        """Whether no answer is stored, so that another recipe loses nothing."""
        return holds_nothing(self._like or self.root)

    def begin_again(self) -> None:
        """Forget every record of a run that holds nothing."""
        with write_errors(self.root):
            shutil.rmtree(self.root / STATE, ignore_errors=True)

    def begin_like(self, other: Path) -> None:
        """Take over what another run directory says that it was begun with, if it is one.

        Also that its answers are there, curated and learnt, as far as a changed recipe leaves them;
        not that it was checked. Nothing where the other would begin anew, since it holds no
        answers and another recipe.
        """
        if not RECIPE.begins(other):
            return
        found = changes(other, self.recipe)
        if found and holds_nothing(other):
            return
        self._like = other
        again = from_stage(first_stage(found)) if found else ()
        left = [name for name in (COLLECT, CURATE, TRAIN) if name not in again]
        for path in sorted((other / STATE).glob("*.json")):
            if path.stem in left or path.stem not in (*ORDER, Checked.name):
                write_bytes(self.record_path(path.stem), path.read_bytes())

    def forget(self, stage: str, *, keep: Sequence[str] = ()) -> list[str]:
        """Have a stage and those after it done again; return which of them had been done.

        What the stages before it left stays, and so do the files `keep`. Records go first, so that
        a kill in between leaves a run that knows of nothing done.
        """
        again = from_stage(stage)
        done = [name for name in again if self.record_path(name).exists()]
        with write_errors(self.root):
            for path in (*manifests_in(self.root), *manifests_in(self.student)):
                path.unlink(missing_ok=True)
            for name in reversed(again):
                self.record_path(name).unlink(missing_ok=True)
            for left in (left for name in again for left in _LEFT_BEHIND.get(name, ())):
                if left not in keep:
                    remove(self.root / left)
        return done

    @property
    def student(self) -> Path:
        """Directory of the finished student; plain transformers loads it."""
        return self.root / "student"

    @property
    def checkpoints(self) -> Path:
        """Directory of the training's checkpoints."""
        return self.root / "checkpoints"

    @property
    def evaluation_path(self) -> Path:
        """File of the measured fidelity, speed and cost."""
        return self.root / "evaluation.json"

    @property
    def report_path(self) -> Path:
        """The page that shows the run."""
        return self.root / "report.html"

    @property
    def readings_path(self) -> Path:
        """What a server was given to read, and what it was charged; no stage's record either."""
        return readings_path(self.root)

    @property
    def judge_scores_path(self) -> Path:
        """The judge's scores as they came, which a stopped run goes on from.

        Not named as a stage's record is: it is none.
        """
        return self.root / STATE / "judge-scores.jsonl"
