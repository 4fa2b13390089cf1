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
OURS = "watch find"
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """Windows of several worlds, with whom `watch find` named."""

    table: pa.Table
    world_N: NDArray[np.int64]
    named_N: Flags
    campaign: tuple[str, ...]
    """World and campaign of a window; "" for an innocent's."""
    account: tuple[str, ...]

    @property
    def benign_N(self) -> Flags:
        """Windows of accounts that are in no campaign."""
        return np.array([name == "" for name in self.campaign], bool)

    @property
    def related_N(self) -> NDArray[np.int64]:
        """Requests of each window that are its campaign's."""
        return np.asarray(self.table["related"], np.int64)

    def of(self, hits: Sequence[Hit]) -> Flags:
        """Return which windows are of these campaigns and hold some of their requests."""
        names = {f"{hit.world}:{hit.campaign}" for hit in hits}
        return np.array([name in names for name in self.campaign], bool) & (self.related_N > 0)


def joined(tables: Sequence[pa.Table], rows: Sequence[WorldRow]) -> Windows:
    """Return the windows of worlds, each with what was named in its world."""
    campaign, account, named, world = list[str](), list[str](), list[bool](), list[int]()
    for table, row in zip(tables, rows, strict=True):
        caught = set(row.named)
        for one, of in zip(
            table["account_id"].to_pylist(), table["campaign"].to_pylist(), strict=True
        ):
            campaign.append(f"{row.world}:{of}" if of else "")
            account.append(f"{row.world}:{one}")
            named.append(one in caught)
            world.append(row.world)
    return Windows(
        pa.concat_tables(tables),
        np.array(world, np.int64),
        np.array(named, bool),
        tuple(campaign),
        tuple(account),
    )


def sizes_of(windows: Windows) -> NDArray[np.int64]:
    """Return each window's class of size: doublings of two requests."""
    asked = np.asarray(windows.table["requests"], np.int64)
    return np.floor(np.log2(asked)).astype(np.int64)


def scores_of(windows: Windows, baseline: str) -> NDArray[np.float64]:
    """Return a baseline's scores; the larger the more suspect."""
    scores = np.asarray(windows.table[baseline], np.float64)
    return _ranked(scores, sizes_of(windows), windows.benign_N) if baseline == "mmd" else scores


def _ranked(scores: NDArray[np.float64], sizes: NDArray[np.int64], benign: Flags) -> Any:
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
    judged: dict[str, Callable[[float], Flags]] = {
        name: _at(scores_of(windows, name), benign) for name in BASELINES
    }
    ours = windows.named_N
    false = int((ours & benign).sum())
    return {
        "benign windows": int(benign.sum()),
        "worlds": len(rows),
        "campaigns": {name: len(each) for name, each in people.items()},
        "ours": {
            "false positives": false,
            "rate": false / max(int(benign.sum()), 1),
            "rate, upper 95%": upper_95(false, float(benign.sum())),
            "recall": {name: _recall(windows, ours, each) for name, each in people.items()},
            "taken together": together(windows, ours, people["all to be found"]),
        },
        "baselines": {
            name: {
                "roc": [_point(windows, at(rate), rate, people) for rate in RATES],
                "area under the curve": _area(windows, name, people["headline"]),
                "taken together": together(windows, at(MMD_RATE), people["all to be found"]),
            }
            for name, at in judged.items()
        },
    }


def _at(scores: NDArray[np.float64], benign: Flags) -> Callable[[float], Flags]:
    return lambda rate: flagged(scores, benign, rate)


def _point(
    windows: Windows, flags: Flags, rate: float, people: Mapping[str, Sequence[Hit]]
) -> dict[str, Any]:
    benign = windows.benign_N
    return {
        "asked for": rate,
        "rate": float((flags & benign).sum() / max(int(benign.sum()), 1)),
        "recall": {name: _recall(windows, flags, each) for name, each in people.items()},
    }


def _recall(windows: Windows, flags: Flags, hits: Sequence[Hit]) -> float | None:
    """Return which share of the campaigns' requests lies in flagged windows."""
    mine, related = windows.of(hits), windows.related_N
    whole = int(related[mine].sum())
    return float(related[mine & flags].sum() / whole) if whole else None


def _area(windows: Windows, baseline: str, hits: Sequence[Hit]) -> float | None:
    """Return the area under the curve: windows of campaigns against innocent ones."""
    scores, benign, mine = scores_of(windows, baseline), windows.benign_N, windows.of(hits)
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
    account = np.array(windows.account)
    caught = set(account[flags])
    guilty = set(account[~windows.benign_N])
    campaigns: dict[str, set[str]] = {}
    for name, one in zip(windows.campaign, windows.account, strict=True):
        campaigns.setdefault(name, set()).add(one)
    found = [
        len(members & caught) * 2 >= len(members)
        for hit in hits
        if (members := campaigns.get(f"{hit.world}:{hit.campaign}"))
    ]
    return {
        "accounts": len(caught),
        "of campaigns": len(caught & guilty),
        "precision": len(caught & guilty) / len(caught) if caught else None,
        "campaigns half of whose accounts are in": sum(found),
        "campaigns": len(found),
    }
