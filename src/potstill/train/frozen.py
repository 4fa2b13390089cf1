"""Frozen blocks computed once: what they make of an example is kept for the later epochs.

Only where it stays the same. An embedding that is also the head goes on learning as the head, and
what the blocks are given changes with it: there they are computed anew, as they are where there is
dropout before the first trained block, or not enough memory. Later blocks may take more from
earlier ones than their states (keys, say): so what is kept is tried once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from potstill.train.compute import ComputeBody
from potstill.train.examples import TrainingExample
from potstill.train.packing import LaidOutRows

# Nothing is kept where all states together would take more than this.
_KEEP_BYTES = 2 * 2**30
# How far states may lie apart by their own size: the same sums, in another order at most.
_ROUNDING = 1e-2


class FrozenStates:
    """The final hidden states of rows, without going through frozen blocks a second time.

    `read` is all that is trained on, as often as it is; nothing where that is not known.
    """

    def __init__(self, body: ComputeBody, read: Sequence[TrainingExample]) -> None:
        self._body = body
        self._known: dict[TrainingExample, Tensor] = {}
        different = set(read)
        again = len(read) > len(different)
        tokens = sum(example.length for example in different) if again else 0
        self.bytes = tokens * body.bytes_a_token
        self.wanted = again and body.enters_the_same
        self.keeps = self.wanted and self.bytes <= _KEEP_BYTES
        self._tried = False

    def note(self) -> str | None:
        """Return what to say of states that would be kept if there were room for them."""
        if not self.wanted or self.keeps:
            return None
        return (
            f"train: what the frozen blocks give would take {self.bytes / 2**30:.1f} GiB, more "
            f"than {_KEEP_BYTES / 2**30:.0f}, and is computed anew in each epoch"
        )

    def hidden(self, rows: LaidOutRows, laid: Sequence[Sequence[TrainingExample]]) -> Tensor:
        """Return hidden_BTD of rows that hold these examples."""
        ids_BT, positions_BT = rows.ids_BT, rows.positions_BT
        if not self.keeps:
            return self._body.hidden(ids_BT, positions_BT)
        places = _places(laid)
        if any(example not in self._known for example, _, _ in places):
            hidden_BTD, entry_BTD = self._body.hidden_and_entry(ids_BT, positions_BT)
            if entry_BTD is None:
                self.keeps = False
                return hidden_BTD
            for example, row, columns in places:
                self._known[example] = entry_BTD[row, columns].clone()
            return hidden_BTD
        first = self._known[places[0][0]]
        # What fills a row up is seen by nobody.
        entry_BTD = first.new_zeros(*ids_BT.shape, first.shape[-1])
        for example, row, columns in places:
            entry_BTD[row, columns] = self._known[example]
        if not self._tried:
            self._tried = True
            self.keeps = self._enough(rows, entry_BTD, places)
        if not self.keeps:
            self._known.clear()
            return self._body.hidden(ids_BT, positions_BT)
        return self._body.hidden(ids_BT, positions_BT, entry_BTD)

    @torch.no_grad()
    def _enough(self, rows: LaidOutRows, entry_BTD: Tensor, places: Sequence[_Place]) -> bool:
        """Tell whether what is kept gives the states that the whole body gives."""
        own_BTD = self._body.hidden(rows.ids_BT, rows.positions_BT)
        try:
            found_BTD = self._body.hidden(rows.ids_BT, rows.positions_BT, entry_BTD)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:  # whatever a network makes of blocks that did not run
            return False
        own_ND, found_ND = (
            torch.cat([states[row, columns] for _, row, columns in places]).float()
            for states in (own_BTD, found_BTD)
        )
        return bool((own_ND - found_ND).norm() <= _ROUNDING * own_ND.norm())


_Place = tuple[TrainingExample, int, slice]


def _places(laid: Sequence[Sequence[TrainingExample]]) -> list[_Place]:
    """Return each example with its row and columns."""
    found = []
    for number, row in enumerate(laid):
        start = 0
        for example in row:
            found.append((example, number, slice(start, start + example.length)))
            start += example.length
    return found
