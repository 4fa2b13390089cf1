"""`potstill export`: a run's student as one GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Quiet, RunPath, handled, progress_for
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.models.export import GgufKind
    from potstill.progress import Progress

GGUF_FILE = "student.gguf"


@handled
def export(
    path: RunPath,
    gguf: Annotated[
        str,
        typer.Option(
            "--gguf",
            metavar="f16|q8_0",
            help="f16 answers as the student does; q8_0 is half as large and rounds more.",
        ),
    ] = "f16",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="GGUF file; without it RUN/student.gguf."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a run's student as a GGUF file for llama.cpp and what is built on it.

    The safetensors in RUN/student stay as they are; plain transformers and vLLM load those.
    """
    if gguf not in ("f16", "q8_0"):
        raise PotstillError(f"--gguf is {gguf}; potstill writes f16 and q8_0")

    from potstill.cli.run_view import find

    kind: GgufKind = "q8_0" if gguf == "q8_0" else "f16"
    written = to_gguf_of(find(path), kind, out, progress_for(quiet))
    typer.echo(f"{written} ({written.stat().st_size / 1e6:.1f} MB)")


def student_of(run: Path) -> Path:
    """Return the directory of a run's student; raises PotstillError where there is none yet."""
    student = run / "student"
    if not (student / "config.json").is_file():
        raise PotstillError(
            f"{run} has no finished student yet; `potstill show {run}` says how to go on"
        )
    return student


def to_gguf_of(run: Path, kind: GgufKind, out: Path | None, progress: Progress) -> Path:
    """Write a run's student as a GGUF file, list it in the manifest, and return its path.

    A signed manifest is countersigned with the key that this machine signs with.
    """
    from potstill.lineage import manifest
    from potstill.lineage.keys import local_key
    from potstill.models.export import in_16_bits, to_gguf
    from potstill.work.rundir import RunDir

    student, target = student_of(run), out or run / GGUF_FILE
    if target.is_dir():
        raise PotstillError(f"{target} is a directory; --out names the GGUF file to write")
    manifest.refuse_listed(run, target)
    inside = target.resolve().is_relative_to(run.resolve())
    signer = local_key() if inside and manifest.is_signed(run) else None
    name = RunDir.reading(run).recipe.name
    with progress.step(f"write {target.name}"):
        to_gguf(student, target, kind, name=name)
    kept = in_16_bits(target) if kind == "q8_0" else None
    if kept is not None:
        progress.note(f"export: {kept}")
    manifest.add(run, target, signer)
    return target
