"""potstill as a library: a run as an object.

Nothing in here leaves the process other than it was: seeds, threads and warnings are given back,
and nothing exits. What is wrong with what was handed in is a `PotstillError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe, recipe_of
from potstill.runs import distill as pipeline
from potstill.runs.callbacks import Callback, Logged, Told
from potstill.runs.given import Network, given_folder, kept_network, kept_prompts
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import read_evaluation
from potstill.work.named import check_named
from potstill.work.rundir import RunDir

Model = str | Path | Network
"""The name or directory of a model, or a transformers model with its tokenizer."""


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
        """Return the stored answers of a split (`train`, `validation`, `held_out`), or all."""
        store = ExchangeStore(self.root)
        try:
            return store.read(split)
        finally:
            store.close()

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


def distill(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    teacher: Model | None = None,
    student: Model | None = None,
    prompts: str | Path | Iterable[Any] | None = None,
    terms: str | Mapping[str, Any] | None = None,
    until: str | None = None,
    fresh: bool = False,
    redo: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
) -> Run:
    """Run a recipe, or go on with it where it stopped, and return the run.

    `recipe` is one, its values, or its file; `teacher`, `student` and `prompts` stand in place of
    what it says of them. Prompts are texts, lists of messages, rows of a data set, or a source's
    name. `terms` is the licence of a teacher that is handed in as a network (`"apache-2.0"`), or
    the section `teacher.terms`: without it such a teacher is refused as unknown. `until`, `fresh`
    and `redo` are those of the command. Notes go to the logger `potstill`, unless `progress` shows
    them. Raises PotstillError, with the way out, for whatever the command would refuse.
    """
    values = _values(recipe)
    root = Path(out) if out is not None else Path("runs") / str(values.get("name", "run"))
    values.setdefault("name", root.name)
    folder = given_folder(root)
    licence = terms if isinstance(terms, str) else None
    stated: dict[str, Any] = {}
    if teacher is not None:
        stated["model"] = _named(teacher, folder, "teacher", licence)
    if isinstance(terms, Mapping):
        stated["terms"] = dict(terms)
    _put(values, "teacher", stated)
    if student is not None:
        _put(values, "student", {"model": _named(student, folder, "student", licence)})
    if prompts is not None:
        source = prompts if isinstance(prompts, str | Path) else kept_prompts(prompts, folder)
        _put(values, "prompts", {"source": str(source)})
    chosen = recipe_of(values)
    check_named(chosen)
    shown = Told(progress or Logged(), callbacks)
    with _given_back():
        run = pipeline.distill(
            chosen, root, fresh=fresh, redo=redo, until=until, progress=shown, callbacks=callbacks
        )
    return Run(run.root)


def _values(recipe: Recipe | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    if isinstance(recipe, Mapping):
        return dict(recipe)
    return read_recipe(Path(recipe)).model_dump(mode="json")


def _put(values: dict[str, Any], section: str, stated: Mapping[str, Any]) -> None:
    if stated:
        values[section] = {**(values.get(section) or {}), **stated}


def _named(model: Model, folder: Path, name: str, licence: str | None) -> str:
    if isinstance(model, str | Path):
        return str(model)
    return str(kept_network(model, folder, name, licence))


@contextmanager
def _given_back() -> Iterator[None]:
    """Give random numbers and threads back as they were, however the block ends."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
