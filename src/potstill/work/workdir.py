"""A work directory: what one config makes, and what of it is done.

It knows of no distillation: what it is made by, and which records it holds, a subclass says. Every
file appears whole or not at all. One process holds a directory at a time; others may read it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from potstill.durable import (
    ELSEWHERE,
    drop_half_line,
    fsync_folder,
    remove_leftovers,
    write_bytes,
    write_errors,
)
from potstill.errors import PotstillError
from potstill.work.header import C, Header
from potstill.work.lock import Hold, hold

MANIFEST_FILE = "manifest.json"
METRICS_FILE = "metrics.jsonl"
# The manifest, what was added to it since it was signed, and the signatures of each.
_MANIFESTS = re.compile(r"manifest(\.[1-9][0-9]*)?\.json(\.sig)?")
# The folder of the records.
STATE = "state"


class Recorded(BaseModel):
    """A part of a record: immutable, and unknown keys are an error.

    Keys that were not given are not written: of an older version's record they stay away.
    """

    # What a record holds may be somebody's text, and is quoted in no error.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


class WorkRecord(Recorded):
    """What one file of the folder `state` holds.

    `name` is the file's, without `.json`. `begun_with` tells an identity record: it says what the
    work was begun with, so that nobody can make it again, and a damaged one is an error. What is
    done where another one is damaged is said in `made_again`. A record that does not fit its class
    is a damaged one.
    """

    name: ClassVar[str]
    begun_with: ClassVar[bool] = False
    made_again: ClassVar[str] = ""

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the record that `as_json` wrote; raises ValueError where it is damaged."""
        return cls.model_validate_json(text, strict=True)

    def as_json(self) -> dict[str, Any]:
        """Return the file's content."""
        # A warning about a value would quote it, and it may be somebody's text.
        return self.model_dump(mode="json", by_alias=True, warnings=False)


R = TypeVar("R", bound=WorkRecord)


class WorkDir(ABC, Generic[C]):
    """An open work directory; use it as a context manager, or `close` it.

    One that is open for reading writes nothing, and holds nothing.
    """

    # Which records there are, in the order in which they are made.
    records: ClassVar[tuple[type[WorkRecord], ...]] = ()
    # What may be done where the directory cannot be written.
    way_out: ClassVar[str] = ELSEWHERE

    def __init__(self, root: Path, config: C, held: Hold | None = None) -> None:
        self.root = root
        self.config = config
        self._held = held
        self._metrics_checked = False

    @classmethod
    @abstractmethod
    def header(cls) -> Header[C]:
        """Return the header of this kind of directory."""

    @classmethod
    def open(cls, root: Path, config: C, *, fresh: bool = False) -> Self:
        """Create a directory, or go on in it; `fresh` empties it first, if it is of this kind.

        Raises `PotstillError` where another process holds it, where it holds something else, and
        where it was made by another config: then each differing key is named with both values.
        """
        return cls._opened(root, config, fresh=fresh, go_on=cls._go_on)

    @classmethod
    def reading(cls, root: Path) -> Self:
        """Open a directory for reading, whether another process holds it or not; write nothing.

        Raises `PotstillError` where it is none of this kind, or its header cannot be read.
        """
        root = Path(root)
        return cls(root, cls.header().read(root), None)

    @classmethod
    def _opened(cls, root: Path, config: C, *, fresh: bool, go_on: Callable[[Self], None]) -> Self:
        """Hold a directory, and have `go_on` see to one that was made before."""
        root, header = Path(root), cls.header()
        header.refuse_file(root)
        with write_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        held = hold(root, cls.way_out)
        try:
            remove_leftovers(root)
            header.refuse_foreign(root)
            if fresh:
                _empty(root, header.file)
            work = cls(root, config, held)
            if (root / header.file).exists():
                go_on(work)
            else:
                header.write(root, config)
        except BaseException:
            held.release()
            raise
        return work

    def _go_on(self) -> None:
        self.header().refuse_other(self.root, self.config)

    @property
    def manifest_path(self) -> Path:
        """The list of every file with its digest; the last file of work that is finished."""
        return self.root / MANIFEST_FILE

    @property
    def metrics_path(self) -> Path:
        """File of what was logged, one JSON object a line."""
        return self.root / METRICS_FILE

    def record_path(self, name: str) -> Path:
        """Return the file of a record."""
        return self.root / STATE / f"{name}.json"

    def has(self, record: type[WorkRecord]) -> bool:
        """Tell whether a record is there, damaged or not."""
        return self.record_path(record.name).is_file()

    def done(self, record: type[R]) -> R | None:
        """Return what `finish` recorded, or None where it has not.

        A damaged record counts as none, as `damage` says: what it tells of is done again. One that
        says what the work was begun with (`begun_with`) nothing else knows: raises `PotstillError`
        where it is damaged.
        """
        try:
            return self._read(record)
        except ValueError as error:
            if not record.begun_with:
                return None
            raise self._lost(record.name) from error

    def damage(self) -> list[str]:
        """Return in sentences which records cannot be read, and what is done again for that."""
        found = []
        for record in self.records:
            try:
                self._read(record)
            except ValueError:
                if not record.begun_with:
                    found.append(f"the record of {record.name} was damaged; {record.made_again}")
        return found

    def recorded(self) -> dict[str, Any]:
        """Return what each record holds, as JSON, in the order in which they were made.

        For those who show it. Damaged ones are left out, or raise `PotstillError`, as by `done`.
        """
        begun_with = {record.name for record in self.records if record.begun_with}
        files = (self.root / STATE).glob("*.json")
        found: dict[str, Any] = {}
        for path in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file)):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                if path.stem in begun_with:
                    raise self._lost(path.stem) from error
                continue
            found[path.stem] = values
        return found

    def finish(self, record: WorkRecord) -> None:
        """Record what was done, durable on return."""
        self.write_json(f"{STATE}/{record.name}.json", record.as_json())

    def forget_record(self, record: type[WorkRecord]) -> bool:
        """Remove a record; tell whether there was one."""
        self._require_held()
        path = self.record_path(record.name)
        there = path.exists()
        with write_errors(self.root):
            path.unlink(missing_ok=True)
        return there

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics; numbers that are not finite become null."""
        self._require_held()
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
        self._require_held()
        path = self.root / name
        write_bytes(path, text.encode(), self.way_out)
        return path

    def close(self) -> None:
        """Let another process have the directory; what is open here is for reading from now on."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _require_held(self) -> None:
        if self._held is None:
            raise RuntimeError(f"{self.root} is open for reading, and what reads it writes nothing")

    def _read(self, record: type[R]) -> R | None:
        """Return a record, None where there is none; raises ValueError where it is damaged."""
        path = self.record_path(record.name)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PotstillError(
                f"{path} cannot be read ({error.strerror}); see to its permissions"
            ) from error
        return record.from_json(text)

    def _lost(self, name: str) -> PotstillError:
        return PotstillError(
            f"{self.record_path(name)} is damaged, and only it says what this "
            f"{self.header().work} was begun with; bring it back from a copy, or "
            f"{self.header().anew}"
        )


def manifests_in(root: Path) -> list[Path]:
    """Return the manifest of a directory, additions to it and signatures, as far as they are there.

    The manifest itself comes first: without it the others say nothing.
    """
    found = [path for path in root.glob("manifest*") if _MANIFESTS.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name != MANIFEST_FILE, path.name))


def read_metrics(root: Path) -> list[dict[str, Any]]:
    """Return the records that were logged; a half line at the end is ignored.

    Raises PotstillError where another line is damaged.
    """
    try:
        text = (root / METRICS_FILE).read_bytes()
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition(b"\n")
    lines = [line for line in whole.split(b"\n") if line.strip()]
    return [_logged(root, number, line) for number, line in enumerate(lines, 1)]


def _logged(root: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PotstillError(
            f"line {number} of {root / METRICS_FILE} is damaged; take it out, since what was "
            "logged stands in no other file"
        )
    return found


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; where a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(root: Path, header: str) -> None:
    """Empty a directory. What says how far the work is goes first, the header last.

    So a kill in between leaves a directory that knows of nothing done.
    """
    order = {MANIFEST_FILE: 0, STATE: 1, header: 3}
    with write_errors(root):
        for path in sorted(root.iterdir(), key=lambda p: (order.get(p.name, 2), p.name)):
            remove(path)
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
