"""The exact law of a sum of whole numbers whose signs are fair coins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def sign_flip_law(sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the chances of the sums of +-|size|: the sum at index k is 2 k minus all sizes.

    By convolution, so that every entry is a sum of positive terms. Sizes of 0 change nothing.
    """
    law = np.ones(1)
    for size in sorted(abs(s) for s in sizes if s):
        wider = np.zeros(len(law) + size)
        wider[: len(law)] = 0.5 * law
        wider[size:] += 0.5 * law
        law = wider
    return law


def sign_flip_p(differences: Sequence[int]) -> float:
    """Return P(sum of sign times |difference| >= the sum as it is): the one-sided exact p-value.

    1 where there are no differences, or none but 0. Below the smallest float64 it is 2^-n, which
    is the least that n differences can give.
    """
    moving = [d for d in differences if d]
    law = sign_flip_law(moving)
    # sum = 2 k - total of sizes
    least = (sum(moving) + sum(map(abs, moving))) // 2
    return min(1.0, max(float(law[least:].sum()), math.ldexp(1.0, -min(len(moving), 1074))))
