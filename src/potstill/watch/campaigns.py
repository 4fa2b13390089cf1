"""Groups of parties that something joins: communities of a bipartite graph, always the same ones.

Parties stand on one side, what they have in common (a template's bucket, a card) on the other. An
edge weighs the more, the rarer its value is: log(all parties / parties of the value) (Sparck Jones
1972, J. Doc. 28, 11-21). Values of too many parties are left out before: one public prompt would
join everybody. Communities are Louvain's (Blondel et al. 2008, J. Stat. Mech. P10008; networkx),
on sorted nodes and edges with one seed, so that the order of rows decides nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from potstill.canonical import canonical_json, digest_of_bytes

# What is smaller is no campaign that could be told from a few friends.
LEAST_PARTIES = 4
_SEED = 0
_DIGITS = 16


@dataclass(frozen=True)
class Grouping:
    """Parties that are joined, and the values that join them, both sorted.

    `keys` are those of a client (`template_keys`), where such chose the group; `used` is then how
    many of them each party used.
    """

    parties: tuple[str, ...]
    values: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    used: tuple[int, ...] = ()


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
    graph = nx.Graph()
    graph.add_nodes_from((0, party) for party in sorted({p for known in same for p in known}))
    for number, (joined, values) in enumerate(sorted(same.items())):
        weight = math.log(max(parties, len(joined) + 1) / len(joined)) * min(len(values), 4)
        graph.add_edges_from(((0, party), (1, number), {"weight": weight}) for party in joined)
    nodes = [values for _, values in sorted(same.items())]
    found = nx.community.louvain_communities(graph, weight="weight", seed=_SEED)
    groups = [_grouping(one, nodes) for one in found]
    return sorted(
        (one for one in groups if len(one.parties) >= LEAST_PARTIES), key=lambda one: one.parties
    )


def _grouping(nodes: set[tuple[int, str | int]], values: Sequence[list[str]]) -> Grouping:
    parties = sorted(str(name) for side, name in nodes if side == 0)
    held = sorted(one for side, name in nodes if side == 1 for one in values[int(name)])
    return Grouping(tuple(parties), tuple(held))


def stable_id(founder: str, kind: str = "") -> str:
    """Return a group's id, which stays while the group has the same first party.

    The first is who asked first of all: days that are added later do not change that.
    """
    return digest_of_bytes(canonical_json([kind, founder]))[:_DIGITS]


def merged(
    groups: Sequence[Sequence[str]], joined: Iterable[tuple[int, int]] = ()
) -> list[list[int]]:
    """Return places of groups by what they come to: those that share half of the smaller are one,
    and those that `joined` says are."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(groups)))
    graph.add_edges_from(joined)
    sets = [set(group) for group in groups]
    for one in range(len(sets)):
        for other in range(one):
            if 2 * len(sets[one] & sets[other]) >= min(len(sets[one]), len(sets[other])):
                graph.add_edge(one, other)
    return sorted(sorted(component) for component in nx.connected_components(graph))
