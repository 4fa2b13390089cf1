"""Parties whose clients ask alike: groups by keys, what a client has hard-coded in its requests.

A key is a request's settings with its system message, its first words or its last words
(`template_keys`). On one side of a graph stand parties, on the other keys; keys of fewer than
`LEAST_PARTIES` parties, or of very many, join nobody. Two keys belong together if they have parties
in common: three or more, four times as many as strangers would have, and a cosine (of the sets of
their parties) of 0.15. What hangs together so is a group's keys, unless it hangs together by a few
parties alone: where the mean cosine is less than 0.08, ties have to be stronger (0.25, 0.35, 0.5).
Where it is less than 0.2, what stronger ties hold together inside is a group beside the whole.
Members are the parties that used two of the keys or more, and an eighth of what a typical member
used; who is left may be a group of its own. A party's other requests weigh nothing, so that
ordinary traffic beside a template hides it from nobody.

All of that hangs on which keys a party used, on no day, no moment and no link.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from potstill.watch.campaigns import LEAST_PARTIES, Grouping

Ints = NDArray[np.int64]

# Ties between keys: cosines in hundredths, parties in common, and times what strangers would have.
_TIES, _COMMON, _LIFT = (15, 25, 35, 50), 3, 4
_LOOSE, _DENSE = 0.08, 0.2
# Keys and requests of a group that make a member, its part of a typical one's keys, and how often
# what is left is looked through for another group.
_KEYS, _REQUESTS, _PART, _ROUNDS = 2, 2, 8, 3


def key_groups(
    parties: Sequence[str], keys: Sequence[str], party_E: Ints, key_E: Ints, n_E: Ints, every: int
) -> list[Grouping]:
    """Return the groups that E uses make: places of a party and a key, and how often it was used.

    `parties` and `keys` are sorted; a key's first letter says of which sort it is, of which a
    request has one of each. `every` counts all parties that there are. No key is of two
    sorts of groups.
    """
    if not len(keys):
        return []
    # What a quarter of all have is nobody's.
    rare = _LIFT * np.bincount(key_E, minlength=len(keys))[key_E] <= every
    party_E, key_E, n_E = party_E[rare], key_E[rare], n_E[rare]
    uses = csr_array(
        (np.ones(len(key_E)), (key_E, party_E)), shape=(len(keys), len(parties))
    ).tocsr()
    asked = csr_array((n_E, (key_E, party_E)), shape=uses.shape).tocsr()
    _, sort_K = np.unique([key[0] for key in keys], return_inverse=True)
    found = []
    for mine in _parts(uses, every):
        users, used_U, asked_U = _used(asked, sort_K, mine)
        for members in _members(used_U, asked_U, len(mine)):
            found.append(
                Grouping(
                    parties=tuple(parties[one] for one in users[members].tolist()),
                    keys=tuple(keys[one] for one in mine.tolist()),
                    used=tuple(used_U[members].tolist()),
                    close=_mean_cosine(uses, np.diff(uses.indptr), mine) >= _DENSE,
                )
            )
    return _differing(sorted(found, key=lambda one: (-len(one.parties), one.parties, one.keys)))


def _used(asked_KP: csr_array, sort_K: Ints, mine: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the parties that use some keys, how many of them, and in how many requests at least:
    a request has a key of each sort."""
    rows = asked_KP[mine]
    users, place = np.unique(rows.indices, return_inverse=True)
    sort = np.repeat(sort_K[mine], np.diff(rows.indptr))
    sorts = int(sort.max(initial=0)) + 1
    each = np.zeros((sorts, len(users)), np.int64)
    np.add.at(each, (sort, place), rows.data)
    return users.astype(np.int64), np.bincount(place, minlength=len(users)), each.max(0)


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


def _members(used_P: Ints, asked_P: Ints, keys: int) -> Iterator[Ints]:
    """Yield the members of a group by how many of its keys each party used, and how often."""
    left = (used_P >= min(_KEYS, keys)) & (asked_P >= _REQUESTS)
    for _ in range(_ROUNDS):
        if left.sum() < LEAST_PARTIES:
            return
        used = used_P[left]
        # What the member that a use is of has, on average: a few odd users do not count.
        typical = (used**2).sum() / used.sum()
        members = left & (_PART * used_P >= typical)
        if members.sum() >= LEAST_PARTIES:
            yield np.flatnonzero(members)
        left &= ~members


@dataclass(frozen=True)
class _Ties:
    """Pairs of keys with parties in common, each once."""

    one_T: Ints
    other_T: Ints
    hundredths_T: NDArray[np.float64]


def _parts(uses_KP: csr_array, every: int) -> list[Ints]:
    """Return which keys belong together."""
    count_K = np.diff(uses_KP.indptr)
    found: list[Ints] = []
    open_parts = [(np.arange(uses_KP.shape[0]), _ties(uses_KP, count_K, every))]
    for level in _TIES:
        parts = [one for part, ties in open_parts for one in _connected(ties, part, level)]
        open_parts = []
        for part, ties in parts:
            mean = _mean_cosine(uses_KP, count_K, part)
            if level == _TIES[-1] or mean >= _LOOSE:
                found.append(part)
            if level != _TIES[-1] and mean < _DENSE:
                open_parts.append((part, ties))
    return found


def _ties(uses_KP: csr_array, count_K: Ints, every: int) -> _Ties:
    common = (uses_KP @ uses_KP.T).tocoo()
    one, other, n = common.row, common.col, common.data
    by_chance = count_K[one].astype(np.float64) * count_K[other]
    tied = (one < other) & (n >= _COMMON) & (n * every >= _LIFT * by_chance)
    one, other, n, by_chance = one[tied], other[tied], n[tied], by_chance[tied]
    return _Ties(
        one.astype(np.int64),
        other.astype(np.int64),
        # Rounded, so that no order of sums decides.
        np.round(100 * n / np.sqrt(by_chance), 6),
    )


def _connected(ties: _Ties, part: Ints, level: int) -> list[tuple[Ints, _Ties]]:
    """Return the parts of a part that ties of a level hold together, each with its ties.

    `part` is sorted, and `ties` are between its keys alone.
    """
    held = ties.hundredths_T >= level
    one, other = np.searchsorted(part, ties.one_T[held]), np.searchsorted(part, ties.other_T[held])
    graph = csr_array((np.ones(len(one)), (one, other)), shape=(len(part),) * 2)
    count, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    edges = np.cumsum(np.bincount(label, minlength=count))[:-1]
    # Ties that are weaker hold nothing together at a higher level either.
    of_tie = np.argsort(label[one], kind="stable")
    tie_edges = np.cumsum(np.bincount(label[one], minlength=count))[:-1]
    places = np.flatnonzero(held)[of_tie]
    return [
        (keys, _Ties(ties.one_T[mine], ties.other_T[mine], ties.hundredths_T[mine]))
        for keys, mine in zip(
            np.split(part[order], edges), np.split(places, tie_edges), strict=True
        )
    ]


def _mean_cosine(uses_KP: csr_array, count_K: Ints, part: Ints) -> float:
    """Return the mean cosine of pairs of keys, each weighed by how many parties it has."""
    if len(part) == 1:
        return 1.0
    each_P = np.bincount(uses_KP[part].indices)
    lengths = np.sqrt(count_K[part]).sum()
    return float((each_P.astype(np.float64) ** 2).sum() / lengths**2)
