"""The Merkle tree of RFC 6962 over a ledger's entries: one hash for all of them, and short proofs about it.

A leaf is SHA-256(0x00 || entry), a node SHA-256(0x01 || left || right); the left child has as many leaves as the
largest power of two that is smaller than the whole. Proofs are checked as RFC 9162, sections 2.1.3.2 and 2.1.4.2, says.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import final


def leaf_hash(content: bytes) -> bytes:
    """The hash of one entry's bytes as a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """The root over contents, each one leaf."""
    return MerkleTree(map(leaf_hash, leaves)).root()


@final
class MerkleTree:
    """A tree that only grows; it keeps every complete subtree, so that an append costs about two hashes."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """Begin with these leaf hashes."""
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash at the end."""
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(_node(*self._levels[level][-2:]))
            level += 1

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves, all of them when left out; SHA-256 of nothing for none."""
        size = len(self) if size is None else size
        assert 0 <= size <= len(self), "a tree knows the roots of its past, not of its future"
        return self._subtree(0, size) if size else hashlib.sha256().digest()

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """What shows that leaf `index` is among the first `size`: the siblings on its way up, lowest first."""
        start, stop = 0, len(self) if size is None else size
        assert 0 <= index < stop <= len(self), "only a leaf that is there can be shown to be there"
        proof = []
        while stop - start > 1:
            middle = start + _split(stop - start)
            if index < middle:
                proof.append(self._subtree(middle, stop))
                stop = middle
            else:
                proof.append(self._subtree(start, middle))
                start = middle
        return proof[::-1]

    def consistency(self, old_size: int, size: int | None = None) -> list[bytes]:
        """What shows that the tree of the first `size` leaves begins with that of the first `old_size`."""
        start, stop = 0, len(self) if size is None else size
        assert 0 <= old_size <= stop <= len(self), "a tree can only begin with a smaller one"
        if old_size in (0, stop):
            return []
        proof, is_old_root = [], True
        while old_size != stop:
            middle = start + _split(stop - start)
            if old_size <= middle:
                proof.append(self._subtree(middle, stop))
                stop = middle
            else:
                proof.append(self._subtree(start, middle))
                start, is_old_root = middle, False
        if not is_old_root:  # whoever checks has the old root already
            proof.append(self._subtree(start, stop))
        return proof[::-1]

    def _subtree(self, start: int, stop: int) -> bytes:
        size = stop - start
        if size & (size - 1) == 0 and start % size == 0:
            return self._levels[size.bit_length() - 1][start // size]
        middle = start + _split(size)
        return _node(self._subtree(start, middle), self._subtree(middle, stop))


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the leaf hash stands at `index` among `size` leaves with that `root`."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = _node(sibling, found)
            node, last = _skip_lone(node, last)
        else:
            found = _node(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` leaves begins with the one of `old_size`."""
    if not 0 <= old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    if old_size == 0:
        return not proof and old_root == hashlib.sha256().digest()
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    return bool(path) and _roots_along(path, old_size - 1, size - 1) == (old_root, root)


def _roots_along(path: Sequence[bytes], node: int, last: int) -> tuple[bytes, bytes] | None:
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            old, new = _node(sibling, old), _node(sibling, new)
            node, last = _skip_lone(node, last)
        else:
            new = _node(new, sibling)
        node, last = node >> 1, last >> 1
    return (old, new) if last == 0 else None


def _skip_lone(node: int, last: int) -> tuple[int, int]:
    """Go up through the levels where a node at the right edge has no sibling."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
