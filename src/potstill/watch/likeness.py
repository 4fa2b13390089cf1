"""Parties that ask alike: groups by how often each party used each piece of its templates.

A party's profile has for each piece (a slot of the prompts' sketches with its value) the share of
its requests that had it. A piece weighs sqrt(share) * log(parties / parties that have it) (Sparck
Jones 1972, J. Doc. 28, 11-21; the root, so that one piece that is in every request does not stand
for all). Two parties are as like as the cosine of their profiles. Each is joined to the ten most
like it, from `ALIKE` on; within what hangs together communities are Louvain's (networkx, sorted
nodes and edges, one seed), an edge weighing the fourth power of the likeness, so that near ones
stay together. Who is far from the middle of a community is taken out; communities with all but the
same middle are one; and who was left out, but is as near a middle as its members, is taken in.

All of that hangs on how often parties used pieces, on no day, no moment and no link.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, vstack
from scipy.sparse.csgraph import connected_components

from potstill.watch.campaigns import LEAST_PARTIES, Grouping, most_parties

Ints = NDArray[np.int64]
AnyInts = NDArray[np.signedinteger]
Floats = NDArray[np.float64]

ALIKE = 0.45
# A member is as like the middle as this part of what the median member is.
_NEAR = 0.7
# Groups are one from this likeness of their middles on.
_SAME = 0.8
# What parties have in common: so many of them use it, such a share, and so many times that of all.
_LEAST_USERS, _COMMON, _LIFT = 3, 0.3, 3
# Parties that are compared by what more than so many use.
_SHARE, _COMMON_TO = 25_000, 1_000
_NEXT, _POWER, _ROUNDS, _BLOCK, _SEED, _DIGITS = 10, 4, 3, 2_000, 0, 9


@dataclass(frozen=True)
class Profiles:
    """Which party uses which pieces, and how much: rows of length 1 (0 without pieces), [P, F].

    `names` are sorted, `place` says where each stands; `count_F` is how many of `parties` have
    each of `pieces_F`.
    """

    names: tuple[str, ...]
    place: Mapping[str, int]
    parties: int
    pieces_F: Ints
    count_F: Ints
    table_PF: csr_array

    @cached_property
    def groups(self) -> list[Grouping]:
        """The groups of parties that ask alike, `LEAST_PARTIES` or more each."""
        joined = _joined(self.table_PF, self.names)
        cores = [_near(self.table_PF, one) for one in _communities(joined)]
        found = [
            Grouping(tuple(self.names[one] for one in group))
            for group in _adopted(self.table_PF, _merged(self.table_PF, cores))
            if len(group) >= LEAST_PARTIES
        ]
        return sorted(found, key=lambda one: one.parties)

    def pairs(self, groups: Sequence[Sequence[str]], least: float) -> list[tuple[int, int]]:
        """Return which of groups of parties ask alike: pairs whose middles are so like or more."""
        rows = [[self.place[one] for one in group if one in self.place] for group in groups]
        known = [number for number, group in enumerate(rows) if self.table_PF[group].nnz]
        if len(known) < 2:
            return []
        middles = vstack([_middle(self.table_PF, np.asarray(rows[one])) for one in known]).tocsr()
        near = np.argwhere(np.triu(_alike(middles, middles) >= least, 1))
        return [(known[one], known[other]) for one, other in near.tolist()]

    def pieces_of(self, parties: Sequence[str]) -> Ints:
        """Return the pieces of the templates that parties have in common, sorted.

        A piece is in common if so many of them use it, and far more than of all parties do.
        """
        rows = [self.place[one] for one in parties if one in self.place]
        users_F = np.bincount(self.table_PF[rows].indices, minlength=len(self.pieces_F))
        common_F = users_F >= max(_LEAST_USERS, _COMMON * len(rows))
        lifted_F = users_F * self.parties >= _LIFT * self.count_F * len(rows)
        return self.pieces_F[common_F & lifted_F]


def profiles_of(
    names: Sequence[str], party_E: AnyInts, piece_E: AnyInts, share_E: Floats, parties: int
) -> Profiles:
    """Return profiles of `parties` that there are, from E rows: which share of a party's requests
    had which piece.

    `party_E` are places in `names`, which are sorted. Pieces of fewer than `LEAST_PARTIES` or of
    more than `most_parties` are left out: they join nobody.
    """
    known = len(names)
    pieces_F, piece_E, count_F = np.unique(piece_E, return_inverse=True, return_counts=True)
    kept = (count_F >= LEAST_PARTIES) & (count_F <= most_parties(parties))
    of_kept = kept[piece_E]
    order = np.lexsort((piece_E[of_kept], party_E[of_kept]))
    party, piece = party_E[of_kept][order], piece_E[of_kept][order]
    weight = np.sqrt(share_E[of_kept][order]) * np.log(max(parties, known + 1) / count_F[piece])
    table = csr_array((weight, (party, piece)), shape=(known, len(count_F)))
    length_P = np.sqrt(np.bincount(party, weights=weight**2, minlength=known))
    scaled: csr_array = diags_array(1 / np.where(length_P > 0, length_P, 1.0)) @ table
    return Profiles(
        names=tuple(names),
        place={name: number for number, name in enumerate(names)},
        parties=parties,
        pieces_F=pieces_F,
        count_F=count_F,
        table_PF=scaled.tocsr(),
    )


def _joined(profile_PF: csr_array, names: Sequence[str]) -> tuple[Ints, Ints, Floats]:
    """Return each party with the parties most like it, and how like they are, as E pairs.

    What very many parties use counts between those of one share of all parties alone, so that the
    work grows with the parties and not with their square. Shares are drawn by the parties' names.
    """
    shares = -(-len(names) // _SHARE)
    share_P = np.array([zlib.crc32(name.encode()) % max(shares, 1) for name in names], np.int64)
    found = []
    for share in range(shares):
        mine = np.flatnonzero(share_P == share)
        turned = _without_common(profile_PF, share_P != share).T.tocsr()
        for first in range(0, len(mine), _BLOCK):
            rows = mine[first : first + _BLOCK]
            like = (profile_PF[rows] @ turned).tocoo()
            value = np.round(like.data, _DIGITS)
            near = (value >= ALIKE) & (like.col != rows[like.row])
            row, other, value = rows[like.row[near]], like.col[near], value[near]
            order = np.lexsort((other, -value, row))
            row, other, value = row[order], other[order], value[order]
            begins = np.searchsorted(row, row)
            kept = np.arange(len(row)) - begins < _NEXT
            found.append((row[kept], other[kept].astype(np.int64), value[kept]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    one, other, like_E = (np.concatenate(each) for each in zip(*found, strict=True))
    return one, other, like_E


def _without_common(profile_PF: csr_array, others_P: NDArray[np.bool_]) -> csr_array:
    """Return profiles in which some parties have nothing of what very many parties use."""
    if not others_P.any():
        return profile_PF
    found = profile_PF.tocoo()
    common_F = np.bincount(found.col, minlength=profile_PF.shape[1]) > _COMMON_TO
    kept = ~(others_P[found.row] & common_F[found.col])
    return csr_array((found.data[kept], (found.row[kept], found.col[kept])), shape=found.shape)


def _communities(joined: tuple[Ints, Ints, Floats]) -> list[Ints]:
    one, other, like_E = joined
    if not len(one):
        return []
    parties = int(max(one.max(), other.max())) + 1
    # Each edge once, its ends in order.
    low, high = np.minimum(one, other), np.maximum(one, other)
    edges, first = np.unique(low * parties + high, return_index=True)
    low, high, weight = low[first], high[first], like_E[first] ** _POWER
    pairs = csr_array((np.ones(len(edges)), (low, high)), shape=(parties, parties))
    _, label = connected_components(pairs, directed=False)
    size = np.bincount(label)
    order = np.lexsort((high, low, label[low]))
    found = []
    for part in np.split(order, np.flatnonzero(np.diff(label[low[order]])) + 1):
        together = label[low[part[0]]]
        if size[together] < LEAST_PARTIES:
            continue
        graph = nx.Graph()
        graph.add_nodes_from(np.flatnonzero(label == together).tolist())
        graph.add_weighted_edges_from(
            zip(low[part].tolist(), high[part].tolist(), weight[part].tolist(), strict=True)
        )
        found += [
            np.asarray(sorted(members), np.int64)
            for members in nx.community.louvain_communities(graph, weight="weight", seed=_SEED)
        ]
    return found


def _middle(profile_PF: csr_array, group: Ints) -> csr_array:
    """Return the middle of a group, of length 1, as [1, F]."""
    whole: csr_array = csr_array(profile_PF[group].sum(axis=0)[None])
    return whole / math.sqrt(float((whole.data**2).sum()))


def _near(profile_PF: csr_array, group: Ints) -> Ints:
    """Return the members of a group that are near its middle."""
    for _ in range(_ROUNDS):
        near = _alike(profile_PF[group], _middle(profile_PF, group))[:, 0]
        kept = near >= _NEAR * np.median(near)
        if kept.all():
            break
        group = group[kept]
    return group


def _merged(profile_PF: csr_array, groups: list[Ints]) -> list[Ints]:
    """Return groups whose middles are all but the same as one: large ones fall apart by chance."""
    groups = [one for one in groups if len(one) >= LEAST_PARTIES]
    if not groups:
        return []
    middles = vstack([_middle(profile_PF, one) for one in groups]).tocsr()
    same = nx.Graph()
    same.add_nodes_from(range(len(groups)))
    same.add_edges_from(np.argwhere(_alike(middles, middles) >= _SAME).tolist())
    found = sorted(sorted(one) for one in nx.connected_components(same))
    return [np.sort(np.concatenate([groups[number] for number in one])) for one in found]


def _adopted(profile_PF: csr_array, groups: list[Ints]) -> list[Ints]:
    """Return the groups with every party that is near a middle, each in the group it is most like.

    Near is what members are.
    """
    if not groups:
        return []
    middles = vstack([_middle(profile_PF, one) for one in groups]).tocsr()
    least_G = np.array(
        [
            _NEAR * np.median(_alike(profile_PF[one], middles[[number]]))
            for number, one in enumerate(groups)
        ]
    )
    best_P = np.full(profile_PF.shape[0], -1, np.int64)
    for first in range(0, profile_PF.shape[0], _BLOCK):
        like_PG = _alike(profile_PF[first : first + _BLOCK], middles)
        best = np.where(like_PG >= least_G, like_PG, 0.0).argmax(1)
        near = like_PG[np.arange(len(best)), best] >= least_G[best]
        best_P[first : first + _BLOCK] = np.where(near, best, -1)
    order = np.argsort(best_P, kind="stable")
    edges = np.searchsorted(best_P[order], np.arange(len(groups) + 1))
    return [order[a:b] for a, b in itertools.pairwise(edges.tolist())]


def _alike(one_PF: csr_array, other_GF: csr_array) -> Floats:
    """Return the cosines of rows of length 1, rounded so that no order of sums decides."""
    dense = (one_PF @ other_GF.T).toarray()
    return np.asarray(np.round(dense, _DIGITS), dtype=np.float64)
