"""Parties by time zone and product: whom a group is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from potstill.watch.campaigns import Grouping
from potstill.watch.nulls import Askers, CommonValues, PlacedBet, SharedValues

Ints = NDArray[np.int64]
# A stratum of fewer parties goes with its zone's other small ones.
STRATUM = 50


@dataclass(frozen=True)
class Strata:
    """All parties, in order: the place of each, its stratum, and its zone."""

    place: dict[str, int]
    stratum_N: Ints
    zone_N: Ints
    zones: Mapping[str, str]

    @classmethod
    def of(cls, parties: Sequence[str], zones: Sequence[str], products: Sequence[str]) -> Strata:
        """Return the strata of parties, of each one's time zone and the product it uses most."""
        _, stratum_N = np.unique(np.array(_pooled(zones, products)), return_inverse=True)
        _, zone_N = np.unique(np.array(zones), return_inverse=True)
        place = {party: number for number, party in enumerate(parties)}
        return cls(
            place,
            stratum_N.astype(np.int64),
            zone_N.astype(np.int64),
            dict(zip(parties, zones, strict=True)),
        )

    def members(self, group: Grouping) -> list[int]:
        """Return the places of a group's parties."""
        return [self.place[party] for party in group.parties if party in self.place]

    def _wide(self, group: Grouping) -> tuple[int, ...]:
        """Return the zones all of whose products are one, beside which a group is tested.

        Where the group is more than half of a product's parties in a zone, it would not show
        beside itself alone.
        """
        inside_S = np.bincount(self.stratum_N[self.members(group)], minlength=len(self.size_S))
        return tuple(np.unique(self.zone_S[2 * inside_S > self.size_S]).tolist())

    def _strata(self, wide: tuple[int, ...]) -> Ints:
        """Return the stratum of each party, where some zones' products are one."""
        wide_N = np.isin(self.zone_N, wide)
        return np.asarray(np.where(wide_N, len(self.size_S) + self.zone_N, self.stratum_N))

    @cached_property
    def size_S(self) -> Ints:
        """How many parties each stratum has."""
        return np.bincount(self.stratum_N)

    @cached_property
    def zone_S(self) -> Ints:
        """The zone of each stratum."""
        zone_S = np.zeros(len(self.size_S), np.int64)
        zone_S[self.stratum_N] = self.zone_N
        return zone_S

    def sharing_bets(self, value_N: Ints) -> Callable[[Grouping], PlacedBet | None]:
        """Return a function to the bet on what a group shares; what groups have in common of it
        is found once."""
        known = cache(lambda wide: SharedValues.of(self._strata(wide), value_N))
        return lambda group: known(self._wide(group)).log_e(self.members(group))

    def asking_bets(self, asks_N: Ints) -> Callable[[Grouping], PlacedBet | None]:
        """Return the same of the parties of a group that ask so (1, 0, or -1 for not known)."""
        known = cache(lambda wide: Askers.of(self._strata(wide), asks_N))
        return lambda group: known(self._wide(group)).log_e(self.members(group))

    def common_bets(self, value_N: Ints) -> Callable[[Grouping], PlacedBet | None]:
        """Return a function to the bet on values that very many have (`common_log_e`)."""
        known = cache(lambda wide: CommonValues.of(self._strata(wide), value_N))
        return lambda group: known(self._wide(group)).log_e(self.members(group))


def _pooled(zone_N: Sequence[str], product_N: Sequence[str]) -> list[str]:
    """Return each party's stratum, its zone and product; a small one is its zone's rest.

    What a few use is used by a campaign's own accounts alone, beside which it would not show.
    """
    size = Counter(zip(zone_N, product_N, strict=True))
    return [
        f"{zone}|{product}" if size[zone, product] >= STRATUM else f"{zone}|"
        for zone, product in zip(zone_N, product_N, strict=True)
    ]
