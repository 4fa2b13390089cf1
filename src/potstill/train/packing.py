"""Several exchanges a row: how rows are filled, laid out, and kept apart.

Positions restart at every exchange. From that alone transformers sees where one ends, and masks
all others away, inside a sliding window too. An architecture that mixes tokens in another way
(a recurrent state, positions of its own) would not, so the model is asked before it is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.score import padded
from potstill.train.compute import ComputeBody
from potstill.train.examples import TrainingExample

# FlexAttention works on blocks of this many tokens.
_FLEX_BLOCK = 128
# How many widths there may be, so that a GPU compiles for few of them.
_FLEX_WIDTHS = 4
# Tokens of a row where the mask of a row is formed.
_SHORT_ROW = 512
# What another exchange in the row may change about a state, for rounding: experts, for example,
# multiply the tokens of all exchanges together. A leak changes a tenth and more.
_ROUNDING = 0.02


@dataclass(frozen=True)
class RowShape:
    """How many tokens a row takes (0: one example a row), and what its width is a multiple of."""

    tokens: int = 0
    multiple: int = 1


@dataclass(frozen=True)
class LaidOutRows:
    """Examples as the student reads them, each in one piece.

    `ids_BT` is filled up on the right. `positions_BT` restarts at every example, and is None where
    no row holds two. `predicts_N2` is the (row, column) that predicts each response token, and
    `label_N` its id, in the examples' order.
    """

    ids_BT: Tensor
    positions_BT: Tensor | None
    predicts_N2: Tensor
    label_N: Tensor

    def to(self, device: torch.device) -> LaidOutRows:
        """Return them on a device."""
        positions_BT = self.positions_BT
        return LaidOutRows(
            ids_BT=self.ids_BT.to(device),
            positions_BT=None if positions_BT is None else positions_BT.to(device),
            predicts_N2=self.predicts_N2.to(device),
            label_N=self.label_N.to(device),
        )


def laid_out(rows: Sequence[Sequence[TrainingExample]], multiple: int = 1) -> LaidOutRows:
    """Return rows of examples as tensors, their width a multiple of `multiple`."""
    texts = [[i for e in row for i in (*e.prompt_ids, *e.response_ids)] for row in rows]
    # A filler is an exchange of its own at position 0, which every model has.
    places = [[p for e in row for p in range(e.length)] for row in rows]
    predicting: list[Tensor] = []
    for b, row in enumerate(rows):
        start = 0
        for e in row:
            first = start + len(e.prompt_ids) - 1
            column_R = torch.arange(first, first + len(e.response_ids))
            predicting.append(torch.stack([torch.full_like(column_R, b), column_R], dim=-1))
            start += e.length
    packed = any(len(row) > 1 for row in rows)
    return LaidOutRows(
        ids_BT=padded(texts, multiple=multiple),
        positions_BT=padded(places, multiple=multiple) if packed else None,
        predicts_N2=torch.cat(predicting),
        label_N=torch.tensor([i for row in rows for e in row for i in e.response_ids]),
    )


def row_shape(
    packing: Literal["auto", "buckets", "packed"],
    body: ComputeBody,
    *,
    longest: int,
    micro_batch_tokens: int,
) -> RowShape:
    """Return how rows are filled, and have the body attend in the way that goes with it.

    `auto` packs on CUDA. With FlexAttention a row is a whole micro-batch; elsewhere the mask
    costs the square of a row, so rows are short. Raises PotstillError where packing is asked for
    and the model would let the exchanges of a row see one another.
    """
    on_cuda = body.device.type == "cuda"
    if packing == "buckets" or (packing == "auto" and not on_cuda):
        return RowShape()
    # There FlexAttention is compiled by triton; uncompiled it would form the whole mask.
    flex = on_cuda and find_spec("triton") is not None and body.use_flex_attention()
    shape = _flex_rows(max(longest, micro_batch_tokens)) if flex else _short_rows(longest)
    if keeps_apart(body, _FLEX_BLOCK if flex else 1):
        return shape
    if packing == "packed":
        raise PotstillError(
            "this student cannot read several exchanges in one row, since each would see the "
            "others; set train.packing to buckets"
        )
    body.use_plain_attention()
    return RowShape()


def _short_rows(longest: int) -> RowShape:
    return RowShape(tokens=max(longest, _SHORT_ROW))


def _flex_rows(tokens: int) -> RowShape:
    """Return rows of a few widths only: for each other one, masks and kernels are made anew."""
    blocks = math.ceil(tokens / _FLEX_BLOCK)
    return RowShape(tokens, multiple=_FLEX_BLOCK * math.ceil(blocks / _FLEX_WIDTHS))


def keeps_apart(body: ComputeBody, multiple: int = 1) -> bool:
    """Return whether an exchange in a row reads the same whatever else is in the row."""
    if not body.takes_positions:
        return False
    fillings = [(1, 2, 3, 4, 5), (6, 7, 8, 9, 10)]
    own = TrainingExample("", (11, 12, 13), (14, 15, 16))
    states = []
    for ids in fillings:
        rows = laid_out([[TrainingExample("", ids, ()), own]], multiple).to(body.device)
        with torch.no_grad():
            hidden_BTD = body.hidden(rows.ids_BT, rows.positions_BT)
        states.append(hidden_BTD[0, len(ids) : len(ids) + own.length].float())
    one_TD, other_TD = states
    return bool((one_TD - other_TD).norm() <= _ROUNDING * one_TD.norm())
