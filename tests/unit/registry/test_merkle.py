"""The tree over the entries: RFC 6962's own numbers, another implementation's, and no proof of what is not so."""

import hashlib
import random
from collections.abc import Iterator

import pytest
from pymerkle import InmemoryTree

from saint.registry import MerkleTree, leaf_hash, merkle_root, verify_consistency, verify_inclusion

CONTENTS = [f"entry {number}".encode() for number in range(70)]
TREE = MerkleTree(map(leaf_hash, CONTENTS))
OLD_AND_NEW = [(old, size) for size in range(1, 40) for old in range(size + 1)]


def broken(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Each proof that is this one with one thing wrong."""
    for index, node in enumerate(proof):
        yield [*proof[:index], bytes([node[0] ^ 1]) + node[1:], *proof[index + 1 :]]
        yield [*proof[:index], *proof[index + 1 :]]
    yield [*proof, bytes(32)]


def test_roots_are_those_of_the_published_test_vectors() -> None:
    """From the reference tests of certificate-transparency-go."""
    contents = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    contents.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
    assert merkle_root([]).hex() == hashlib.sha256().hexdigest()
    assert merkle_root(contents[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(contents[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert merkle_root(contents[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle_root(contents).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_another_implementation_finds_the_same_roots_and_proofs() -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for content in CONTENTS:
        oracle.append_entry(content)
    for size in range(1, len(CONTENTS) + 1):
        assert oracle.get_root(size) == TREE.root(size)
    for index, size in OLD_AND_NEW:
        if index < size:
            theirs = set(oracle.prove_inclusion(index + 1, size).path)
            assert {leaf_hash(CONTENTS[index]), *TREE.inclusion(index, size)} == theirs


def test_proofs_of_growth_are_those_that_rfc_6962_defines() -> None:
    def subproof(old: int, contents: list[bytes], *, is_whole: bool) -> list[bytes]:
        if old == len(contents):
            return [] if is_whole else [merkle_root(contents)]
        middle = max(1 << power for power in range(8) if 1 << power < len(contents))
        left, right = contents[:middle], contents[middle:]
        if old <= middle:
            return [*subproof(old, left, is_whole=is_whole), merkle_root(right)]
        return [*subproof(old - middle, right, is_whole=False), merkle_root(left)]

    for old, size in OLD_AND_NEW:
        if old:
            assert TREE.consistency(old, size) == subproof(old, CONTENTS[:size], is_whole=True)


def test_what_is_there_can_be_shown_to_be_there() -> None:
    for index, size in OLD_AND_NEW:
        if index < size:
            proof = TREE.inclusion(index, size)
            assert verify_inclusion(leaf_hash(CONTENTS[index]), index, size, TREE.root(size), proof)


def test_what_grew_can_be_shown_to_have_grown() -> None:
    for old, size in OLD_AND_NEW:
        assert verify_consistency(old, size, TREE.root(old), TREE.root(size), TREE.consistency(old, size))


def test_no_proof_with_one_thing_wrong_shows_anything() -> None:
    num_refused = 0
    for old, size in OLD_AND_NEW:
        for proof in broken(TREE.consistency(old, size)):
            assert not verify_consistency(old, size, TREE.root(old), TREE.root(size), proof)
            num_refused += 1
        for proof in broken(TREE.inclusion(old, size)) if old < size else ():
            assert not verify_inclusion(leaf_hash(CONTENTS[old]), old, size, TREE.root(size), proof)
            num_refused += 1
    assert num_refused > 5_000


def test_no_proof_shows_another_leaf_place_or_root() -> None:
    proof = TREE.inclusion(11, 30)
    leaf, root = leaf_hash(CONTENTS[11]), TREE.root(30)
    assert verify_inclusion(leaf, 11, 30, root, proof)
    assert not verify_inclusion(leaf_hash(CONTENTS[12]), 11, 30, root, proof)
    assert not verify_inclusion(leaf, 12, 30, root, proof)
    assert not verify_inclusion(leaf, 11, 30, TREE.root(31), proof)
    assert not verify_inclusion(leaf, 30, 30, root, proof)
    assert not verify_consistency(31, 30, TREE.root(31), root, [])
    assert not verify_consistency(0, 30, bytes(32), root, [])


def test_a_rewritten_past_is_not_consistent() -> None:
    other = MerkleTree(leaf_hash(content + b"!" * (number == 3)) for number, content in enumerate(CONTENTS))
    for old, size in OLD_AND_NEW:
        if 3 < old <= size:
            assert not verify_consistency(old, size, TREE.root(old), other.root(size), other.consistency(old, size))


@pytest.mark.parametrize("size", [1, 2, 1000, 4095, 10_000])
def test_a_tree_that_grows_by_one_is_the_tree_made_at_once(size: int) -> None:
    leaves = [hashlib.sha256(str(number).encode()).digest() for number in range(size)]
    grown = MerkleTree()
    for leaf in leaves:
        grown.append(leaf)
        if random.Random(len(grown)).random() < 0.01:
            grown.root()
    assert grown.root() == MerkleTree(leaves).root()


def test_an_append_and_its_root_cost_few_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    original = hashlib.sha256
    tree = MerkleTree(original(str(number).encode()).digest() for number in range(10_000))
    monkeypatch.setattr("saint.registry._merkle.hashlib.sha256", lambda *data: hashed.append(1) or original(*data))
    for number in range(100):
        tree.append(bytes([number]) * 32)
        tree.root()
    assert len(hashed) <= 100 * 2 * 14
