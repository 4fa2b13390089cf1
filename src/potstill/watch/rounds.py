"""Whether accounts that act at the same moments do so each on a subject of its own.

A feed that many follow, an exercise that is read out, an outage: what happens makes strangers with
the same client act together, and on the same thing. A hand that deals work out makes them act
together on different things.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Pairs that have to be there to say anything, and how much more alike they may be than others.
_PAIRS, _MORE = 20, 0.1


def on_their_own(party_R: Ints, bin_R: Ints, slots_RS: NDArray[np.uint16]) -> bool:
    """Tell whether requests of different parties in one bin of time are no more alike than others.

    `slots_RS` are the prompts' sketches. Neighbours in a bin are compared, and each with the
    request half of all further on; how alike they are is the share of slots that agree. False
    where there are too few to say.
    """
    order = np.lexsort((party_R, bin_R))
    party_R, bin_R, slots_RS = party_R[order], bin_R[order], slots_RS[order]

    def alike(step: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        other = np.roll(np.arange(len(order)), -step)
        differ = party_R != party_R[other]
        return differ, (slots_RS == slots_RS[other]).mean(1)

    if len(order) < 2 * _PAIRS:
        return False
    differ, near_R = alike(1)
    together = differ & (bin_R == np.roll(bin_R, -1))
    apart, far_R = alike(len(order) // 2)
    apart &= bin_R != np.roll(bin_R, -(len(order) // 2))
    if together.sum() < _PAIRS or apart.sum() < _PAIRS:
        return False
    return bool(near_R[together].mean() <= far_R[apart].mean() + _MORE)
