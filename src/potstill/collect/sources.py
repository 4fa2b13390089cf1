"""Rows of prompts, wherever they are: files, folders, Hugging Face data sets, the starter set."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from potstill.collect.row_files import KINDS, SourceRows, json_lines, kind_of, read_file
from potstill.durable import os_reason
from potstill.errors import PotstillError
from potstill.logs.rows import SourceRow
from potstill.text.counts import by_number

STARTER = "starter"
STARTER_HELD_OUT = "starter-held-out"
MAGPIE = "magpie"
# What ships with potstill: name of the source -> folder of its file.
SHIPPED = {
    STARTER: "prompts",
    STARTER_HELD_OUT: "prompts",
    "routing": "tasks",
    "routing-unlabelled": "tasks",
    "routing-held-out": "tasks",
    "orders": "tasks",
    "orders-unlabelled": "tasks",
    "orders-held-out": "tasks",
}
_KINDS = ", ".join(KINDS)


def read_rows(source: str, field: str = "prompts.source") -> SourceRows:
    """Return the rows of a source, in its order.

    `source` is a name in `SHIPPED`, a path (one of `KINDS`; .txt has one prompt a line, in the
    column `prompt`), a folder of files of one kind, or `hf:NAME` with an optional `:SPLIT`
    (`train` if left out). `field` names the setting in errors. Raises PotstillError where it
    cannot be read, or has no rows.
    """
    if source in SHIPPED:
        path = resources.files("potstill").joinpath("data", SHIPPED[source], f"{source}.jsonl")
        column = "prompt" if source in (STARTER, STARTER_HELD_OUT) else None
        text = path.read_text(encoding="utf-8")
        rows = SourceRows(tuple(json_lines(text, f"{source}.jsonl")), column=column)
    elif source == MAGPIE:
        raise PotstillError(
            "prompts of the source magpie are written by the teacher, so they cannot be read "
            "like a file; use `potstill distill` or `potstill collect`, or name a file"
        )
    elif source.startswith("hf:"):
        rows = _hugging_face(source)
    else:
        rows = _files(source, field)
    if not rows.rows:
        raise PotstillError(f"the prompt source {source} is empty; give it at least one prompt")
    return rows


def files_of(source: str, field: str = "prompts.source") -> tuple[Path, ...]:
    """Return the files that a source reads, in their order: none where it is no path.

    Raises PotstillError where there is nothing at the path, or nothing that can be read.
    """
    if source in (*SHIPPED, MAGPIE) or source.startswith("hf:"):
        return ()
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        return _in_folder(path, source, field)
    if not os.path.exists(path):
        if os.path.islink(path):
            raise PotstillError(
                f"the prompt file {source} is a link to nothing that is there; check {field}"
            )
        if kind_of(path.name) is None:
            raise PotstillError(
                f"the prompt source {source} does not exist and is none of the known kinds; give "
                f"{STARTER}, {MAGPIE}, a path that ends in {_KINDS}, a folder of such files, or "
                "hf:NAME"
            )
        raise PotstillError(f"the prompt file {source} does not exist; check {field}")
    if not os.path.isfile(path):
        raise PotstillError(
            f"the prompt source {source} is neither a file nor a folder; check {field}"
        )
    if kind_of(path.name) is None:
        raise PotstillError(
            f"the prompt source {source} is none of the known kinds; give {STARTER}, {MAGPIE}, "
            f"a path that ends in {_KINDS}, a folder of such files, or hf:NAME"
        )
    return (path,)


def source_name(source: str) -> str:
    """Return how a source is called in stored rows: without folders, which are private."""
    if source in (*SHIPPED, MAGPIE) or source.startswith(("hf:", "calls:")):
        return source
    return f"file:{Path(source).name}"


def _files(source: str, field: str) -> SourceRows:
    read = [read_file(path) for path in files_of(source, field)]
    notes = tuple(note for rows in read for note in rows.notes)
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        kind = kind_of(files_of(source, field)[0].name)
        others = len(_visible(path)) - len(read)
        others_are = by_number(others, "other file in it was", "other files in it were")
        left = f"; {others_are} not" if others else ""
        name = source_name(source)
        files = by_number(len(read), f"{kind} file of {name} was", f"{kind} files of {name} were")
        notes = (f"{files} read{left}", *notes)
    return SourceRows(tuple(row for rows in read for row in rows), notes, read[0].column)


def _in_folder(path: Path, source: str, field: str) -> tuple[Path, ...]:
    """Return the files of rows in a folder, sorted by name; they have to be of one kind."""
    try:
        usable = [file for file in _visible(path) if kind_of(file.name) is not None]
    except OSError as error:
        raise PotstillError(
            f"the prompt source {source} is a directory that cannot be read "
            f"({os_reason(error) or 'it does not open'}); give yourself the right to read it, or "
            f"check {field}"
        ) from error
    if not usable:
        raise PotstillError(
            f"the prompt source {source} is a directory without files that end in {_KINDS}; name "
            f"a file, or the folder that holds them, in {field}"
        )
    kinds = sorted({str(kind_of(file.name)) for file in usable})
    if len(kinds) > 1:
        raise PotstillError(
            f"the prompt source {source} is a directory with files of several kinds "
            f"({', '.join(kinds)}); list the files that are meant in {field}"
        )
    return tuple(usable)


def _visible(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))


def _hugging_face(source: str) -> SourceRows:
    """Read `hf:NAME[:SPLIT]`; data sets that need their own code are not run."""
    name, _, split = source.removeprefix("hf:").partition(":")
    if not name:
        raise PotstillError("the prompt source hf: names no data set; write hf:OWNER/NAME")
    try:
        from datasets import load_dataset
    except ImportError:
        raise PotstillError(
            f"the prompt source {source} needs the package datasets; "
            "run `pip install potstill[hf-datasets]`"
        ) from None
    split = split or "train"
    try:
        records = load_dataset(name, split=split)
        return SourceRows(
            tuple(SourceRow(dict(v), f"{source}, row {i}", True) for i, v in enumerate(records, 1))
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise PotstillError(
            f"the data set {name} (split {split}) cannot be loaded; "
            "check its name, its split (hf:NAME:SPLIT) and the network"
        ) from error
