"""With whom a group is compared: parties of the same time zone and product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# A stratum of fewer parties goes with its zone's other small ones.
STRATUM = 50


@dataclass(frozen=True)
class Strata:
    """All parties in order, each with its stratum and its zone.

    `place` says where each party stands, `zones` its zone's name.
    """

    place: Mapping[str, int]
    zones: Mapping[str, str]
    stratum_N: Ints
    zone_N: Ints

    @classmethod
    def of(cls, parties: Sequence[str], zones: Sequence[str], products: Sequence[str]) -> Strata:
        """Return the strata of parties by zone and by the product that each uses most."""
        _, stratum_N = np.unique(np.array(pooled(zones, products)), return_inverse=True)
        _, zone_N = np.unique(np.array(zones), return_inverse=True)
        place = {party: number for number, party in enumerate(parties)}
        named = dict(zip(parties, zones, strict=True))
        return cls(place, named, stratum_N.astype(np.int64), zone_N.astype(np.int64))

    def members(self, parties: Sequence[str]) -> list[int]:
        """Return the places of those parties that are known."""
        return [self.place[party] for party in parties if party in self.place]

    def wide(self, parties: Sequence[str]) -> tuple[int, ...]:
        """Return the zones whose products are one where a group is tested beside others.

        In those it is more than half of a product's parties: beside itself it would not show.
        """
        inside_S = np.bincount(self.stratum_N[self.members(parties)], minlength=len(self._size_S))
        most_S = 2 * inside_S > self._size_S
        return tuple(np.unique(self._zone_S[most_S]).tolist())

    def beside(self, wide: tuple[int, ...]) -> Ints:
        """Return the stratum of each party, with the products of some zones as one."""
        if not wide:
            return self.stratum_N
        wide_N = np.isin(self.zone_N, wide)
        return np.asarray(np.where(wide_N, len(self._size_S) + self.zone_N, self.stratum_N))

    @cached_property
    def _size_S(self) -> Ints:
        return np.asarray(np.bincount(self.stratum_N))

    @cached_property
    def _zone_S(self) -> Ints:
        zone_S = np.zeros(len(self._size_S), np.int64)
        zone_S[self.stratum_N] = self.zone_N
        return zone_S


def pooled(zone_N: Sequence[str], product_N: Sequence[str]) -> list[str]:
    """Return each party's stratum, its zone and product; a small one is its zone's rest.

    What a few use is used by a campaign's own accounts alone, beside which it would not show.
    """
    size = Counter(zip(zone_N, product_N, strict=True))
    return [
        f"{zone}|{product}" if size[zone, product] >= STRATUM else f"{zone}|"
        for zone, product in zip(zone_N, product_N, strict=True)
    ]
