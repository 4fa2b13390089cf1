"""A run as an object: what it measured, its student, its answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.recipe import Recipe
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import read_evaluation
from potstill.work.run_recipe import RECIPE, RECIPE_FILE
from potstill.work.rundir import RunDir
from potstill.work.workdir import read_metrics


@dataclass(frozen=True)
class Run:
    """A run directory, to be read; `open_run` opens one."""

    root: Path

    @cached_property
    def recipe(self) -> Recipe:
        """What the run was made by."""
        return RunDir.reading(self.root).recipe

    @property
    def evaluation(self) -> Evaluation:
        """What was measured. Raises PotstillError where the run has not come so far."""
        found = read_evaluation(self.root / "evaluation.json")
        if found is None:
            raise PotstillError(
                f"{self.root} has no evaluation yet; run its recipe to the end, which goes on "
                "where it stopped"
            )
        return found

    @property
    def report(self) -> Path:
        """The page of the run. Raises PotstillError where it has none yet."""
        return self._made("report.html")

    @property
    def student_directory(self) -> Path:
        """Where the student lies, as transformers loads it. Raises PotstillError where it does
        not yet."""
        return self._made("student")

    def student(self, *, device: str = "auto", precision: str = "auto") -> LoadedModel:
        """Return the student, loaded: `.network` and `.tokenizer` are transformers' own."""
        return load(str(self.student_directory), device=device, precision=precision)

    def exchanges(self, split: Split | None = None) -> list[Exchange]:
        """Return the stored answers of a split (`train`, `validation`, `held_out`), or all.

        Raises PotstillError for another name, and where the run is no longer there.
        """
        if split is not None and split not in get_args(Split):
            raise PotstillError(
                f"there is no split {split}; there are {', '.join(get_args(Split))}"
            )
        self._require_there()
        store = ExchangeStore(self.root)
        try:
            return store.read(split)
        finally:
            store.close()

    def metrics(self) -> list[dict[str, Any]]:
        """Return what training logged, in its order: a step's loss, or a validation."""
        self._require_there()
        return read_metrics(self.root)

    def _require_there(self) -> None:
        """Refuse a directory that has gone, or lies elsewhere since the process changed its own."""
        if not (self.root / RECIPE_FILE).is_file():
            RECIPE.require(self.root)

    def _made(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            raise PotstillError(f"{self.root} has no {name} yet; run its recipe to the end")
        return path


def open_run(path: str | Path) -> Run:
    """Return a run that this version of potstill, or an older one, has made.

    Raises PotstillError where there is none, or its recipe cannot be read.
    """
    run = RunDir.reading(Path(path))
    return Run(run.root)
