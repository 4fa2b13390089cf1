"""Ask for the likelihoods of a run's training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from potstill.errors import PotstillError
from potstill.models.likelihood import likelihood_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse
from potstill.progress import Step
from potstill.trace.order import OrderItem, OrderPlanned, order_positions
from potstill.work.order_secret import OrderSecret

# Rows between two appends: what a kill loses at most.
_AT_ONCE = 256


def first_equals(rows: Sequence[PromptAndResponse]) -> tuple[int, ...] | None:
    """Return for each row the first that equals it; None where no two are equal."""
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    found = tuple(
        first.setdefault((tuple(prompt), tuple(response)), i)
        for i, (prompt, response) in enumerate(rows)
    )
    return None if len(first) == len(rows) else found


def plan_order(
    rows: Sequence[PromptAndResponse],
    secret: OrderSecret,
    *,
    batch_tokens: int,
    epochs: float,
    reference: str,
    quarters: int | None = None,
    most: int | None = None,
    redraws: int = 9999,
    configuration: str = "order",
) -> OrderPlanned:
    """Return the test of a run's training rows, of which at most `most` are asked, evenly spaced.

    The others are as OrderPlanned says. Raises PotstillError where the rows' epochs do not go as
    far as `quarters`.
    """
    same_as = first_equals(rows)
    first = list(range(len(rows))) if same_as is None else sorted(set(same_as))
    count = len(first) if most is None else min(most, len(first))
    asked = tuple(first[i * len(first) // count] for i in range(count))
    if quarters is not None and not 1 <= quarters <= 4 * epochs:
        raise PotstillError(
            f"training went on for {epochs:g} epochs, and cannot have stopped after {quarters} "
            "quarters of one; state at most as many"
        )
    return OrderPlanned(
        configuration=configuration,
        secret=secret.digest,
        lengths=tuple(len(prompt) + len(response) for prompt, response in rows),
        same_as=same_as,
        asked=asked,
        batch_tokens=batch_tokens,
        epochs=epochs,
        quarters=quarters,
        redraws=redraws,
        reference=reference,
    )


def gather_order(
    planned: OrderPlanned,
    suspect: LoadedModel,
    reference: LoadedModel,
    rows: Sequence[PromptAndResponse],
    secret: OrderSecret,
    done: Sequence[OrderItem],
    append: Callable[[OrderItem], None],
    *,
    step: Step | None = None,
) -> None:
    """Append an item for each asked row of the plan that has none yet.

    `rows` are all training rows in the run's order, in ids that both models read. Raises
    PotstillError where they, or the secret, are not those of the plan.
    """
    lengths = tuple(len(prompt) + len(response) for prompt, response in rows)
    if lengths != planned.lengths or first_equals(rows) != planned.same_as:
        raise PotstillError(
            "the training rows are not those that the plan was made for; give those of the run "
            "whose order is tested"
        )
    planned.require_secret(secret)
    positions = order_positions(planned, secret).tolist()
    left = range(len(done), len(planned.asked))
    for start in range(left.start, left.stop, _AT_ONCE):
        indices = range(start, min(left.stop, start + _AT_ONCE))
        texts = [rows[planned.asked[i]] for i in indices]
        scores = [-likelihood_of(model, texts).nll for model in (suspect, reference)]
        for at, i in enumerate(indices):
            append(
                OrderItem(
                    index=i,
                    row=planned.asked[i],
                    score=float(scores[0][at]),
                    reference=float(scores[1][at]),
                    position=None if positions[i] < 0 else positions[i],
                )
            )
        if step is not None:
            step.advance(len(indices))
