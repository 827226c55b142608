"""A tree has the root and the proofs that its specification says, and nothing else proves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.log.sign import merkle
from policy_router.log.sign.merkle import (
    TreeEdge,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.support.examples import examples
from tests.support.log_auditing import nodes_of, root
from tests.support.rows import each

MOST = 70


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    return merkle.inclusion_proof(nodes_of(leaves), index, len(leaves))


def consistency_proof(leaves: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    return merkle.consistency_proof(nodes_of(leaves), size, len(leaves))


def grow(edge: TreeEdge, leaves: Sequence[bytes]) -> list[merkle.Tile]:
    """Append leaves, and return the tiles that are full by them."""
    return list(edge.extend(leaves))


def unhex(*texts: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


# The reference tree of Certificate Transparency (RFC 6962), as transparency-dev/merkle has it.
INPUTS = unhex(
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
# The same: the nodes of the tree of 8, by level.
A, B, C, D, E, F, G, H = unhex(
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
    "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
)
AB, CD, EF, GH = unhex(
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
)
ABCD, EFGH = unhex(
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)
# The same: the roots of the trees over the first inputs, by their number.
ROOTS = unhex(
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [leaf_hash(content) for content in INPUTS]
MANY = [leaf_hash(str(number).encode()) for number in range(10_000)]
EVERY_ROOT = [root(MANY[:size]) for size in range(MOST + 1)]


def slow_root(leaves: Sequence[bytes]) -> bytes:
    """Return MTH as RFC 9162, section 2.1.1, defines it."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256().digest()
    half = largest_power_below(len(leaves))
    return sha256(b"\x01" + slow_root(leaves[:half]) + slow_root(leaves[half:])).digest()


def slow_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return PATH as RFC 9162, section 2.1.3.1, defines it."""
    if len(leaves) == 1:
        return ()
    half = largest_power_below(len(leaves))
    if index < half:
        return (*slow_path(leaves[:half], index), slow_root(leaves[half:]))
    return (*slow_path(leaves[half:], index - half), slow_root(leaves[:half]))


def slow_proof(leaves: Sequence[bytes], size: int, *, whole: bool = True) -> tuple[bytes, ...]:
    """Return SUBPROOF as RFC 9162, section 2.1.4.1, defines it."""
    if size == len(leaves):
        return () if whole else (slow_root(leaves),)
    half = largest_power_below(len(leaves))
    if size <= half:
        return (*slow_proof(leaves[:half], size, whole=whole), slow_root(leaves[half:]))
    return (*slow_proof(leaves[half:], size - half, whole=False), slow_root(leaves[:half]))


def largest_power_below(number: int) -> int:
    return 1 << (number - 1).bit_length() - 1


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8 % len(content)] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # Both from the tests of RFC 6962's hashes in transparency-dev/merkle.
        (b"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (b"L123456", "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"),
    ],
)
def test_a_leaf_has_the_hash_of_rfc_6962(content: bytes, expected: str) -> None:
    assert leaf_hash(content).hex() == expected


def test_the_reference_tree_has_its_leaves() -> None:
    assert LEAVES == [A, B, C, D, E, F, G, H]


def test_a_leaf_is_no_node() -> None:
    assert leaf_hash(A + B) != root([A, B])
    assert root([A, B]) != root([B, A])


@each("size", range(9))
def test_every_reference_tree_has_its_root(size: int) -> None:
    assert root(LEAVES[:size]) == ROOTS[size]


def test_a_tree_has_each_root_while_it_grows() -> None:
    tree = TreeEdge()
    for size, leaf in enumerate(LEAVES):
        assert (tree.size, tree.root()) == (size, ROOTS[size])
        grow(tree, [leaf])
    assert (tree.size, tree.root()) == (8, ROOTS[8])


def test_a_root_is_the_one_of_the_recursive_definition() -> None:
    for size in (*range(MOST + 1), 4095, 4096, 4097, 8192, 10_000):
        assert root(MANY[:size]) == slow_root(MANY[:size]), size


@examples(300)
@given(st.lists(st.integers(0, 40), max_size=12))
def test_in_what_pieces_a_tree_grows_makes_no_difference(pieces: list[int]) -> None:
    tree, size = TreeEdge(), 0
    for piece in pieces:
        grow(tree, MANY[size : size + piece])
        size += piece
    assert (tree.size, tree.root()) == (size, root(MANY[:size]))


def test_pieces_may_be_larger_than_what_is_read_at_a_time() -> None:
    tree = TreeEdge()
    for start, end in ((0, 1), (1, 5000), (5000, 5000), (5000, 10_000)):
        grow(tree, MANY[start:end])
    assert (tree.size, tree.root()) == (10_000, slow_root(MANY))


@each(
    ("index", "size", "expected"),
    [
        # The inclusion proofs over the reference tree in transparency-dev/merkle.
        (0, 1, ()),
        (0, 8, (B, CD, EFGH)),
        (5, 8, (E, GH, ABCD)),
        (2, 3, (AB,)),
        (1, 5, (A, CD, E)),
        # The examples of RFC 6962, section 2.1.3, and of RFC 9162, section 2.1.5.
        (0, 7, (B, CD, root([E, F, G]))),
        (3, 7, (C, AB, root([E, F, G]))),
        (4, 7, (F, G, ABCD)),
        (6, 7, (EF, ABCD)),
    ],
)
def test_an_inclusion_proof_is_that_of_the_specification(
    index: int, size: int, expected: tuple[bytes, ...]
) -> None:
    proof = inclusion_proof(LEAVES[:size], index)
    assert proof == expected
    assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])


@each(
    ("old_size", "new_size", "expected"),
    [
        # The consistency proofs over the reference tree in transparency-dev/merkle.
        (1, 1, ()),
        (1, 8, (B, CD, EFGH)),
        (6, 8, (EF, GH, ABCD)),
        (2, 5, (CD, E)),
        (6, 7, (EF, G, ABCD)),
        # The examples of RFC 6962, section 2.1.3, and of RFC 9162, section 2.1.5.
        (3, 7, (C, D, AB, root([E, F, G]))),
        (4, 7, (root([E, F, G]),)),
    ],
)
def test_a_consistency_proof_is_that_of_the_specification(
    old_size: int, new_size: int, expected: tuple[bytes, ...]
) -> None:
    proof = consistency_proof(LEAVES[:new_size], old_size)
    assert proof == expected
    assert verify_consistency(old_size, new_size, ROOTS[old_size], ROOTS[new_size], proof)


@pytest.mark.parametrize("size", range(1, MOST + 1))
@pytest.mark.slow
def test_every_leaf_of_every_tree_proves(size: int) -> None:
    leaves = MANY[:size]
    for index, leaf in enumerate(leaves):
        proof = inclusion_proof(leaves, index)
        assert proof == slow_path(leaves, index)
        proving = [
            other
            for other in range(-1, size + 2)
            if verify_inclusion(leaf, other, size, proof, EVERY_ROOT[size])
        ]
        assert proving == [index]


@each("new_size", range(MOST + 1))
def test_every_tree_is_consistent_with_all_before_it(new_size: int) -> None:
    leaves, new_root = MANY[:new_size], EVERY_ROOT[new_size]
    for old_size, old_root in enumerate(EVERY_ROOT[: new_size + 1]):
        proof = consistency_proof(leaves, old_size)
        if old_size:
            assert proof == slow_proof(leaves, old_size)
        assert verify_consistency(old_size, new_size, old_root, new_root, proof)


@examples(300)
@given(st.data())
def test_no_flipped_bit_is_included(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    leaf, *path, top = (
        MANY[index],
        *inclusion_proof(MANY[:size], index),
        EVERY_ROOT[size],
    )
    parts = [leaf, *path, top]
    changed = data.draw(st.integers(0, len(parts) - 1))
    parts[changed] = flipped(parts[changed], data.draw(st.integers(0, 255)))
    assert not verify_inclusion(parts[0], index, size, parts[1:-1], parts[-1])


@examples(300)
@given(st.data())
def test_no_flipped_bit_is_consistent(data: st.DataObject) -> None:
    new_size = data.draw(st.integers(1, MOST))
    old_size = data.draw(st.integers(0, new_size))
    proof = consistency_proof(MANY[:new_size], old_size)
    # Of an empty tree nothing is shown, so that any newer root will do.
    parts = [EVERY_ROOT[old_size], *proof, *([EVERY_ROOT[new_size]] if old_size else [])]
    changed = data.draw(st.integers(0, len(parts) - 1))
    parts[changed] = flipped(parts[changed], data.draw(st.integers(0, 255)))
    new_root = parts.pop() if old_size else EVERY_ROOT[new_size]
    assert not verify_consistency(old_size, new_size, parts[0], new_root, parts[1:])


CHANGES: list[Callable[[tuple[bytes, ...]], Sequence[bytes]]] = [
    lambda proof: proof[1:],
    lambda proof: proof[:-1],
    lambda proof: (*proof, bytes(32)),
    lambda proof: (bytes(32), *proof),
    lambda proof: (*proof, proof[-1]),
    lambda proof: proof[::-1],
    lambda proof: (b"", *proof),
    lambda proof: (*proof, *(bytes(32) for _ in range(1000))),
    lambda proof: (proof[0] + proof[1], *proof[2:]),
    lambda _proof: (),
]


@each("change", CHANGES, ids=range(len(CHANGES)))
def test_a_proof_of_another_length_or_order_shows_nothing(
    change: Callable[[tuple[bytes, ...]], Sequence[bytes]],
) -> None:
    for index, size in ((0, 1), (1, 2), (4, 3), (5, 5), (6, 6)):
        included = change(inclusion_proof(LEAVES[:7], index))
        assert not verify_inclusion(LEAVES[index], index, 7, included, ROOTS[7])
        consistent = change(consistency_proof(LEAVES[:7], size))
        assert not verify_consistency(size, 7, ROOTS[size], ROOTS[7], consistent)


@each(
    ("leaf", "index", "size", "top"),
    [
        # From the malformed inclusion proofs in transparency-dev/merkle.
        (bytes(32), 0, 0, ROOTS[0]),
        (b"", 0, 0, ROOTS[0]),
        (b"", 0, 1, b""),
        (b"", 0, 1, ROOTS[1]),
        (ROOTS[1], 0, 1, b""),
        (bytes(32), 1, 0, ROOTS[0]),
        (bytes(32), 2, 1, ROOTS[0]),
        # Our own.
        (A, -1, 1, A),
        (A, 0, -1, A),
        (A, 1, 1, A),
        (A[:31], 0, 1, A[:31]),
    ],
)
def test_what_is_no_leaf_of_a_tree_is_not_included(
    leaf: bytes, index: int, size: int, top: bytes
) -> None:
    assert not verify_inclusion(leaf, index, size, (), top)


@each(
    ("old_size", "new_size", "old_root", "new_root", "proof"),
    [
        # From the malformed consistency proofs in transparency-dev/merkle.
        (0, 0, ROOTS[0], b"other", ()),
        (1, 1, ROOTS[0], b"other", ()),
        (2, 1, b"one", b"other", ()),
        (1, 0, b"one", b"other", ()),
        (0, 1, b"one", b"other", ()),
        (0, 0, b"one", b"one", ()),
        (1, 2, b"one", b"other", ()),
        (0, 1, ROOTS[0], ROOTS[0], (ROOTS[0],)),
        (0, 0, ROOTS[0], ROOTS[0], (ROOTS[0],)),
        (1, 1, ROOTS[0], ROOTS[0], (ROOTS[0],)),
        # Our own.
        (-1, -1, A, A, ()),
        (-1, 3, A, A, ()),
        (3, 7, ROOTS[7], ROOTS[3], (C, D, AB, root([E, F, G]))),
    ],
)
def test_what_are_no_trees_of_one_log_is_not_consistent(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: tuple[bytes, ...]
) -> None:
    assert not verify_consistency(old_size, new_size, old_root, new_root, proof)


def test_every_tree_is_consistent_with_the_empty_one_whatever_is_in_it() -> None:
    assert verify_consistency(0, 0, ROOTS[0], ROOTS[0], ())
    assert verify_consistency(0, 5, ROOTS[0], ROOTS[5], ())


@each(("leaves", "index"), [([], 0), ([A], 1), ([A], -1), ([A, B], 2)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(leaves: list[bytes], index: int) -> None:
    with pytest.raises(IndexError, match=rf"^a tree of {len(leaves)} leaves has no leaf {index}$"):
        inclusion_proof(leaves, index)


@each(("leaves", "size"), [([], 1), ([A], 2), ([A], -1)])
def test_there_is_no_proof_of_a_tree_that_is_larger(leaves: list[bytes], size: int) -> None:
    with pytest.raises(IndexError, match=rf"^a tree of {len(leaves)} leaves has no first {size}$"):
        consistency_proof(leaves, size)


@pytest.mark.slow
def test_a_large_tree_proves_too() -> None:
    leaves = MANY * 10 + MANY[:77]
    top, size = root(leaves), len(leaves)
    for index in (0, 65_535, 65_536, size - 1):
        proof = inclusion_proof(leaves, index)
        assert verify_inclusion(leaves[index], index, size, proof, top)
    for old_size in (1, 65_536, 65_537, size - 1):
        proof = consistency_proof(leaves, old_size)
        assert verify_consistency(old_size, size, root(leaves[:old_size]), top, proof)


def test_the_tiles_of_a_tree_of_70000_leaves_are_those_of_the_specification() -> None:
    # https://c2sp.org/tlog-tiles, "Partial Tiles"
    leaves, edge = MANY * 7, TreeEdge()
    tiles = [(level, number) for level, number, _ in grow(edge, leaves)]
    assert tiles.count((0, 272)) == 1
    assert len([it for it in tiles if it[0] == 0]) == 273
    assert [it for it in tiles if it[0]] == [(1, 0)]
    parts = [(level, number, len(nodes)) for level, number, nodes in edge.partial_tiles()]
    assert parts == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    again = TreeEdge(edge.size, edge.levels)
    grow(again, leaves[:300])
    assert again.root() == root([*leaves, *leaves[:300]])
