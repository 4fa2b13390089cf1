"""The run directory: what one recipe produces, and what of it is done.

Every file appears whole or not at all. One process holds the directory at a time.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from potstill.durable import (
    drop_half_line,
    fsync_folder,
    remove_leftovers,
    write_bytes,
    write_errors,
)
from potstill.errors import PotstillError
from potstill.recipe import Recipe
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
from potstill.work.run_recipe import (
    MANIFEST_FILE,
    RECIPE_FILE,
    STATE,
    changes,
    holds_nothing,
    is_run_directory,
    kept_by,
    recipe_text,
    refuse_changes,
    refuse_file,
    refuse_foreign,
)

try:
    import fcntl
except ImportError:  # Windows: two processes in one run directory are not noticed there.
    fcntl = None  # type: ignore[assignment]

# The record of what was found before the first question.
CHECKED = "checked"
# That of what asking took so far, in every call that asked.
ASKED = "asked"

# What a stage leaves beside its record, and what goes when it is done again.
_LEFT_BEHIND = {
    SHRINK: ("untrained", "vocabulary.safetensors"),
    TRAIN: (
        "checkpoints",
        "checkpoints-cross-entropy",
        "cross_entropy",
        "student",
        "metrics.jsonl",
    ),
    REPORT: ("evaluation.json", "report.html"),
}


def readings_path(root: Path) -> Path:
    """Return the file of what a run's server was given to read."""
    return root / STATE / "readings.jsonl"


class RunDir:
    """An open run directory; use it as a context manager, or `close` it."""

    def __init__(self, root: Path, recipe: Recipe, lock: int | None) -> None:
        self.root = root
        self.recipe = recipe
        self.changed = ""
        self._like: Path | None = None
        self._lock = lock
        self._metrics_checked = False

    @classmethod
    def open(cls, root: Path, recipe: Recipe, *, fresh: bool = False, redo: bool = False) -> RunDir:
        """Create a run directory, or go on in it.

        Where its recipe has changed, the stages that a changed field decides about are done again,
        from what the stages before them left, and `changed` says so. `fresh` empties it first, if
        it is a run directory; `redo` lets a finished run be changed too. Raises `PotstillError`
        where another process holds it, where it holds something else, where it is finished, and
        where it holds answers that the changed recipe would not have asked for: then each
        differing key is named with both values.
        """
        root = Path(root)
        refuse_file(root)
        with write_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        lock = _lock(root)
        try:
            remove_leftovers(root)
            refuse_foreign(root)
            if fresh:
                _empty(root)
            run = cls(root, recipe, lock)
            if (root / RECIPE_FILE).exists():
                run._take_over(changes(root, recipe), redo=redo)
            else:
                write_bytes(root / RECIPE_FILE, recipe_text(recipe).encode())
        except BaseException:
            _unlock(lock)
            raise
        return run

    def _take_over(self, found: list[Change], *, redo: bool) -> None:
        """Go on under a changed recipe; say in `changed` what is done again for its sake."""
        if not found:
            self._state_how_it_is_reached()
            return
        stage = first_stage(found)
        refuse_changes(self.root, found, redo=redo)
        named = "; ".join(map(str, found))
        if stage == COLLECT and holds_nothing(self.root):
            self.changed = (
                f"{self.root} holds no answers yet, and takes the changed recipe: {named}"
            )
            self.begin_again()
        else:
            again = self.forget(stage, keep=kept_by(found))
            done = f"; done again: {', '.join(again)}" if again else ""
            self.changed = f"{self.root} goes on with a changed recipe: {named}{done}"
        write_bytes(self.root / RECIPE_FILE, recipe_text(self.recipe).encode())

    def _state_how_it_is_reached(self) -> None:
        """Take over fields that decide nothing (a server's address, a budget): pages show them."""
        path, text = self.root / RECIPE_FILE, recipe_text(self.recipe).encode()
        if not self.manifest_path.is_file() and path.read_bytes() != text:
            write_bytes(path, text)

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
        if not is_run_directory(other):
            return
        found = changes(other, self.recipe)
        if found and holds_nothing(other):
            return
        self._like = other
        again = from_stage(first_stage(found)) if found else ()
        left = [name for name in (COLLECT, CURATE, TRAIN) if name not in again]
        for path in sorted((other / STATE).glob("*.json")):
            if path.stem in left or path.stem not in (*ORDER, CHECKED):
                write_bytes(self._state(path.stem), path.read_bytes())

    def forget(self, stage: str, *, keep: Sequence[str] = ()) -> list[str]:
        """Have a stage and those after it done again; return which of them had been done.

        What the stages before it left stays, and so do the files `keep`. Records go first, so that
        a kill in between leaves a run that knows of nothing done.
        """
        again = from_stage(stage)
        done = [name for name in again if self._state(name).exists()]
        with write_errors(self.root):
            self.manifest_path.unlink(missing_ok=True)
            for name in reversed(again):
                self._state(name).unlink(missing_ok=True)
            for left in (left for name in again for left in _LEFT_BEHIND.get(name, ())):
                if left not in keep:
                    _remove(self.root / left)
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
    def metrics_path(self) -> Path:
        """File of what was logged, one JSON object a line."""
        return self.root / "metrics.jsonl"

    @property
    def evaluation_path(self) -> Path:
        """File of the measured fidelity, speed and cost."""
        return self.root / "evaluation.json"

    @property
    def report_path(self) -> Path:
        """The page that shows the run."""
        return self.root / "report.html"

    @property
    def manifest_path(self) -> Path:
        """The list of every file with its digest; the last file of a run."""
        return self.root / MANIFEST_FILE

    def done(self, stage: str) -> dict[str, Any] | None:
        """Return what `finish` recorded for a stage, or None where it has not finished.

        A damaged record of a stage counts as none: it is done again from its own files. The other
        records say what the run was begun with, which nothing else knows: raises `PotstillError`
        where one is damaged.
        """
        try:
            return self._record(stage)
        except ValueError as error:
            if stage in ORDER:
                return None
            raise PotstillError(
                f"{self._state(stage)} is damaged, and only it says what this run was begun with; "
                "bring it back from a copy, or start over with --fresh"
            ) from error

    def damaged_records(self) -> list[str]:
        """Return the stages whose record is there and cannot be read, so that they run again."""
        found = []
        for stage in ORDER:
            try:
                self._record(stage)
            except ValueError:
                found.append(stage)
        return found

    def _record(self, stage: str) -> dict[str, Any] | None:
        """Return a record, None where there is none; raises ValueError where it is damaged."""
        path = self._state(stage)
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PotstillError(
                f"{path} cannot be read ({error.strerror}); see to its permissions"
            ) from error
        if not isinstance(result, dict):
            raise ValueError("a record is one JSON object")
        return result

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

    def finish(self, stage: str, result: Mapping[str, Any]) -> None:
        """Record that a stage has finished, durable on return."""
        self.write_json(f"{STATE}/{stage}.json", dict(result))

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to metrics.jsonl; numbers that are not finite become null."""
        line = json.dumps(_finite(dict(record)), ensure_ascii=False, allow_nan=False) + "\n"
        with write_errors(self.root):
            if not self._metrics_checked:
                drop_half_line(self.metrics_path)
                self._metrics_checked = True
            try:
                with self.metrics_path.open("ab") as file:
                    file.write(line.encode())
            except OSError:
                # A full disk may have taken half of the line.
                self._metrics_checked = False
                raise

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged records; a half line, left by a kill, is ignored."""
        return read_metrics(self.root)

    def write_json(self, name: str, value: Any) -> Path:
        """Put a JSON file into the directory, whole or not at all, and return its path.

        Numbers that are not finite become null. Raises `PotstillError` for a full disk.
        """
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return self.write_text(name, text)

    def write_text(self, name: str, text: str) -> Path:
        """Put a text file into the directory, whole or not at all, and return its path."""
        path = self.root / name
        write_bytes(path, text.encode())
        return path

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock is not None:
            _unlock(self._lock)
            self._lock = None

    def __enter__(self) -> RunDir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _state(self, stage: str) -> Path:
        return self.root / STATE / f"{stage}.json"


def read_metrics(root: Path) -> list[dict[str, Any]]:
    """Return the records that a run has logged; a half line at the end is ignored."""
    try:
        text = (root / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n") if line.strip()]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(root: Path) -> None:
    """Empty a run directory. What says how far the run is goes first, the recipe last.

    So a kill in between leaves a run directory that knows of nothing done.
    """
    order = {MANIFEST_FILE: 0, STATE: 1, RECIPE_FILE: 3}
    with write_errors(root):
        for path in sorted(root.iterdir(), key=lambda p: (order.get(p.name, 2), p.name)):
            _remove(path)
        fsync_folder(root)


def _finite(value: Any) -> Any:
    """Return a JSON value with null for numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _lock(root: Path) -> int | None:
    """Hold the directory itself, so that no lock file is left in a finished run."""
    if fcntl is None:
        return None
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise PotstillError(
            f"{root} is in use by another potstill process; wait until it has ended, or choose "
            "another directory with --out"
        ) from error
    except OSError:
        # Some network file systems cannot lock a directory; the run itself works there.
        os.close(descriptor)
        return None
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
