"""Parties whose clients ask alike: groups by keys, what a client has hard-coded in its requests.

A key is a request's settings with its system message, its first words or its last words
(`template_keys`). On one side of a graph stand parties, on the other keys; keys of fewer than
`LEAST_PARTIES` parties, or of very many, join nobody. Two keys belong together if they have parties
in common: three or more, four times as many as strangers would have, and a cosine (of the sets of
their parties) of 0.15. What hangs together so is a group's keys, unless it hangs together by a few
parties alone: where the mean cosine is less than 0.08, ties have to be stronger (0.25, 0.35, 0.5).
Where it is less than 0.2, what stronger ties hold together inside is a group beside the whole.
Groups with two settings in common, as of a client without a system message that asks in several
languages, are a group together beside themselves. Members are the parties that used two of the keys
or more, and an eighth of what a typical member used, each key weighed by how many parties have it.
A party's other requests weigh nothing, so that ordinary traffic beside a template hides it from
nobody.

All of that hangs on which keys a party used, on no day, no moment and no link.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from potstill.watch.campaigns import LEAST_PARTIES, Grouping

Ints = NDArray[np.int64]

# Ties between keys: cosines in hundredths, parties in common, and times what strangers would have.
_TIES, _COMMON, _LIFT = (15, 25, 35, 50), 3, 4
# Between the settings in a key and what else is in it.
SEPARATOR = "\n"
_LOOSE, _DENSE = 0.08, 0.2
# Keys and requests of a group that make a member, and its part of a typical one's keys.
_KEYS, _REQUESTS, _PART = 2, 2, 8
# Uses of pairs of keys that are counted at once.
_PAIRS = 8_000_000
# Settings of a group, and groups with two settings in common, that may be one.
_TOGETHER = 8


def key_groups(
    parties: Sequence[str], keys: Sequence[str], party_E: Ints, key_E: Ints, n_E: Ints, every: int
) -> list[Grouping]:
    """Return the groups that E uses make: places of a party and a key, and how often it was used.

    `parties` and `keys` are sorted; a key's first letter says of which sort it is, of which a
    request has one of each. `every` counts all parties that there are.
    """
    if not len(keys):
        return []
    # What a quarter of all have is nobody's.
    rare = _LIFT * np.bincount(key_E, minlength=len(keys))[key_E] <= every
    places = (key_E[rare], party_E[rare])
    asked_KP = csr_array((n_E[rare], places), shape=(len(keys), len(parties))).tocsr()
    _, sort_K = np.unique([key[0] for key in keys], return_inverse=True)
    found = []
    for mine in _parts(asked_KP, every):
        members, used = _members(asked_KP, sort_K, mine)
        if len(members) >= LEAST_PARTIES:
            found.append(
                Grouping(
                    parties=tuple(parties[one] for one in members.tolist()),
                    keys=tuple(keys[one] for one in mine.tolist()),
                    used=tuple(used.tolist()),
                    close=_mean_cosine(asked_KP, mine) >= _DENSE,
                )
            )
    found += _with_settings(found)
    return _differing(sorted(found, key=lambda one: (-len(one.parties), one.parties, one.keys)))


def _differing(groups: Sequence[Grouping]) -> list[Grouping]:
    """Return groups without those nine tenths of whose parties make nine tenths of an earlier
    one."""
    of_party: dict[str, list[int]] = defaultdict(list)
    found: list[Grouping] = []
    for group in groups:
        counts = Counter(number for party in group.parties for number in of_party[party])
        size = len(group.parties)
        if any(10 * n >= 9 * max(size, len(found[one].parties)) for one, n in counts.items()):
            continue
        for party in group.parties:
            of_party[party].append(len(found))
        found.append(group)
    return sorted(found, key=lambda one: (one.parties, one.keys))


def _members(asked_KP: csr_array, sort_K: Ints, mine: Ints) -> tuple[Ints, Ints]:
    """Return the members of the group of some keys, and how much each used these: a key counts as
    many parties as have it, so that what few use makes nobody a member of what many do."""
    part = asked_KP[mine]
    count = np.diff(part.indptr)
    if not len(part.data):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    parties, party = np.unique(part.indices, return_inverse=True)
    sort = np.repeat(sort_K[mine], count)
    size = len(parties)
    keys_P = np.bincount(party, minlength=size)
    # Whole numbers, which are exact.
    used_P = np.bincount(party, weights=np.repeat(count, count), minlength=size).astype(np.int64)
    # A request has a key of each sort.
    asked_SP = [
        np.bincount(party, weights=np.where(sort == one, part.data, 0), minlength=size)
        for one in np.unique(sort).tolist()
    ]
    may_P = (keys_P >= min(_KEYS, len(mine))) & (np.max(asked_SP, axis=0) >= _REQUESTS)
    # What the member that a use is of has, on average: a few odd users do not count.
    some = used_P[may_P].astype(np.float64)
    typical = (some**2).sum() / max(some.sum(), 1)
    may_P &= _PART * used_P >= typical
    return parties[may_P].astype(np.int64), used_P[may_P]


def settings_of(keys: Sequence[str]) -> list[str]:
    """Return the settings that are in keys, sorted."""
    return sorted({key.split(SEPARATOR)[0][2:] for key in keys})


def _with_settings(groups: Sequence[Grouping]) -> list[Grouping]:
    """Return groups of two or more each that have two settings in common.

    A client without a system message that asks in several languages has no key in all of them. One
    settings alone are those of many clients.
    """
    of_pair: dict[tuple[str, str], list[Grouping]] = defaultdict(list)
    for group in groups:
        settings = settings_of(group.keys)
        if len(settings) <= _TOGETHER:
            for pair in itertools.combinations(settings, 2):
                of_pair[pair].append(group)
    found = []
    for _, mine in sorted(of_pair.items(), key=lambda one: one[0]):
        if 1 < len(mine) <= _TOGETHER:
            used: Counter[str] = Counter()
            for group in mine:
                used.update(dict(zip(group.parties, group.used, strict=True)))
            parties = tuple(sorted(used))
            keys = tuple(sorted({key for group in mine for key in group.keys}))
            each = tuple(used[party] for party in parties)
            found.append(Grouping(parties=parties, keys=keys, used=each))
    return found


@dataclass(frozen=True)
class _Ties:
    """Pairs of keys with parties in common, each once."""

    one_T: NDArray[np.int32]
    other_T: NDArray[np.int32]
    hundredths_T: NDArray[np.float32]


_NO_TIES = _Ties(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


def _parts(asked_KP: csr_array, every: int) -> list[Ints]:
    """Return which keys belong together."""
    uses_KP = asked_KP.copy()
    uses_KP.data = np.ones(len(uses_KP.data), np.int32)
    count_K = np.diff(uses_KP.indptr).astype(np.int64)
    found: list[Ints] = []
    # Millions of ties: what was parted is let go of.
    open_parts = [(np.arange(uses_KP.shape[0]), _ties(uses_KP, count_K, every))]
    for level in _TIES:
        parts: list[tuple[Ints, _Ties]] = []
        while open_parts:
            part, inside = open_parts.pop()
            parts += _connected(inside, part, level, count_K)
        for part, inside in parts:
            mean = _mean_cosine(uses_KP, part)
            if level == _TIES[-1] or mean >= _LOOSE:
                found.append(part)
            if level != _TIES[-1] and mean < _DENSE:
                open_parts.append((part, inside))
    return found


def _ties(uses_KP: csr_array, count_K: Ints, every: int) -> _Ties:
    """Return which keys are tied, found block by block: most pairs have one party in common."""
    turned_PK = uses_KP.T.tocsr()
    work_K = np.cumsum(uses_KP @ np.diff(turned_PK.indptr))
    found, first, keys = [], 0, len(count_K)
    while first < keys:
        done = work_K[first - 1] if first else 0
        last = max(int(np.searchsorted(work_K, done + _PAIRS, side="right")), first + 1)
        # Each pair once: with the keys that follow.
        common = (uses_KP[first:last] @ turned_PK[:, first:]).tocoo()
        several = common.data >= _COMMON
        one, other = (place[several].astype(np.int64) + first for place in common.coords)
        n, by_chance = common.data[several], count_K[one].astype(np.float64) * count_K[other]
        tied = (one < other) & (n * float(every) >= _LIFT * by_chance)
        # Rounded, so that no order of sums decides.
        hundredths = np.round(100 * n[tied] / np.sqrt(by_chance[tied]), 6)
        # Weaker ones hold nothing together.
        strong = hundredths >= _TIES[0]
        found.append(
            (
                one[tied][strong].astype(np.int32),
                other[tied][strong].astype(np.int32),
                hundredths[strong].astype(np.float32),
            )
        )
        first = last
    one_T, other_T, hundredths_T = (np.concatenate(each) for each in zip(*found, strict=True))
    return _Ties(one_T, other_T, hundredths_T)


def _connected(ties: _Ties, part: Ints, level: int, count_K: Ints) -> list[tuple[Ints, _Ties]]:
    """Return the parts of a part that ties of a level hold together, each with its ties.

    `part` is sorted, and `ties` are between its keys alone. A key by itself that fewer than
    `LEAST_PARTIES` have makes no group: there are very many of these.
    """
    held = ties.hundredths_T >= level
    one, other = (
        np.searchsorted(part, ends[held]).astype(np.int32) for ends in (ties.one_T, ties.other_T)
    )
    graph = csr_array((np.ones(len(one), np.int8), (one, other)), shape=(len(part),) * 2)
    _, label = connected_components(graph, directed=False)
    del graph, other
    alone = np.bincount(label)[label] == 1
    found = [
        (part[place : place + 1], _NO_TIES)
        for place in np.flatnonzero(alone & (count_K[part] >= LEAST_PARTIES)).tolist()
    ]
    # Ties that are weaker hold nothing together at a higher level either.
    of_tie = np.argsort(label[one], kind="stable")
    places = np.flatnonzero(held)[of_tie]
    tied = label[one][of_tie]
    joined = np.flatnonzero(~alone)
    joined = joined[np.argsort(label[joined], kind="stable")]
    for keys, mine in zip(_runs(part[joined], label[joined]), _runs(places, tied), strict=True):
        found.append((keys, _Ties(ties.one_T[mine], ties.other_T[mine], ties.hundredths_T[mine])))
    return found


def _runs(values: Ints, labels: Ints) -> list[Ints]:
    """Return values run by run of equal labels, which are sorted."""
    if not len(values):
        return []
    return np.split(values, np.flatnonzero(np.diff(labels)) + 1)


def _mean_cosine(uses_KP: csr_array, part: Ints) -> float:
    """Return the mean cosine of pairs of keys, each weighed by how many parties it has."""
    if len(part) == 1:
        return 1.0
    mine = uses_KP[part]
    _, each = np.unique(mine.indices, return_counts=True)
    lengths = np.sqrt(np.diff(mine.indptr)).sum()
    return float((each.astype(np.float64) ** 2).sum() / lengths**2) if lengths else 0.0
