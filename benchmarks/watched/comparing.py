"""`watch find` beside baselines that judge one account at a time, over the same windows.

Every baseline's threshold is set on the very innocent windows that it is judged on, so that its
false-positive rate is the one asked for, without an error of calibration: a provider has to set it
on other traffic, and gets worse. Only MMD is ranked within windows of like size, as its null is of
windows of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from watched.baselines import BASELINES
from watched.figures import upper_95
from watched.judging import Hit, WorldRow

# MMD's rate in the paper, and the hundredth part of it.
MMD_RATE = 0.003
RATES = (MMD_RATE / 100, 1e-4, 3e-4, 1e-3, MMD_RATE, 0.01, 0.03, 0.1)
HEADLINE_RATE = 26.0
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """Windows of several worlds, with whom `watch find` named: log10 of E, else -inf."""

    table: pa.Table
    named_N: NDArray[np.float64]
    account_N: NDArray[np.int64]
    """A number for each account of each world."""
    campaign_N: NDArray[np.int64]
    """The place in `campaigns`; -1 for an innocent's."""
    campaigns: tuple[tuple[int, str], ...]
    """World and name."""

    @property
    def benign_N(self) -> Flags:
        """Windows of accounts that are in no campaign."""
        return self.campaign_N < 0

    @property
    def related_N(self) -> NDArray[np.int64]:
        """Requests of each window that are its campaign's."""
        return np.asarray(self.table["related"], np.int64)

    def of(self, hits: Sequence[Hit]) -> Flags:
        """Return which windows are of these campaigns and hold some of their requests."""
        places = {name: place for place, name in enumerate(self.campaigns)}
        wanted = [places[key] for hit in hits if (key := (hit.world, hit.campaign)) in places]
        return np.isin(self.campaign_N, wanted) & (self.related_N > 0)


def joined(tables: Sequence[pa.Table], rows: Sequence[WorldRow]) -> Windows:
    """Return the windows of worlds, each with what was named in its world."""
    named, accounts, places, campaigns = [], [], [], list[tuple[int, str]]()
    first = 0
    for table, row in zip(tables, rows, strict=True):
        who = table["account_id"].combine_chunks().dictionary_encode()
        each = [row.named.get(name, -np.inf) for name in who.dictionary.to_pylist()]
        number = np.asarray(who.indices, np.int64)
        named.append(np.asarray(each, np.float64)[number])
        accounts.append(number + first)
        first += len(who.dictionary)
        of = table["campaign"].combine_chunks().dictionary_encode()
        place = [len(campaigns) + i for i in range(len(of.dictionary))]
        names = of.dictionary.to_pylist()
        coded = np.array([-1 if not name else p for name, p in zip(names, place, strict=True)])
        campaigns += [(row.world, name) for name in names]
        places.append(coded[np.asarray(of.indices, np.int64)])
    return Windows(
        pa.concat_tables(tables),
        np.concatenate(named),
        np.concatenate(accounts),
        np.concatenate(places).astype(np.int64),
        tuple(campaigns),
    )


def sizes_of(windows: Windows) -> NDArray[np.int64]:
    """Return each window's class of size: doublings of two requests."""
    asked = np.asarray(windows.table["requests"], np.int64)
    return np.floor(np.log2(asked)).astype(np.int64)


def scores_of(windows: Windows, baseline: str) -> NDArray[np.float64]:
    """Return a baseline's scores; the larger the more suspect."""
    scores = np.asarray(windows.table[baseline], np.float64)
    return _ranked(scores, sizes_of(windows), windows.benign_N) if baseline == "mmd" else scores


def _ranked(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], benign: Flags
) -> NDArray[np.float64]:
    """Return minus the share of innocent windows of like size that score as high."""
    tail = np.ones(len(scores))
    for size in np.unique(sizes):
        mine = sizes == size
        innocent = np.sort(scores[mine & benign])
        above = len(innocent) - np.searchsorted(innocent, scores[mine], "left")
        tail[mine] = above / max(len(innocent), 1)
    return -tail


def flagged(scores: NDArray[np.float64], benign: Flags, rate: float) -> Flags:
    """Return the windows above the least threshold that at most `rate` of innocent ones pass."""
    innocent = np.sort(scores[benign])[::-1]
    allowed = int(rate * len(innocent) + 1e-9)
    if allowed >= len(innocent):
        return np.ones(len(scores), bool)
    found: Flags = scores > innocent[allowed]
    return found


def populations(rows: Sequence[WorldRow]) -> dict[str, list[Hit]]:
    """Return the campaigns that recall is told of; the first are the headline."""
    hits = [hit for row in rows for hit in row.hits]
    headline = [h for h in hits if h.rate == HEADLINE_RATE and h.accounts >= 20]
    return {
        "headline": [h for h in headline if h.fair],
        "headline, any mix and families": headline,
        "all to be found": [h for h in hits if h.fair],
        "all": hits,
    }


def compared(windows: Windows, rows: Sequence[WorldRow]) -> dict[str, Any]:
    """Return recall and false positives of each baseline and of `watch find`."""
    benign, people = windows.benign_N, populations(rows)
    masks = {name: windows.of(each) for name, each in people.items()}
    judged: dict[str, Callable[[float], Flags]] = {
        name: _at(scores_of(windows, name), benign) for name in BASELINES
    }
    ours = windows.named_N > -np.inf
    false = int((ours & benign).sum())
    return {
        "benign windows": int(benign.sum()),
        "worlds": len(rows),
        "campaigns": {name: len(each) for name, each in people.items()},
        "ours": {
            "false positives": false,
            "rate": false / max(int(benign.sum()), 1),
            "rate, upper 95%": upper_95(false, float(benign.sum())),
            "recall": {name: _recall(windows, ours, mine) for name, mine in masks.items()},
            "taken together": together(windows, ours, people["all to be found"]),
            # Cases ranked by E, with thresholds set as the baselines' are.
            "roc": [
                _point(windows, flagged(windows.named_N, benign, rate) & ours, rate, masks)
                for rate in RATES
            ],
        },
        "baselines": {
            name: {
                "roc": [_point(windows, at(rate), rate, masks) for rate in RATES],
                "area under the curve": _area(scores_of(windows, name), benign, masks["headline"]),
                "taken together": together(windows, at(MMD_RATE), people["all to be found"]),
            }
            for name, at in judged.items()
        },
    }


def _at(scores: NDArray[np.float64], benign: Flags) -> Callable[[float], Flags]:
    return lambda rate: flagged(scores, benign, rate)


def _point(
    windows: Windows, flags: Flags, rate: float, masks: Mapping[str, Flags]
) -> dict[str, Any]:
    benign = windows.benign_N
    return {
        "asked for": rate,
        "rate": float((flags & benign).sum() / max(int(benign.sum()), 1)),
        "recall": {name: _recall(windows, flags, mine) for name, mine in masks.items()},
    }


def _recall(windows: Windows, flags: Flags, mine: Flags) -> float | None:
    """Return which share of the campaigns' requests in `mine` lies in flagged windows."""
    related = windows.related_N
    whole = int(related[mine].sum())
    return float(related[mine & flags].sum() / whole) if whole else None


def _area(scores: NDArray[np.float64], benign: Flags, mine: Flags) -> float | None:
    """Return the area under the curve: windows of campaigns against innocent ones."""
    if not mine.any():
        return None
    innocent = np.sort(scores[benign])
    below = np.searchsorted(innocent, scores[mine], "left")
    level = np.searchsorted(innocent, scores[mine], "right")
    return float((below + level).mean() / 2 / len(innocent))


def together(windows: Windows, flags: Flags, hits: Sequence[Hit]) -> dict[str, Any]:
    """Return what the accounts with a flagged window come to, as one set.

    A baseline makes no groups: a campaign counts as found where half of its accounts are in the
    set, and the set's precision says how many others an analyst has to look at with them.
    """
    caught, guilty = np.zeros((2, int(windows.account_N.max(initial=-1)) + 1), bool)
    caught[windows.account_N[flags]] = True
    guilty[windows.account_N[~windows.benign_N]] = True
    found = []
    for place, name in enumerate(windows.campaigns):
        members = np.unique(windows.account_N[windows.campaign_N == place])
        if name in {(hit.world, hit.campaign) for hit in hits} and len(members):
            found.append(bool(2 * caught[members].sum() >= len(members)))
    both, whole = int((caught & guilty).sum()), int(caught.sum())
    return {
        "accounts": whole,
        "of campaigns": both,
        "precision": both / whole if whole else None,
        "campaigns half of whose accounts are in": sum(found),
        "campaigns": len(found),
    }
