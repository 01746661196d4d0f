"""Finding documents that say the same: exact copies by digest, near copies by MinHash sketches.

A sketch is the 128 smallest hashes of a document's shingles (the bottom-k form of MinHash), which one pass finds.

Source:
    Broder 1997, "On the resemblance and containment of documents", section 3.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import UInt64

from saint.data._documents import Document

_SKETCH_SIZE = 128
_NUM_KEYS = 16  # two documents that share none of their 16 smallest hashes are alike with probability below 1e-5
_SHINGLE_WORDS = 5
_NEAR = 0.7
_WORD = re.compile(r"\w+|[^\w\s]")
_BARE_WORD = re.compile(r"\w+")
_STEP = np.uint64(0x9E3779B97F4A7C15)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Which documents are kept, and how many repeated an earlier one."""

    kept: tuple[int, ...]
    """Indices of the documents that are the first of their kind, in order."""
    num_exact: int
    num_near: int


def find_duplicates(documents: Sequence[Document]) -> Duplicates:
    """Keep the first of each group of equal or nearly equal documents.

    Near means a Jaccard similarity of at least 0.7 between the sets of 5-word shingles, lower-cased, estimated from
    128 hashes (standard error at most 0.045; exact for documents of fewer shingles). The result is a pure function
    of the texts and their order.
    """
    first_with_digest: dict[str, int] = {}
    for index, document in enumerate(documents):
        first_with_digest.setdefault(document.digest, index)
    unique = sorted(first_with_digest.values())
    sketches: list[UInt64[np.ndarray, " hashes"]] = []  # of the kept ones
    having: dict[int, list[int]] = defaultdict(list)  # a small hash -> rows of `sketches` that have it
    kept: list[int] = []
    for index in unique:
        sketch = sketch_of(documents[index].text)
        keys = sketch[:_NUM_KEYS].tolist()
        met = {row for key in keys for row in having[key]}
        if any(similarity(sketch, sketches[row]) >= _NEAR for row in met):
            continue
        for key in keys:
            having[key].append(len(sketches))
        sketches.append(sketch)
        kept.append(index)
    return Duplicates(kept=tuple(kept), num_exact=len(documents) - len(unique), num_near=len(unique) - len(kept))


def sketch_of(text: str) -> UInt64[np.ndarray, " hashes"]:
    """The smallest hashes of a text's shingles, ascending."""
    return np.unique(shingles(_hashes(_WORD.findall(text.lower())), _SHINGLE_WORDS))[:_SKETCH_SIZE]


def words_of(text: str) -> UInt64[np.ndarray, " words"]:
    """A hash of each word, whatever its case, without the punctuation between them."""
    return _hashes(_BARE_WORD.findall(text.lower()))


def shingles(words: UInt64[np.ndarray, " words"], num_words: int) -> UInt64[np.ndarray, " runs"]:
    """A hash of each run of so many words, in the order of the text; of a shorter text one hash of all of it."""
    words = np.pad(words, (0, max(0, num_words - len(words))))
    count = len(words) - num_words + 1
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(num_words):
        hashes = _scramble(hashes + words[offset : offset + count] + _STEP)
    return hashes


def similarity(one: UInt64[np.ndarray, " m"], other: UInt64[np.ndarray, " n"]) -> float:
    """The share of the union's smallest hashes that both sketches have."""
    union = np.union1d(one, other)[:_SKETCH_SIZE]
    return float(np.mean(np.isin(union, one) & np.isin(union, other)))


def _hashes(words: Sequence[str]) -> UInt64[np.ndarray, " words"]:
    return np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)


def _scramble(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """The finaliser of SplitMix64: every input bit moves every output bit; arithmetic wraps at 2^64 on purpose."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64[np.ndarray, " n"] = values ^ (values >> np.uint64(31))
    return mixed
