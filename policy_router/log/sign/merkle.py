"""The Merkle tree over a log: that an entry is in it, and that it only grew, shown by a few hashes.

The tree and its proofs are those of RFC 9162, section 2.1, which are those of RFC 6962: SHA-256,
a byte in front that tells a leaf from what is above it, and nothing filled up. A proof is worked
out from a few nodes, wherever they are kept: ``node(height, index)`` returns the hash of the whole
subtree with ``2 ** height`` leaves that is the ``index``-th of its height.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

HASH_SIZE: Final = 32
"""The bytes of a hash."""
WIDTH: Final = 256
"""How many hashes a tile has (https://c2sp.org/tlog-tiles)."""
EMPTY: Final = sha256().digest()
"""The root of a tree without leaves."""

Node: TypeAlias = Callable[[int, int], bytes]
Tile: TypeAlias = tuple[int, int, list[bytes]]
"""The level of a tile, its number in the level, and its hashes."""


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf, of the bytes that it holds."""
    return sha256(b"\x00" + content).digest()


def leaf_hashes(contents: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of leaves."""
    return [sha256(b"\x00" + content).digest() for content in contents]


def folded(nodes: Sequence[bytes]) -> bytes:
    """Return the root over subtrees that follow each other; only the last one may be smaller."""
    while len(nodes) > 1:
        # Written out, as a call for each pair would cost as much again as its hash.
        nodes = [
            *(sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2])),  # noqa: B905 - the last one may have no neighbour
            *nodes[len(nodes) & ~1 :],
        ]
    return nodes[0] if nodes else EMPTY


class TreeEdge:
    """The right edge of a tree that leaves are appended to: its tiles that are not full.

    Attributes:
        size: how many leaves the tree has.
        levels: by level of tiles, the hashes of the last tile, fewer than it can have.
    """

    __slots__ = ("levels", "size")

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin with nothing, or where a tree ended.

        Args:
            size: how many leaves that had.
            levels: its edge.
        """
        self.size, self.levels = size, [list(level) for level in levels]

    def extend(self, leaves: Sequence[bytes]) -> Iterator[Tile]:
        """Append leaves, given their hashes, and yield each tile that is full by them."""
        start = 0
        while start < len(leaves):
            stop = min(start + WIDTH - self.size % WIDTH, len(leaves))
            self.size += stop - start
            yield from self._append(leaves[start:stop])
            start = stop

    def _append(self, nodes: Sequence[bytes]) -> Iterator[Tile]:
        """Append nodes to the lowest level that do not fill more than a tile."""
        for level in itertools.count():
            if level == len(self.levels):
                self.levels.append([])
            tile = self.levels[level]
            tile += nodes
            if len(tile) < WIDTH:
                return
            self.levels[level] = []
            yield level, (self.size >> 8 * (level + 1)) - 1, tile
            nodes = (folded(tile),)

    def root(self) -> bytes:
        """Return the hash of all leaves, for a tree without any that of nothing."""
        right: list[bytes] = []
        for level in self.levels:
            if nodes := [*level, *right]:
                right = [folded(nodes)]
        return right[0] if right else EMPTY

    def partial_tiles(self) -> Iterator[Tile]:
        """Yield the tiles that are not full, but for empty ones."""
        for level, nodes in enumerate(self.levels):
            if nodes:
                yield level, self.size >> 8 * (level + 1), nodes


def inclusion_proof(node: Node, index: int, size: int) -> tuple[bytes, ...]:
    """Return what shows that a leaf is in a tree (RFC 9162, section 2.1.3.1).

    Args:
        node: returns the nodes of the tree.
        index: which leaf, from 0.
        size: how many leaves the tree has.

    Returns:
        Hashes, from the leaf's neighbour to the root's child.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(f"a tree of {size} leaves has no leaf {index}")
    proof, start, stop = [], 0, size
    while stop - start > 1:
        middle = _middle(start, stop)
        if index < middle:
            proof.append(_subtree(node, middle, stop))
            stop = middle
        else:
            proof.append(_subtree(node, start, middle))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(node: Node, old: int, size: int) -> tuple[bytes, ...]:
    """Return what shows that a tree begins as an older one was (RFC 9162, section 2.1.4.1).

    Args:
        node: returns the nodes of the tree.
        old: how many leaves, from the first, the older tree has.
        size: how many the tree has.

    Returns:
        Hashes; none where the older tree is empty or the same.

    Raises:
        IndexError: the tree has fewer leaves.
    """
    if not 0 <= old <= size:
        raise IndexError(f"a tree of {size} leaves has no first {old}")
    proof, start, stop = [], 0, size if old else 0
    while old != stop and old:
        middle = _middle(start, stop)
        if old <= middle:
            proof.append(_subtree(node, middle, stop))
            stop = middle
        else:
            proof.append(_subtree(node, start, middle))
            start = middle
    # At the start the node is the older tree itself, whose root the verifier has.
    return tuple(reversed([*proof, *([_subtree(node, start, stop)] if start else [])]))


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
    if (old_size == 0 and old_root != EMPTY) or (old_size == new_size and old_root != new_root):
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
            old, new = folded((sibling, old)), folded((sibling, new))
            # A last node without a neighbour goes up as it is.
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = folded((new, sibling))
        index, last = index >> 1, last >> 1
    return None if last else (old, new)


def _middle(start: int, stop: int) -> int:
    """Return where a tree of several leaves parts: after the largest power of two."""
    return start + (1 << (stop - start - 1).bit_length() - 1)


def _subtree(node: Node, start: int, stop: int) -> bytes:
    """Return the root over some leaves of a tree, as its proofs need them."""
    height = (stop - start).bit_length() - 1
    if stop - start == 1 << height:
        return node(height, start >> height)
    middle = _middle(start, stop)
    return folded((_subtree(node, start, middle), _subtree(node, middle, stop)))
