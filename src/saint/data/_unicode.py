"""A tokenizer with an id for each character: code points, and the pairs and triples of them that are frequent."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models

from saint.errors import DataError

START = "<|endoftext|>"
"""The token before a document's first, and after its last."""
_NUM_LATIN = 0x100
_NUM_BYTES = 0x100
_SMALLEST = _NUM_LATIN + 1 + _NUM_BYTES
_PLANE = 0x10000
_SURROGATES, _PRIVATE, _COMPATIBILITY = 0xD800, 0xE000, 0xF900  # where stretches of the basic plane begin
_BITS = 21  # of a code point; three fit into 64 bits
_LONGEST = 3
_CHARACTERS_AT_ONCE = 1 << 22
_BETWEEN = (1 << _BITS) - 1  # no code point; stands between documents


class _Counted(NamedTuple):
    """Runs of characters and how often each occurs."""

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]


def build_unicode(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """One id per character, and with what room is left one per frequent pair or triple (arXiv:2507.07129).

    From 65,536 tokens on, the id of a character of the basic plane is its code point; the start token and single bytes
    stand where private use begins; pairs and triples stand among the surrogates, behind the bytes, and after the plane.
    A smaller vocabulary has the first 256 characters at their code points, start token, bytes, the text's other
    characters and then pairs and triples. Characters without an id are spelled in bytes, so that any text comes back.

    Raises:
        DataError: The vocabulary cannot hold the first 256 characters and the bytes.
    """
    if vocab_size < _SMALLEST:
        raise DataError(f"vocab_size is {vocab_size}; a Unicode tokenizer needs at least {_SMALLEST}")
    counted = _count(texts)
    characters = _characters(vocab_size, counted[0])
    vocabulary = {chr(point): number for number, point in characters.items()}
    first_byte = (_PRIVATE if vocab_size >= _PLANE else _NUM_LATIN) + 1
    vocabulary[START] = first_byte - 1
    vocabulary |= {f"<0x{byte:02X}>": first_byte + byte for byte in range(_NUM_BYTES)}
    taken = set(vocabulary.values())
    free = [number for number in range(vocab_size) if number not in taken]
    frequent = _frequent(counted[1:], set(characters.values()), len(free))
    for number, run in zip(free, sorted(frequent, key=lambda run: (-len(run), run)), strict=False):
        vocabulary[run] = number
    if vocab_size >= _PLANE:
        vocabulary |= {f"<unused_{number}>": number for number in free[len(frequent) :]}
    model = models.BPE(vocab=vocabulary, merges=list(_merges(frequent, vocabulary)), byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([START])
    return tokenizer


def _characters(vocab_size: int, counted: _Counted) -> dict[int, int]:
    """Id -> code point of the characters that have one."""
    if vocab_size >= _PLANE:
        points = [*range(_SURROGATES), *range(_COMPATIBILITY, _PLANE)]
        return {point: point for point in points}
    others = counted.keys >= _NUM_LATIN
    keys, counts = counted.keys[others], counted.counts[others]
    most_frequent = keys[np.argsort(-counts, kind="stable")][: vocab_size - _SMALLEST]
    numbered = enumerate(sorted(most_frequent.tolist()), start=_SMALLEST)
    return {**{point: point for point in range(_NUM_LATIN)}, **dict(numbered)}


def _frequent(counted: Sequence[_Counted], characters: set[int], most: int) -> list[str]:
    """So many pairs and triples at most, the most frequent first; of equally frequent ones the shorter.

    A triple occurs no more often than the pairs in it, so that each comes after a pair that it is merged from.
    """
    keys = np.concatenate([found.keys for found in counted])
    counts = np.concatenate([found.counts for found in counted])
    lengths = np.repeat(np.arange(2, _LONGEST + 1), [len(found.keys) for found in counted])
    known = np.array(sorted(characters), dtype=np.uint64)
    inside = np.ones(len(keys), dtype=np.bool_)
    for place in range(_LONGEST):
        point = (keys >> np.uint64(_BITS * place)) & np.uint64(_BETWEEN)
        inside &= np.isin(point, known) | (lengths <= place)
    order = np.lexsort((keys[inside], lengths[inside], -counts[inside]))[:most]
    chosen = zip(keys[inside][order].tolist(), lengths[inside][order].tolist(), strict=True)
    return [_spelled(key, length) for key, length in chosen]


def _spelled(key: int, length: int) -> str:
    points = [(key >> (_BITS * place)) & _BETWEEN for place in reversed(range(length))]
    return "".join(map(chr, points))


def _merges(frequent: Sequence[str], vocabulary: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Every way to join two tokens to a pair or triple: pairs first, the more frequent before the less."""
    for run in sorted(frequent, key=len):
        for cut in range(1, len(run)):
            if run[:cut] in vocabulary and run[cut:] in vocabulary:
                yield run[:cut], run[cut:]


def _count(texts: Iterable[str]) -> list[_Counted]:
    """The characters, pairs and triples of all texts."""
    totals = [_Counted(np.empty(0, np.uint64), np.empty(0, np.int64)) for _ in range(_LONGEST)]
    for points in _pieces(texts):
        for length in range(1, _LONGEST + 1):
            keys = np.zeros(max(0, len(points) - length + 1), dtype=np.uint64)
            within = np.ones(len(keys), dtype=np.bool_)
            for place in range(length):
                part = points[place : place + len(keys)]
                keys = (keys << np.uint64(_BITS)) | part
                within &= part != _BETWEEN
            found, counts = np.unique(keys[within], return_counts=True)
            totals[length - 1] = _added(totals[length - 1], _Counted(found, counts.astype(np.int64)))
    return totals


def _added(one: _Counted, other: _Counted) -> _Counted:
    keys, places = np.unique(np.concatenate((one.keys, other.keys)), return_inverse=True)
    counts = np.zeros(len(keys), dtype=np.int64)
    np.add.at(counts, places, np.concatenate((one.counts, other.counts)))
    return _Counted(keys, counts)


def _pieces(texts: Iterable[str]) -> Iterator[NDArray[np.uint64]]:
    """Code points of whole documents, each followed by what stands between documents."""
    waiting: list[NDArray[np.uint64]] = []
    for text in texts:
        points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
        waiting += [points, np.array([_BETWEEN], dtype=np.uint64)]
        if sum(map(len, waiting)) >= _CHARACTERS_AT_ONCE:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
