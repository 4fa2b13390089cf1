"""A tree of hashes over rows, so that one root fixes them all and one row proves that it is there.

As Certificate Transparency's (RFC 6962, section 2.1; checked as RFC 9162, section 2.1.3.2, says):
SHA-256, a zero byte before a leaf's bytes, a one byte before two nodes', the left part of a tree as
large a power of two as leaves some for the right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def leaf_hash(content: bytes) -> bytes:
    """Return the hash (32 bytes) of one row's bytes."""
    return hashlib.sha256(b"\0" + content).digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root (32 bytes) of a tree of leaf hashes; that of none is the hash of nothing.

    No more than one hash a level is held.
    """
    held: list[tuple[int, bytes]] = []  # (leaves below, hash), each a full tree, falling in size
    for leaf in leaves:
        size, node = 1, leaf
        while held and held[-1][0] == size:
            node, size = _node(held.pop()[1], node), 2 * size
        held.append((size, node))
    if not held:
        return hashlib.sha256(b"").digest()
    node = held.pop()[1]
    while held:
        node = _node(held.pop()[1], node)
    return node


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return what proves that the leaf hash at `index` is one of a tree's, from the leaf upwards.

    Raises IndexError where there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError("no such leaf")
    if len(leaves) == 1:
        return ()
    cut = _left_part(len(leaves))
    if index < cut:
        return (*inclusion_proof(leaves[:cut], index), root_of(leaves[cut:]))
    return (*inclusion_proof(leaves[cut:], index - cut), root_of(leaves[:cut]))


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a proof shows that a leaf hash stands at `index` in a tree of `size` leaves."""
    if not 0 <= index < size:
        return False
    node, at, last = leaf, index, size - 1
    for other in proof:
        if not last:
            return False
        if at % 2 or at == last:
            node = _node(other, node)
            while at and not at % 2:
                at, last = at >> 1, last >> 1
        else:
            node = _node(node, other)
        at, last = at >> 1, last >> 1
    return not last and node == root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _left_part(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)
