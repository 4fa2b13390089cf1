"""What the verbs share: options, errors as one sentence, where progress is shown."""

from __future__ import annotations

import functools
import json
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from potstill.errors import PotstillError
from potstill.progress import Progress, Silent

if TYPE_CHECKING:
    from potstill.recipe import Recipe
    from potstill.work.rundir import RunDir

P = ParamSpec("P")
# Verbs that go on where they were.
_RESUMED = ("demo", "distill", "collect", "curate", "train", "evaluate")
_MAKES_ONE = "check the name, or make one with `potstill distill RECIPE`"

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in runs/.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")]
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run directory; without it runs/NAME."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one field of the recipe, for example train.epochs=2. May be repeated.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Empty the run directory first instead of going on in it.")
]
Redo = Annotated[
    bool,
    typer.Option(
        "--redo",
        help="Let a changed recipe change a finished run: what it decides about is done again, "
        "with the answers that are stored.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results and errors only, no progress.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def handled(command: Callable[P, None]) -> Callable[P, None]:
    """Return the command with expected errors printed as one sentence, and exit codes.

    2 for a `PotstillError`, 130 after Ctrl-C. Anything else is a bug and keeps its traceback.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        debug = bool(kwargs.get("debug"))
        if not debug:
            _hush()
        try:
            command(*args, **kwargs)
        except PotstillError as error:
            if debug:
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            from potstill.durable import os_reason

            reason = os_reason(error)
            if reason is None:
                raise
            if debug:
                traceback.print_exc()
            typer.echo(f"error: {_refused(error, reason)}", err=True)
            raise typer.Exit(PotstillError.exit_code) from None
        except KeyboardInterrupt:
            if debug:
                traceback.print_exc()
            typer.echo(f"\nstopped. {go_on(sys.argv[1:])}", err=True)
            raise typer.Exit(130) from None

    return run


def _refused(error: OSError, reason: str) -> str:
    """Return in a sentence what the system refused, where nobody closer to it has said it."""
    if error.filename is None:
        what = "the system refused to read or write"
    else:
        what = f"{error.filename} cannot be used"
    return f"{what}: {reason}; mend that and run the same command again (--debug shows where)"


def no_run_yet(path: Path) -> str | None:
    """Return that a path within runs/ at which nothing is names no run; None for other paths."""
    if path.exists() or "runs" not in path.parts[:-1]:
        return None
    # The run that is meant stands right below runs/.
    root = Path(*path.parts[: path.parts.index("runs") + 2])
    if root.exists():
        return None
    return f"there is no run {root} yet; {_MAKES_ONE}"


def no_run_named(name: Path) -> str | None:
    """Return that a bare name at which nothing is, in runs/ either, names no run; else None."""
    if len(name.parts) != 1 or name.exists() or (Path("runs") / name).exists():
        return None
    return f"there is no run {name} here or in runs/; {_MAKES_ONE}"


def echo_json(value: Any) -> None:
    """Print a value as JSON, in letters that the output can show."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=not shows_all_letters()))


def shows_all_letters() -> bool:
    """Tell whether what is printed may hold any character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf")


def nothing_said(text: str) -> str:
    """Return what to show of an answer that shows nothing: that it is empty, or its white space.

    An answer that has something to see gives "".
    """
    if text.strip():
        return ""
    return f"(white space alone: {json.dumps(text, ensure_ascii=True)})" if text else "(no text)"


def go_on(arguments: list[str]) -> str:
    """Return the sentence that says how to go on after a verb with these arguments."""
    resumed = arguments[:2] == ["trace", "run"] or (arguments[:1] and arguments[0] in _RESUMED)
    if not resumed:
        return "Nothing was lost."
    again = [a for a in arguments if a not in ("--fresh", "--redo")]
    return f"What is done is saved; go on with: potstill {shlex.join(again)}"


def progress_for(quiet: bool) -> Progress:
    """Return bars on a terminal, plain lines elsewhere, nothing with --quiet; all on stderr."""
    if quiet:
        return Silent()
    from potstill.cli.progress_view import PlainProgress, RichProgress

    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return RichProgress()
    return PlainProgress()


def distil(
    path: Path,
    overrides: list[str] | None,
    out: Path | None,
    *,
    fresh: bool,
    redo: bool = False,
    until: str | None,
    quiet: bool,
    plan: Path | None = None,
) -> RunDir:
    """Read a recipe and run it, all of it or until a stage; return the run directory.

    `plan` is followed where it is given (`--plan`).
    """
    recipe = checked_recipe(path, overrides or [], out, fresh=fresh)

    from potstill.cli.minutes import clock_of
    from potstill.runs.distill import distill

    recipe, clock = clock_of(recipe, plan)
    return distill(
        recipe,
        out,
        fresh=fresh,
        redo=redo,
        until=until,
        progress=progress_for(quiet),
        clock=clock,
    )


def checked_recipe(
    path: Path, overrides: Sequence[str], out: Path | None, *, fresh: bool = False
) -> Recipe:
    """Return a recipe whose files and models are there; one that has its answers needs them less.

    Raises PotstillError before anything heavy is imported.
    """
    from potstill.recipe.io import read_recipe

    recipe = read_recipe(path, overrides)

    from potstill.work.named import check_wanted

    check_wanted(recipe, out or Path("runs") / recipe.name, fresh=fresh)
    return recipe


def _hush() -> None:
    """Keep other packages' warnings and bars out of ours; --debug shows them."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
