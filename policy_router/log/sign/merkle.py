"""The Merkle tree over a log: that a line is in it, and that it only grew, shown by a few hashes.

The tree and its proofs are those of RFC 9162, section 2.1, which are those of RFC 6962: SHA-256,
a byte in front that tells a leaf from what is above it, and nothing filled up. All functions but
:func:`leaf_hash` take the hashes of leaves, never what the leaves hold.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

HASH_SIZE = 32
"""The bytes of a hash."""

_EMPTY = sha256().digest()
# Few enough that a processor's caches hold them, enough that no leaf pays for the loops around.
_BATCH = 4096


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf, of the bytes that it holds."""
    return sha256(b"\x00" + content).digest()


class Tree:
    """A tree that leaves are appended to, of which it keeps one hash a level.

    Attributes:
        size: how many leaves it has.
    """

    __slots__ = ("_unpaired", "size")

    def __init__(self) -> None:
        self.size = 0
        # By level, the last node that has no right neighbour yet.
        self._unpaired: list[bytes | None] = []

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaves, given their hashes. An iterator is read some thousand leaves at a time."""
        for batch in _batches(leaves):
            nodes, level = batch, 0
            while nodes:
                nodes = self._pairs(nodes, level)
                level += 1
            self.size += len(batch)

    def root(self) -> bytes:
        """Return the hash of all leaves, for a tree without any that of nothing."""
        nodes = [node for node in self._unpaired if node is not None]
        if not nodes:
            return _EMPTY
        return functools.reduce(lambda right, left: _parent(left, right), nodes)

    def _pairs(self, nodes: list[bytes], level: int) -> list[bytes]:
        """Append nodes to a level, and return those that this makes for the level above."""
        if level == len(self._unpaired):
            self._unpaired.append(None)
        waiting = self._unpaired[level]
        if waiting is not None:
            nodes = [waiting, *nodes]
        self._unpaired[level] = nodes[-1] if len(nodes) % 2 else None
        return _parents(nodes)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return what shows that a leaf is in the tree (RFC 9162, section 2.1.3.1).

    Args:
        leaves: the hashes of all leaves.
        index: which leaf, from 0.

    Returns:
        Hashes, from the leaf's neighbour to the root's child.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"a tree of {len(leaves)} leaves has no leaf {index}")
    return tuple(_siblings(leaves, index))


def consistency_proof(leaves: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """Return what shows that the tree begins as an older one was (RFC 9162, section 2.1.4.1).

    Args:
        leaves: the hashes of all leaves.
        size: how many of them, from the first, the older tree has.

    Returns:
        Hashes; none where the older tree is empty or the same.

    Raises:
        IndexError: the tree has fewer leaves.
    """
    if not 0 <= size <= len(leaves):
        raise IndexError(f"a tree of {len(leaves)} leaves has no first {size}")
    if size in {0, len(leaves)}:
        return ()
    nodes, index = leaves, size - 1
    while index & 1:
        nodes, index = _level_above(nodes), index >> 1
    # At index 0 the node is the older tree itself, whose root the verifier has.
    start = (nodes[index],) if index else ()
    return (*start, *_siblings(nodes, index))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether a proof shows that a leaf is in a tree (RFC 9162, section 2.1.3.2).

    Args:
        leaf: the hash of the leaf.
        index: its place, from 0.
        size: how many leaves the tree has.
        proof: what :func:`inclusion_proof` gave.
        root: the root of the tree.
    """
    if not 0 <= index < size or len(leaf) != HASH_SIZE:
        return False
    climbed = _climb(index, size - 1, leaf, proof)
    return climbed is not None and climbed[1] == root


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether a proof shows that a tree begins as an older one was.

    It is RFC 9162, section 2.1.4.2, and what that leaves open: a tree is consistent with itself,
    and every tree with the empty one, of which there is nothing to show.

    Args:
        old_size: how many leaves the older tree has.
        new_size: how many the tree has.
        old_root: the root of the older tree.
        new_root: the root of the tree.
        proof: what :func:`consistency_proof` gave.
    """
    if not 0 <= old_size <= new_size:
        return False
    if (old_size == 0 and old_root != _EMPTY) or (old_size == new_size and old_root != new_root):
        return False
    if old_size in {0, new_size}:
        return not proof
    return bool(proof) and _is_consistent(old_size, new_size, (old_root, new_root), proof)


def _is_consistent(
    old_size: int, new_size: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]
) -> bool:
    """Say so of an older tree that has leaves, and a tree that has more."""
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    path = proof if index else (roots[0], *proof)
    return _climb(index, last, path[0], path[1:]) == roots


def _climb(index: int, last: int, node: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Walk from a node to the root by its siblings.

    Args:
        index: the node's place in its level.
        last: the place of the level's last node.
        node: its hash.
        path: the siblings, upwards.

    Returns:
        The root of the tree that ends with the node, and that of the tree; None where the path
        has another length than the way.
    """
    old = new = node
    for sibling in path:
        if not last:
            return None
        if index & 1 or index == last:
            old, new = _parent(sibling, old), _parent(sibling, new)
            # A last node without a neighbour goes up as it is.
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = _parent(new, sibling)
        index, last = index >> 1, last >> 1
    return None if last else (old, new)


def _siblings(nodes: Sequence[bytes], index: int) -> Iterator[bytes]:
    """Yield the siblings of a node and of all above it, where they have one."""
    while len(nodes) > 1:
        sibling = index ^ 1
        if sibling < len(nodes):
            yield nodes[sibling]
        nodes, index = _level_above(nodes), index >> 1


def _level_above(nodes: Sequence[bytes]) -> list[bytes]:
    """Return the level above a whole level; a last node without a neighbour goes up as it is."""
    return [*_parents(nodes), *nodes[len(nodes) & ~1 :]]


def _parents(nodes: Sequence[bytes]) -> list[bytes]:
    """Return the parents of neighbours; a last node without one is left out."""
    # Written out, as a call of _parent for each pair would cost as much again as its hash.
    return [
        sha256(b"\x01" + left + right).digest()
        for left, right in zip(nodes[::2], nodes[1::2], strict=False)
    ]


def _parent(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node, of those below it."""
    return sha256(b"\x01" + left + right).digest()


def _batches(leaves: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the items of an iterable, some at a time."""
    items = iter(leaves)
    while batch := list(itertools.islice(items, _BATCH)):
        yield batch
