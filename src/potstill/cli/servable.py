"""What `potstill serve` is given: a run, a GGUF file (or a package with one), a directory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.cli.common import no_run_yet
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.progress import Progress

_PACKAGE = "package:"


@dataclass(frozen=True)
class Servable:
    """A model to serve: a run's (`run`), a directory's, or a GGUF file's, and what it is called.

    A run has its student's `directory` too; of a GGUF file there is nothing else.
    """

    name: str
    run: Path | None = None
    directory: Path | None = None
    gguf: Path | None = None

    @property
    def chat(self) -> bool:
        """Whether it has a chat template."""
        if self.directory is not None:
            return _has_chat_template(self.directory)
        from gguf import GGUFReader

        return "tokenizer.chat_template" in GGUFReader(str(self.gguf)).fields

    def as_gguf(self, progress: Progress, kept: ExitStack) -> Path:
        """Return its GGUF file, made (f16) where it is missing or older than the run's student.

        A run keeps the file; a directory's lies in a temporary folder until `kept` is closed.
        """
        if self.gguf is not None:
            return self.gguf
        if self.run is not None:
            return _gguf_of_run(self.run, progress)
        from potstill.durable import temporary_folder
        from potstill.models.export import to_gguf

        assert self.directory is not None
        folder = kept.enter_context(temporary_folder())
        with progress.step(f"write {self.name} as a GGUF file"):
            return to_gguf(self.directory, folder / "model.gguf", "f16", name=self.name)


def servable(target: str, name: str | None) -> Servable:
    """Return what is meant by a path, the name of a run in runs/, or package:NAME.

    `name` replaces what it is called. Raises PotstillError where there is nothing of that kind.
    """
    if target.startswith(_PACKAGE):
        from potstill.models.gguf import package_file

        file = package_file(target.removeprefix(_PACKAGE))
        return Servable(name or file.stem, gguf=file)
    path = Path(target).expanduser()
    if path.suffix.lower() == ".gguf" and path.is_file():
        return Servable(name or path.stem, gguf=path)
    run = _run_of(path)
    if run is not None:
        from potstill.cli.export import student_of
        from potstill.work.rundir import RunDir

        student = student_of(run)
        return Servable(name or RunDir.reading(run).recipe.name, run, student)
    if (path / "config.json").is_file():
        return Servable(name or path.resolve().name, directory=path)
    raise PotstillError(
        no_run_yet(path)
        or f"{target} is no run directory (it has no recipe.yaml) and no model; give the directory "
        "that `potstill distill` printed, a model's directory, a .gguf file, or package:NAME"
    )


def _run_of(path: Path) -> Path | None:
    from potstill.work.run_recipe import RECIPE_FILE

    places = (path, Path("runs") / path)
    return next((root for root in places if (root / RECIPE_FILE).is_file()), None)


def _gguf_of_run(run: Path, progress: Progress) -> Path:
    from potstill.cli.export import GGUF_FILE, student_of, to_gguf_of

    path = run / GGUF_FILE
    # A manifest that is signed anew changes nothing of the model.
    files = [f for f in student_of(run).iterdir() if not f.name.startswith("manifest")]
    newest = max(file.stat().st_mtime_ns for file in files)
    if path.is_file() and path.stat().st_mtime_ns >= newest:
        return path
    return to_gguf_of(run, "f16", None, progress)


def _has_chat_template(directory: Path) -> bool:
    if (directory / "chat_template.jinja").is_file():
        return True
    settings = directory / "tokenizer_config.json"
    return settings.is_file() and '"chat_template"' in settings.read_text(encoding="utf-8")
