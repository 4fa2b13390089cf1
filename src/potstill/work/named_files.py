"""The files that a recipe names, by digest: what is in them may change while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import digest_of_file, labelled
from potstill.recipe import Recipe


@dataclass(frozen=True)
class NamedFile:
    """A file, and the field of the recipe that names it."""

    path: Path
    field: str


def named_files(recipe: Recipe) -> list[NamedFile]:
    """Return the local files of rows, calls and schemas that a recipe names and that are there.

    A folder stands for the files in it. Models have identities of their own.
    """
    return [
        NamedFile(path, field)
        for field, stated in _stated(recipe).items()
        for path in _paths(stated)
    ]


def sources_of(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the sources of rows that each field names: names, data sets, files and folders."""
    prompts = recipe.prompts
    # Past calls bring their own prompts.
    source = prompts.source if recipe.collect.calls is None else None
    stated = {
        "prompts.source": source,
        "prompts.held_out": prompts.held_out,
        "curate.decontaminate.sources": recipe.curate.decontaminate.sources,
    }
    return {k: (v,) if isinstance(v, str) else tuple(v or ()) for k, v in stated.items()}


def _stated(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    calls, task = recipe.collect.calls, recipe.task
    schema = None if task is None else task.json_schema
    return {
        **sources_of(recipe),
        "collect.calls.path": () if calls is None else calls.paths,
        "task.json_schema": (schema,) if isinstance(schema, str) else (),
    }


def naming_fields(recipe: Recipe) -> set[str]:
    """Return the fields by which a recipe names files, whether they are there or not."""
    return {field for field, stated in _stated(recipe).items() if stated}


def digests(files: Iterable[NamedFile]) -> dict[str, dict[str, str]]:
    """Return the digest of every file's bytes, by field and path."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        found.setdefault(file.field, {})[str(file.path)] = labelled(digest_of_file(file.path))
    return found


def changed_fields(
    then: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return the fields whose files are no longer those of `then`, and in words what is new."""
    found = {}
    for field, before in then.items():
        after = now.get(field, {})
        gone = [p for p in before if p not in after]
        new = [p for p in after if p not in before]
        other = [p for p in before if p in after and before[p] != after[p]]
        parts = [
            f"{' and '.join(Path(p).name for p in paths)} {what}"
            for paths, what in ((other, "has changed"), (gone, "is gone"), (new, "is new"))
            if paths
        ]
        if parts:
            found[field] = ", ".join(parts)
    return found


def _paths(stated: Sequence[str]) -> list[Path]:
    """Return the files that values stand for; a name that is no path has none."""
    found: list[Path] = []
    for value in stated:
        path = Path(value).expanduser()
        if path.is_dir():
            visible = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            found += sorted(visible)
        elif path.is_file():
            found.append(path)
    return found
