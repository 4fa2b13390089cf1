"""`potstill serve`: hand a run's student over to an existing server."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Quiet, RunPath, handled, progress_for
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.models.serving import Address, Engine
    from potstill.progress import Progress

_QUESTION = "Name three colours."
_CHECK_TOKENS = 32
# A large model on a slow disk takes minutes to load.
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class _Plan:
    """What is served with what; `weights` is a GGUF file or the student's directory."""

    engine: Engine
    weights: Path
    name: str
    chat: bool


@handled
def serve(
    path: RunPath,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any free one.")
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on. Other than the default lets other machines ask, without "
            "a password.",
        ),
    ] = "127.0.0.1",
    engine: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="llama.cpp|transformers|vllm",
            help="The server. Without it the first of these that is installed and can.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Start it, ask one question, and stop.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve a run's student over OpenAI's protocol, with a server that exists.

    llama.cpp serves RUN/student.gguf, which is made (f16) where it is missing.
    """
    from potstill.cli.run_view import find
    from potstill.models import serving

    run = find(path)
    address = serving.free_address(host, port)
    plan = _plan(run, _engine(engine), progress_for(quiet))
    model = serving.served_name(plan.engine, plan.weights, plan.name)
    if check:
        with _running(plan, address):
            text = serving.ask(address, model, _QUESTION, chat=plan.chat, max_tokens=_CHECK_TOKENS)
        typer.echo(f"{plan.engine} answered one question with {len(text)} characters")
        return
    if not address.is_local:
        typer.echo(f"other machines that reach {host} can ask this server", err=True)
    if plan.engine == "llama.cpp":
        with _running(plan, address):
            _announce(plan, address, model)
            _until_interrupted()
        return
    arguments = serving.command(plan.engine, plan.weights, plan.name, address)
    _announce(plan, address, model)
    # The server takes this process's place, and with it the terminal and its signals.
    os.execvp(arguments[0], arguments)


def _engine(given: str | None) -> Engine | None:
    from potstill.models.serving import ENGINES

    for known in ENGINES:
        if given == known:
            return known
    if given is not None:
        raise PotstillError(f"--with is {given}; potstill knows {', '.join(ENGINES)}")
    return None


def _plan(run: Path, engine: Engine | None, progress: Progress) -> _Plan:
    """Return what to serve with what; without an engine the first that is there and can."""
    from potstill.cli.export import student_of
    from potstill.models import serving
    from potstill.recipe_io import read_recipe
    from potstill.run_recipe import RECIPE_FILE

    student, name = student_of(run), read_recipe(run / RECIPE_FILE).name
    chat = _has_chat_template(student)
    if engine is not None:
        serving.require(engine)
        weights = _gguf(run, progress) if engine == "llama.cpp" else student
        return _Plan(engine, weights, name, chat)
    there = [known for known in serving.ENGINES if serving.is_installed(known)]
    if not there:
        raise PotstillError(
            'no server is installed; run: pip install "potstill[gguf]" (llama.cpp), or '
            'pip install "transformers[serving]", or pip install vllm'
        )
    if there[0] == "llama.cpp":
        try:
            return _Plan("llama.cpp", _gguf(run, progress), name, chat)
        except PotstillError as error:
            if len(there) == 1:
                raise
            typer.echo(f"no GGUF file: {error}; serving with {there[1]}", err=True)
            there = there[1:]
    return _Plan(there[0], student, name, chat)


def _gguf(run: Path, progress: Progress) -> Path:
    """Return the run's GGUF file; it is made where it is missing or older than the student."""
    from potstill.cli.export import GGUF_FILE, student_of, to_gguf_of

    path = run / GGUF_FILE
    newest = max(file.stat().st_mtime_ns for file in student_of(run).iterdir())
    if path.is_file() and path.stat().st_mtime_ns >= newest:
        return path
    return to_gguf_of(run, "f16", None, progress)


def _has_chat_template(student: Path) -> bool:
    if (student / "chat_template.jinja").is_file():
        return True
    settings = student / "tokenizer_config.json"
    return settings.is_file() and '"chat_template"' in settings.read_text(encoding="utf-8")


def _running(plan: _Plan, address: Address) -> AbstractContextManager[None]:
    from potstill.models import serving

    if plan.engine == "llama.cpp":
        return serving.llama_cpp(plan.weights, plan.name, address)
    arguments = serving.command(plan.engine, plan.weights, plan.name, address)
    return serving.program(arguments, address, _PATIENCE_S)


def _announce(plan: _Plan, address: Address, model: str) -> None:
    from potstill.models.serving import snippet

    typer.echo(f"{plan.engine} serves {plan.name} at {address.url} (Ctrl-C stops it)\n")
    typer.echo(snippet(address, model, chat=plan.chat))


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("\nstopped", err=True)
