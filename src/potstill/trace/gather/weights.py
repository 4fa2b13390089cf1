"""Match the hidden units of two models' feed-forward blocks by their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.optimize import linear_sum_assignment

from potstill.errors import PotstillError
from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.parts import FeedForward, feed_forward_of
from potstill.trace.weights import How, Shape, WeightsItem, WeightsPlanned

Floats = NDArray[np.float32]


def plan_weights(
    parent: LoadedModel,
    suspect: LoadedModel,
    *,
    how: How = "in-place",
    configuration: str = "weights",
    units: int = 2048,
) -> WeightsPlanned:
    """Return the comparison of two models' weights.

    Raises PotstillError where they cannot be compared: a network whose feed-forward blocks are
    built in another way (a mixture of experts, say), or whose widths do not fit.
    """
    shapes = {
        what: _shape(model, what) for what, model in (("teacher", parent), ("suspect", suspect))
    }
    try:
        return WeightsPlanned(
            configuration=configuration,
            how=how,
            parent=parent.identity,
            parent_shape=shapes["teacher"],
            suspect_shape=shapes["suspect"],
            units=units,
        )
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise PotstillError(
            f"{why}; take the weights test out of the plan, or ask for agreement instead"
        ) from None


def gather_weights(
    planned: WeightsPlanned,
    parent: LoadedModel,
    suspect: LoadedModel,
    done: Sequence[WeightsItem],
    append: Callable[[WeightsItem], None],
) -> None:
    """Append an item for each pair of blocks of the plan that has none yet.

    Raises PotstillError where a network is not the one that was planned, or holds weights that are
    no numbers.
    """
    if _shape(parent, "teacher") != planned.parent_shape:
        raise PotstillError("the teacher's network is not the one of the plan; make a new plan")
    if _shape(suspect, "suspect") != planned.suspect_shape:
        raise PotstillError("the suspect's network is not the one of the plan; make a new plan")
    ours, theirs = _feed_forwards(parent, "teacher"), _feed_forwards(suspect, "suspect")
    for index, (i, j) in enumerate(planned.pairs):
        if index < len(done):
            continue
        found = _matches(
            planned,
            _rows(ours[i], f"block {i} of the teacher"),
            _rows(theirs[j], f"block {j} of the suspect"),
        )
        append(
            WeightsItem(
                index=index,
                parent_block=i,
                suspect_block=j,
                match=found[0],
                second=found[1] if len(found) > 1 else None,
            )
        )


def matched(similarity_UV: NDArray[np.floating]) -> tuple[int, ...]:
    """Return for each row the column that it matches: the assignment of greatest sum."""
    _, columns = linear_sum_assignment(similarity_UV, maximize=True)
    return tuple(int(c) for c in columns)


def _matches(
    planned: WeightsPlanned, parent: Sequence[Floats], suspect: Sequence[Floats]
) -> list[tuple[int, ...]]:
    """Return the matches of two blocks' units: by all matrices at once, or shuffled by each."""
    if planned.parent_shape.ffn == planned.suspect_shape.ffn:
        chosen = np.linspace(0, planned.parent_shape.ffn - 1, planned.matched).round().astype(int)
        parent, suspect = [m[chosen] for m in parent], [m[chosen] for m in suspect]
    narrow, wide = (suspect, parent) if len(suspect[0]) <= len(parent[0]) else (parent, suspect)
    cosines = [a @ b.T for a, b in zip(narrow, wide, strict=True)]
    if planned.how == "shuffled":
        return [matched(c) for c in cosines[:2]]
    return [matched(sum(cosines[1:], start=cosines[0]))]


def _rows(part: FeedForward, where: str) -> list[Floats]:
    """Return the weights into each hidden unit, of length 1, one matrix for each reader."""
    found = []
    for reader in part.readers:
        rows_FH = reader.weight.detach().to("cpu", torch.float32)
        rows_FH = rows_FH / rows_FH.norm(dim=1, keepdim=True).clamp_min(1e-30)
        if not bool(torch.isfinite(rows_FH).all()):
            raise PotstillError(f"{where} holds weights that are no numbers; give an intact model")
        found.append(rows_FH.numpy())
    return found


def _shape(model: LoadedModel, what: str) -> Shape:
    parts = _feed_forwards(model, what)
    first = parts[0]
    widths = {(p.channels, len(p.readers), p.readers[0].in_features) for p in parts}
    if len(widths) > 1:
        raise PotstillError(
            f"the feed-forward blocks of the {what} differ in width, and cannot be compared; take "
            "the weights test out of the plan"
        )
    return Shape(
        blocks=len(parts),
        hidden=first.readers[0].in_features,
        ffn=first.channels,
        readers=len(first.readers),
    )


def _feed_forwards(model: LoadedModel, what: str) -> list[FeedForward]:
    parts = [feed_forward_of(block) for block in blocks_of(model.network)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not known:
        raise PotstillError(
            f"the feed-forward blocks of the {what} are built in a way that potstill does not "
            "know; take the weights test out of the plan"
        )
    return known
