"""`potstill chat`: the student beside its teacher, line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Quiet, handled, no_run_yet, nothing_said, progress_for
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.models.loaded import LoadedModel

_HELP = "Type a message; /new forgets the talk so far, /quit (or Ctrl-D) leaves."


@dataclass
class Talker:
    """One model with its own memory of the talk, and how it reasoned before its last answer."""

    name: str
    model: LoadedModel
    messages: list[dict[str, str]] = field(default_factory=list)
    reasoning: str | None = None


@dataclass(frozen=True)
class Manner:
    """How answers are drawn."""

    max_tokens: int
    temperature: float
    seed: int


@handled
def chat(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="A run directory (student beside its teacher), or any model that a recipe takes.",
        ),
    ],
    once: Annotated[
        str | None, typer.Option("--once", metavar="TEXT", help="Answer one message and leave.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="System message.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")
    ] = 128,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 is greedy.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sampling.")] = 0,
    teacher: Annotated[
        bool, typer.Option("--teacher/--no-teacher", help="Let the teacher answer too.")
    ] = True,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Talk to a student beside its teacher, or to any model."""
    talkers = _talkers(target, with_teacher=teacher, quiet=quiet)
    manner = Manner(max_tokens, temperature, seed)
    start = [{"role": "system", "content": system}] if system else []
    for talker in talkers:
        talker.messages = list(start)
    if once is not None:
        if not once.strip():
            raise PotstillError("--once has no text; give the message to answer")
        _exchange(talkers, once, manner)
        return
    if sys.stdin.isatty() and not quiet:
        typer.echo(_HELP, err=True)
    for line in _lines():
        if line in ("/quit", "/exit"):
            return
        if line == "/new":
            for talker in talkers:
                talker.messages = list(start)
        elif line:
            try:
                _exchange(talkers, line, manner)
            except PotstillError as error:
                typer.echo(f"error: {error}", err=True)


def answer(talker: Talker, text: str, manner: Manner) -> str:
    """Return a model's answer to one more message, and remember both.

    Raises PotstillError where the talk has outgrown the model's context, and for bytes that are
    no text.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise PotstillError(
            "the message holds bytes that are no text in the terminal's encoding; write it again, "
            "or set PYTHONIOENCODING to the encoding that it has"
        )
    from potstill.models.chat import prompt_ids, reply_of
    from potstill.models.generate import Request, decode
    from potstill.models.load import context_length
    from potstill.models.sampling import Sampling

    asked = [*talker.messages, {"role": "user", "content": text}]
    ids = prompt_ids(talker.model, asked)
    room = context_length(talker.model) - len(ids)
    if room < 1:
        raise PotstillError(
            f"the talk no longer fits into the {talker.name}'s context; start anew with /new"
        )
    sampling = Sampling(
        temperature=manner.temperature,
        max_tokens=min(manner.max_tokens, room),
        seed=manner.seed,
    )
    request = Request(key=f"chat-{manner.seed}-{len(asked)}", prompt_ids=tuple(ids))
    done = [c for batch in decode(talker.model, [request], sampling, slots=1) for c in batch]
    reply = reply_of(talker.model, done[0].token_ids)
    talker.messages = [*asked, {"role": "assistant", "content": reply.text}]
    talker.reasoning = reply.reasoning
    return reply.text


def _exchange(talkers: list[Talker], text: str, manner: Manner) -> None:
    from rich.console import Console
    from rich.text import Text

    from potstill.report.tables import clean

    console = Console(highlight=False, soft_wrap=True)
    for talker in talkers:
        response = answer(talker, text, manner)
        silent = nothing_said(response)
        shown = Text(f"{talker.name}: ", style="bold")
        if talker.reasoning:
            shown.append(Text(f"({clean(talker.reasoning).strip()})\n", style="dim"))
        said = Text(silent, style="dim") if silent else Text(clean(response).strip(), style="none")
        console.print(shown.append(said))


def _talkers(target: str, *, with_teacher: bool, quiet: bool) -> list[Talker]:
    models = _models_of(target, with_teacher=with_teacher)
    progress = progress_for(quiet)
    talkers = []
    for name, loaded in models:
        with progress.step(f"load {name}"):
            talkers.append(Talker(name, loaded()))
    return talkers


def _models_of(target: str, *, with_teacher: bool) -> list[tuple[str, Callable[[], LoadedModel]]]:
    """Return the name and the loader of each model that answers."""
    from potstill.models.load import load

    run = _run_of(target)
    if run is None:
        missing = no_run_yet(Path(target).expanduser())
        if missing is not None:
            raise PotstillError(missing)
        return [("model", partial(load, target))]
    from potstill.recipe.io import read_recipe
    from potstill.work.run_recipe import RECIPE_FILE

    student = run / "student"
    if not (student / "config.json").is_file():
        raise PotstillError(
            f"{run} has no finished student yet; `potstill show {run}` says how to go on"
        )
    recipe = read_recipe(run / RECIPE_FILE)
    here = partial(load, device=recipe.device, precision=recipe.precision)
    models: list[tuple[str, Callable[[], LoadedModel]]] = [("student", partial(here, str(student)))]
    if with_teacher:
        stated = recipe.teacher
        loader = partial(
            here,
            stated.model,
            revision=stated.revision,
            trust_remote_code=stated.trust_remote_code,
            template_arguments=stated.template_arguments,
        )
        models.append(("teacher", loader))
    return models


def _run_of(target: str) -> Path | None:
    """Return the run that a directory, a run's name, or a student inside a run stands for."""
    from potstill.work.run_recipe import RECIPE_FILE

    path = Path(target).expanduser()
    for root in (path, Path("runs") / path, path.parent if path.name == "student" else path):
        if (root / RECIPE_FILE).is_file():
            return root
    return None


def _lines() -> Iterator[str]:
    """Yield what the user types, until the end of input."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            yield input(prompt).strip()
        except EOFError:
            return
