"""The file that says what a work directory was made by, and that it is one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from potstill.durable import ELSEWHERE, write_bytes
from potstill.errors import PotstillError
from potstill.recipe.differences import differences
from potstill.recipe.written import dump_written

C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True)
class Header(Generic[C]):
    """The header of one kind of work directory: a frozen config, as YAML under a first line.

    `file` is its name. `settings` is what people call the config (a recipe), `work` what such a
    directory holds (a run); sentences and the first line are made of both. `anew` is
    how such work is done again, `elsewhere` how another place is named.
    """

    config: type[C]
    file: str
    settings: str
    work: str
    anew: str = "start over with --fresh"
    elsewhere: str = ELSEWHERE

    @property
    def first_line(self) -> str:
        """Only a file that begins like this makes a directory one that may be emptied."""
        return (
            f"# The resolved {self.settings} of this potstill {self.work} directory. Do not edit.\n"
        )

    def begins(self, root: Path) -> bool:
        """Tell whether potstill made this directory, as one of this kind."""
        try:
            with (root / self.file).open(encoding="utf-8") as file:
                return file.read(len(self.first_line)) == self.first_line
        except (OSError, UnicodeDecodeError):
            return False

    def require(self, root: Path) -> None:
        """Raise PotstillError where a directory is not one of this kind."""
        if not self.begins(root):
            raise PotstillError(
                f"{root} is not a {self.work} directory of potstill; check the path"
            )

    def refuse_foreign(self, root: Path) -> None:
        """Raise PotstillError for a file, and for a directory that holds something else."""
        self.refuse_file(root)
        if root.is_dir() and any(root.iterdir()) and not self.begins(root):
            raise PotstillError(
                f"{root} is not empty and not a {self.work} directory of potstill; {self.elsewhere}"
            )

    def refuse_file(self, root: Path) -> None:
        """Raise PotstillError for a file, or what lies under one, as a directory."""
        for path in (root, *root.parents):
            if path.exists():
                if not path.is_dir():
                    raise PotstillError(f"{path} is a file, not a directory; {self.elsewhere}")
                return

    def text(self, config: C) -> str:
        """Return the file's text for a config, defaults included."""
        values = config.model_dump(mode="json")
        return self.first_line + dump_written(values, allow_unicode=True, width=100)

    def write(self, root: Path, config: C) -> None:
        """Put the file into a directory, whole or not at all; where it says the same it stays."""
        path, text = root / self.file, self.text(config).encode()
        if not path.is_file() or path.read_bytes() != text:
            write_bytes(path, text)

    def read(self, root: Path) -> C:
        """Return the config that a directory was made by.

        Raises PotstillError where it is none of this kind, or its config cannot be read.
        """
        self.require(root)
        try:
            return self.config.model_validate(self.values(root))
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, e["loc"])) or self.settings for e in error.errors())
            raise PotstillError(
                f"the {self.settings} in {root} does not fit this version of potstill ({keys}); "
                f"use the version that made the {self.work}, or {self.anew}"
            ) from None

    def values(self, root: Path) -> dict[str, Any]:
        """Return what the file of a directory holds, as it was written.

        Raises PotstillError where it is damaged: nothing else knows what the work was begun with.
        """
        path = root / self.file
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            raise PotstillError(
                f"{path} cannot be read as YAML; bring it back from a copy, or {self.anew}"
            )
        return found

    def resolved(self, root: Path) -> dict[str, Any]:
        """Return what the file holds, and the defaults of keys that an older version lacked.

        What does not fit this version is returned as it stands.
        """
        stored = self.values(root)
        try:
            return self.config.model_validate(stored).model_dump(mode="json")
        except ValidationError:
            return stored

    def refuse_other(self, root: Path, config: C, *, but: Collection[str] = ()) -> None:
        """Raise PotstillError, with both values of each key, for work by another config.

        Keys in `but` may differ.
        """
        found = [
            f"{d.key} is {d.there} there and {d.here} here"
            for d in differences(self.resolved(root), config.model_dump(mode="json"))
            if d.key not in but
        ]
        if found:
            raise PotstillError(
                f"{root} was made by other settings: {'; '.join(found)}. Choose another directory "
                "with --out, or --fresh to start over in this one"
            )
