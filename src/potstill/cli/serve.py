"""`potstill serve`: hand a run's student, or another model, over to an existing server."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Quiet, handled, nothing_said, progress_for
from potstill.cli.servable import Servable, servable
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
    """What is served with what; `weights` is a GGUF file or a model's directory."""

    engine: Engine
    weights: Path
    name: str
    chat: bool


@handled
def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="A run directory or its name in runs/; or a model: a directory, a .gguf file, "
            "package:NAME.",
        ),
    ],
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
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What clients call the model; without it the run's name, or the file's.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="ENGINE",
            help="The server: llama.cpp, transformers or vllm. Without it the first of these that "
            "is installed and can.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Start it, ask one question, and stop.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve a run's student, or any model, over OpenAI's protocol, with a server that exists.

    llama.cpp serves a GGUF file: RUN/student.gguf, which is made (f16) where it is missing.
    """
    from potstill.models import serving

    with_engine, model = _engine(engine), servable(target, name)
    address = serving.free_address(host, port)
    with ExitStack() as kept:
        _serve(_plan(model, with_engine, progress_for(quiet), kept), address, check=check)


def _serve(plan: _Plan, address: Address, *, check: bool) -> None:
    """Serve until Ctrl-C; with `check`, ask one question and stop."""
    from potstill.models import serving

    model = serving.served_name(plan.engine, plan.weights, plan.name)
    if check:
        with _running(plan, address):
            text = serving.ask(address, model, _QUESTION, chat=plan.chat, max_tokens=_CHECK_TOKENS)
        shown = " ".join(filter(None, (f"{len(text)} characters", nothing_said(text))))
        typer.echo(f"{plan.engine} answered one question with {shown}")
        return
    if not address.is_local:
        typer.echo(f"other machines that reach {address.host} can ask this server", err=True)
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


def _plan(model: Servable, engine: Engine | None, progress: Progress, kept: ExitStack) -> _Plan:
    """Return what to serve with what; without an engine the first that is there and can."""
    from potstill.models import serving

    chat = model.chat
    if engine is not None:
        serving.require(engine)
        return _Plan(engine, _weights(model, engine, progress, kept), model.name, chat)
    can: tuple[Engine, ...] = ("llama.cpp",) if model.directory is None else serving.ENGINES
    there = [known for known in can if serving.is_installed(known)]
    if model.directory is None:
        serving.require("llama.cpp")
    if not there:
        raise PotstillError(
            'no server is installed; run: pip install "potstill[gguf]" (llama.cpp), or '
            'pip install "transformers[serving]", or pip install vllm'
        )
    if there[0] == "llama.cpp":
        try:
            return _Plan("llama.cpp", model.as_gguf(progress, kept), model.name, chat)
        except PotstillError as error:
            if len(there) == 1:
                raise
            typer.echo(f"no GGUF file: {error}; serving with {there[1]}", err=True)
            there = there[1:]
    return _Plan(there[0], _weights(model, there[0], progress, kept), model.name, chat)


def _weights(model: Servable, engine: Engine, progress: Progress, kept: ExitStack) -> Path:
    if engine == "llama.cpp":
        return model.as_gguf(progress, kept)
    if model.directory is None:
        raise PotstillError(
            f"{model.gguf} is a GGUF file, which --with {engine} does not serve here; leave --with "
            "out for llama.cpp"
        )
    return model.directory


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
