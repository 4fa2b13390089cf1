"""Likeliest tokens as earlier versions stored them."""

from __future__ import annotations

import numpy as np

from potstill.exchanges.codecs import integers
from potstill.exchanges.targets import LikeliestTokens


def first_layout(values: LikeliestTokens) -> bytes:
    """Return likeliest tokens as earlier versions stored them, without their rest."""
    ids_RK = values.ids_RK.numpy()
    place_RK = np.arange(len(ids_RK))[:, None] * values.width + ids_RK
    bits = integers.ascending_bits(place_RK.ravel(), len(ids_RK) * values.width)
    return values.logp_RK.numpy().astype("<f2").tobytes() + integers.to_bytes(bits)
