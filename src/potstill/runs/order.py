"""What the order of a run's training is drawn from: a secret that the run keeps."""

from __future__ import annotations

from pathlib import Path

from potstill.errors import PotstillError
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.work.order_secret import (
    SECRET_FILE,
    OrderSecret,
    new_secret,
    read_order_secret,
    write_order_secret,
)
from potstill.work.records import TrainingOrder
from potstill.work.rundir import RunDir
from potstill.work.step_plan import Order, PublicOrder, SecretOrder
from potstill.work.workdir import STATE


def order_of(run: RunDir, recipe: Recipe, progress: Progress) -> Order:
    """Return what the run's orders are drawn from; a run that has no secret yet gets one.

    A training that was begun before there were secrets goes on in the order of its seed, and says
    so. Raises PotstillError where a begun training's secret is gone, or the recipe names another.
    """
    known, given = run.done(TrainingOrder), stated_secret(recipe)
    if training_begun(run.root):
        if known is None:
            return _order_of_the_seed(run, recipe, given, progress)
        _refuse_another(run, known, given)
    path = run.root / SECRET_FILE
    kept = read_order_secret(path) if path.is_file() else None
    secret = given or kept or new_secret()
    if kept != secret:
        path.unlink(missing_ok=True)
        write_order_secret(path, secret)
    if known is None or known.secret != secret.digest:
        # After the file: a kill in between leaves a secret that is taken the next time.
        run.finish(TrainingOrder(secret=secret.digest))
    return SecretOrder(secret)


def training_begun(root: Path) -> bool:
    """Tell whether a run's training has begun, which other answers would have begin anew."""
    return (root / "checkpoints").is_dir() or (root / STATE / "train.json").is_file()


def stated_secret(recipe: Recipe) -> OrderSecret | None:
    """Return the secret that a recipe names, if it names one. Raises PotstillError for no such."""
    if recipe.train.order_secret is None:
        return None
    try:
        return read_order_secret(Path(recipe.train.order_secret))
    except PotstillError as error:
        raise PotstillError(f"train.order_secret: {error}") from error


def _order_of_the_seed(
    run: RunDir, recipe: Recipe, given: OrderSecret | None, progress: Progress
) -> PublicOrder:
    if given is not None:
        raise PotstillError(
            f"the training in {run.root} has begun in the order of its seed, and "
            "train.order_secret would be another; leave it out, or start over with --fresh"
        )
    progress.note(
        "train: this training was begun before orders were drawn from a secret, and goes on in the "
        "order of its seed, which tells nobody who descends from it"
    )
    return PublicOrder(recipe.seed)


def _refuse_another(run: RunDir, known: TrainingOrder, given: OrderSecret | None) -> None:
    """Refuse to go on with a training in an order that is not the one that it was begun in."""
    path = run.root / SECRET_FILE
    if given is None and not path.is_file():
        raise PotstillError(
            f"{path} is gone, and the training cannot go on in its order without that secret; "
            "bring it back from a copy, or start over with --fresh"
        )
    what, secret = (
        (path, read_order_secret(path)) if given is None else ("train.order_secret", given)
    )
    if secret.digest != known.secret:
        raise PotstillError(
            f"{what} is not the secret that the training in {run.root} was begun with (its digest "
            f"is {secret.digest}, recorded was {known.secret}); bring that one back, or start over "
            "with --fresh"
        )
