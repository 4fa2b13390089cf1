"""Groups of parties that something joins: communities of a bipartite graph, always the same ones.

Parties stand on one side, what they have in common (a template's bucket, a card) on the other. An
edge weighs the more, the rarer its value is: log(all parties / parties of the value) (Sparck Jones
1972, J. Doc. 28, 11-21). Values of too many parties are left out before: one public prompt would
join everybody. Communities are Louvain's (Blondel et al. 2008, J. Stat. Mech. P10008; networkx),
on sorted nodes and edges with one seed, so that the order of rows decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from potstill.canonical import canonical_json, digest_of_bytes

# What is smaller is no campaign that could be told from a few friends.
LEAST_PARTIES = 4
_Node = tuple[int, str | int]
_SEED = 0
_DIGITS = 16


@dataclass(frozen=True)
class Grouping:
    """Parties that are joined, and the values that join them, both sorted.

    `keys` are those of a client (`template_keys`), where such chose the group; `used` is then how
    much each party used them, and `close` whether parties that used one mostly used others.
    """

    parties: tuple[str, ...]
    values: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    used: tuple[int, ...] = ()
    close: bool = False


def most_parties(parties: int) -> int:
    """Return how many parties a value may have at most to join any of `parties`."""
    return max(100, parties // 10)


def communities(edges: Iterable[tuple[str, str]], parties: int) -> list[Grouping]:
    """Return the groups of `LEAST_PARTIES` or more that (value, party) edges make of `parties`.

    Values with the very same parties are one node, whose edges count once for each of up to four.
    """
    of_value: dict[str, set[str]] = defaultdict(set)
    for value, party in edges:
        of_value[value].add(party)
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for value in sorted(of_value):
        if 1 < len(of_value[value]) <= most_parties(parties):
            same[tuple(sorted(of_value[value]))].append(value)
    ties: list[tuple[_Node, _Node, float]] = [
        ((1, number), (0, party), math.log(max(parties, len(joined) + 1) / len(joined)) * values)
        for number, (joined, values) in enumerate(
            (joined, min(len(same[joined]), 4)) for joined in sorted(same)
        )
        for party in joined
    ]
    nodes = [values for _, values in sorted(same.items())]
    groups = [_grouping(one, nodes) for one in _parted(ties)]
    return sorted(
        (one for one in groups if len(one.parties) >= LEAST_PARTIES), key=lambda one: one.parties
    )


def _parted(edges: Sequence[tuple[_Node, _Node, float]]) -> list[set[_Node]]:
    """Return Louvain's communities of a weighted graph, part by part of what hangs together.

    Each part has the resolution that it has in the whole; parts of too few parties are left out.
    """
    nodes = sorted({node for one, other, _ in edges for node in (one, other)})
    place = {node: number for number, node in enumerate(nodes)}
    ends = np.array([(place[one], place[other]) for one, other, _ in edges], np.int64).reshape(
        -1, 2
    )
    pairs = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(nodes),) * 2)
    _, label_N = connected_components(pairs, directed=False)
    party_N = np.array([side == 0 for side, _ in nodes], np.bool_)
    size = np.bincount(label_N[party_N], minlength=1)
    whole = math.fsum(weight for _, _, weight in edges)
    of_part: dict[int, list[int]] = defaultdict(list)
    for number, label in enumerate(label_N[ends[:, 0]].tolist()):
        of_part[label].append(number)
    found: list[set[_Node]] = []
    for label in sorted(of_part):
        if size[label] < LEAST_PARTIES:
            continue
        mine = [edges[number] for number in of_part[label]]
        graph = nx.Graph()
        graph.add_nodes_from(nodes[number] for number in np.flatnonzero(label_N == label).tolist())
        graph.add_weighted_edges_from(mine)
        share = math.fsum(weight for _, _, weight in mine) / whole
        found += nx.community.louvain_communities(
            graph, weight="weight", resolution=share, seed=_SEED
        )
    return found


def _grouping(nodes: set[tuple[int, str | int]], values: Sequence[list[str]]) -> Grouping:
    parties = sorted(str(name) for side, name in nodes if side == 0)
    held = sorted(one for side, name in nodes if side == 1 for one in values[int(name)])
    return Grouping(tuple(parties), tuple(held))


def stable_id(founder: str, kind: str = "") -> str:
    """Return a group's id, which stays while the group has the same first party.

    The first is who asked first of all: days that are added later do not change that.
    """
    return digest_of_bytes(canonical_json([kind, founder]))[:_DIGITS]


def others_than(groups: Sequence[Grouping], known: Sequence[Grouping]) -> list[Grouping]:
    """Return the groups that are not all but the same as one that is known."""
    of_party: dict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(known):
        for party in group.parties:
            of_party[party].append(number)
    found = []
    for group in groups:
        counts = Counter(n for party in group.parties for n in of_party.get(party, ()))
        same = any(
            5 * n >= 4 * len(group.parties) and 5 * n >= 4 * len(known[number].parties)
            for number, n in counts.items()
        )
        if not same:
            found.append(group)
    return found
