"""The run directory: what one recipe produces, and what of it is done.

Every file appears whole or not at all. One process holds the directory at a time.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from blake3 import blake3
from pydantic import ValidationError

from potstill.durable import (
    drop_half_line,
    fsync_folder,
    remove_leftovers,
    write_bytes,
    write_errors,
)
from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.written import dump_written

try:
    import fcntl
except ImportError:  # Windows: two processes in one run directory are not noticed there.
    fcntl = None  # type: ignore[assignment]

RECIPE_FILE = "recipe.yaml"
MANIFEST_FILE = "manifest.json"
# How a server is asked decides nothing about its answers: a run goes on with another budget.
_MAY_CHANGE = frozenset(
    f"teacher.endpoint.{name}"
    for name in (
        "url",
        "key_env",
        "max_in_flight",
        "timeout_s",
        "tries",
        "price_in",
        "price_out",
        "budget",
        "budget_tokens",
    )
)
# Only a file that starts like this makes a directory one that --fresh may empty.
_HEADER = "# The resolved recipe of this potstill run directory. Do not edit.\n"
_STATE = "state"


def readings_path(root: Path) -> Path:
    """Return the file of what a run's server was given to read."""
    return root / _STATE / "readings.jsonl"


class RunDir:
    """An open run directory; use it as a context manager, or `close` it."""

    def __init__(self, root: Path, recipe: Recipe, lock: int | None) -> None:
        self.root = root
        self.recipe = recipe
        self._lock = lock
        self._metrics_checked = False

    @classmethod
    def open(cls, root: Path, recipe: Recipe, *, fresh: bool = False) -> RunDir:
        """Create a run directory, or go on in the one that the same recipe made.

        `fresh` empties it first, if it is a run directory. Raises `PotstillError` where another
        process holds it, where it holds something else, and where another recipe made it: then
        each differing key is named with both values.
        """
        root = Path(root)
        if root.exists() and not root.is_dir():
            raise PotstillError(
                f"{root} is a file, not a directory; choose another directory with --out"
            )
        with write_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        lock = _lock(root)
        try:
            remove_leftovers(root)
            _refuse_foreign(root)
            if fresh:
                _empty(root)
            if (root / RECIPE_FILE).exists():
                _refuse_other_recipe(root, recipe)
            else:
                write_bytes(root / RECIPE_FILE, _recipe_text(recipe).encode())
        except BaseException:
            _unlock(lock)
            raise
        return cls(root, recipe, lock)

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
        """Return what `finish` recorded for a stage, or None where it has not finished."""
        path = self._state(stage)
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, UnicodeDecodeError):
            # Not ours any more (writes are atomic); the stage resumes from its own files.
            return None
        return result if isinstance(result, dict) else None

    @property
    def readings_path(self) -> Path:
        """What a server was given to read, and what it was charged; no stage's record either."""
        return readings_path(self.root)

    @property
    def judge_scores_path(self) -> Path:
        """The judge's scores as they came, which a stopped run goes on from.

        Not named as a stage's record is: it is none.
        """
        return self.root / _STATE / "judge-scores.jsonl"

    def finish(self, stage: str, result: Mapping[str, Any]) -> None:
        """Record that a stage has finished, durable on return."""
        self.write_json(f"{_STATE}/{stage}.json", dict(result))

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
        return self.root / _STATE / f"{stage}.json"


def is_run_directory(root: Path) -> bool:
    """Tell whether potstill made this directory."""
    try:
        with (root / RECIPE_FILE).open(encoding="utf-8") as file:
            return file.read(len(_HEADER)) == _HEADER
    except (OSError, UnicodeDecodeError):
        return False


def read_recipe(root: Path) -> Recipe:
    """Return the recipe of a run directory, for reading it without holding it.

    Raises `PotstillError` where it is no run directory or its recipe cannot be read.
    """
    if not is_run_directory(root):
        raise PotstillError(f"{root} is not a run directory of potstill; check the path")
    try:
        return Recipe.model_validate(_stored_recipe(root))
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) or "recipe" for e in error.errors())
        raise PotstillError(
            f"the recipe in {root} does not fit this version of potstill ({keys}); use the "
            "version that made the run, or --fresh to start over"
        ) from error


def read_metrics(root: Path) -> list[dict[str, Any]]:
    """Return the records that a run has logged; a half line at the end is ignored."""
    try:
        text = (root / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition(b"\n")
    return [json.loads(line) for line in whole.split(b"\n") if line.strip()]


def recipe_digest(recipe: Recipe) -> str:
    """Return `blake3:` and 32 digits over all values of a recipe, defaults included."""
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return f"blake3:{blake3(text.encode()).hexdigest(length=16)}"


def _recipe_text(recipe: Recipe) -> str:
    values = recipe.model_dump(mode="json")
    return _HEADER + dump_written(values, allow_unicode=True, width=100)


def _stored_recipe(root: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load((root / RECIPE_FILE).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PotstillError(
            f"{root / RECIPE_FILE} cannot be read as YAML; use --fresh to start over, or another "
            "directory with --out"
        ) from error
    return values if isinstance(values, dict) else {}


def _refuse_foreign(root: Path) -> None:
    """Refuse a directory that holds something other than a run."""
    if any(root.iterdir()) and not is_run_directory(root):
        raise PotstillError(
            f"{root} is not empty and not a run directory of potstill; choose another directory "
            "with --out"
        )


def _refuse_other_recipe(root: Path, recipe: Recipe) -> None:
    stored = _stored_recipe(root)
    # A recipe of an older version lacks newer keys: their defaults are what it meant.
    with suppress(ValidationError):
        stored = Recipe.model_validate(stored).model_dump(mode="json")
    there, given = (
        {key: value for key, value in _flat(values).items() if key not in _MAY_CHANGE}
        for values in (stored, recipe.model_dump(mode="json"))
    )
    differing = [k for k in sorted({*there, *given}) if there.get(k) != given.get(k)]
    if differing:
        lines = "; ".join(
            f"{key} is {_shown(there, key)} there and {_shown(given, key)} in this recipe"
            for key in differing
        )
        raise PotstillError(
            f"{root} was made by another recipe: {lines}. Choose another directory with --out, or "
            "--fresh to start over in this one"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not set"


def _empty(root: Path) -> None:
    """Empty a run directory. What says how far the run is goes first, the recipe last.

    So a kill in between leaves a run directory that knows of nothing done.
    """
    order = {MANIFEST_FILE: 0, _STATE: 1, RECIPE_FILE: 3}
    with write_errors(root):
        for path in sorted(root.iterdir(), key=lambda p: (order.get(p.name, 2), p.name)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
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
