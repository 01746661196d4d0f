"""Training text that has seen what grafts are judged on: found by runs of words, also where some were changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Int64, UInt64

from saint.data._documents import Document
from saint.data._duplicates import shingles, similarity, sketch_of, words_of
from saint.errors import ConfigError, DataError

_NUM_KEYS = 32  # smallest hashes of a sketch by which two documents meet
_COMMON = 4  # a run of words that so many documents have is a licence, a heading or a phrase, and no sign of a copy

Test = Literal["13-grams", "longest run", "MinHash"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Contamination:
    """When a training document counts as having seen one that grafts are judged on, and what is done then."""

    on_hit: Literal["drop", "refuse", "ignore"] = "drop"
    """Leave the training document out, refuse the text as a whole, or do not look at all."""
    num_words: int = 13
    """Words of a run that is looked for."""
    at_most_contained: float = 0.2
    """Share of a document's runs that one of the other sort may have."""
    longest_run: int = 50
    """Words in a row from which on two documents count as one copied from the other."""
    at_most_similar: float = 0.5
    """Jaccard similarity of their sets of 5-word runs, estimated by MinHash."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.num_words < 2 or self.longest_run < self.num_words:
            raise ConfigError(
                f"num_words is {self.num_words} and longest_run {self.longest_run}; give at least 2 words, and no "
                "shorter longest run"
            )
        for name in ("at_most_contained", "at_most_similar"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and up to 1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One training document that has seen one that grafts are judged on."""

    train: int
    """Index of the training document."""
    split: str
    """domain/split, or suite, of the other."""
    document: str
    """SHA-256 of the other."""
    test: Test
    """Which test found it first."""
    size: float
    """What that test measured: a share, a number of words, or a similarity."""


class _Runs(NamedTuple):
    """The runs of words of all documents that grafts are judged on, sorted by hash."""

    hashes: UInt64[np.ndarray, " runs"]
    owners: Int64[np.ndarray, " runs"]
    places: Int64[np.ndarray, " runs"]
    """Where each lies among all runs, one document after the other."""
    num_each: Int64[np.ndarray, " documents"]


def find_contamination(
    train: Sequence[Document], judged: Mapping[str, Sequence[Document]], settings: Contamination
) -> list[Hit]:
    """The training documents that share too much with one that grafts are judged on; at most one hit for each.

    Words are compared without case and punctuation, so that a copy is found that was only set differently. Three tests,
    in this order: the share of 13-word runs that are in the other document (of either, so that an excerpt is found and
    a document around it), the longest run in common, and the similarity of 5-word runs, which holds out longest against
    changed words. Runs that four documents or more have are not counted. A paraphrase is not found.

    Args:
        judged: domain/split or suite -> its documents.

    Source:
        Brown et al. 2020, arXiv:2005.14165, appendix C, for 13-grams; Singh et al. 2024, arXiv:2411.03923, for the
        longest run.
    """
    others = [(split, document) for split, documents in judged.items() for document in documents]
    if not others or not train:
        return []
    runs = _runs([document for _, document in others], settings.num_words)
    common = _common(train, settings.num_words)
    alike = _Alike([document for _, document in others])
    hits = []
    for index, document in enumerate(train):
        found = _by_runs(document, runs, common, settings) or alike.best(document, settings.at_most_similar)
        if found is not None:
            owner, test, size = found
            split, other = others[owner]
            hits.append(Hit(train=index, split=split, document=other.digest, test=test, size=size))
    return hits


def must_be_clean(hits: Sequence[Hit], train: Sequence[Document]) -> None:
    """Refuse text whose training documents have seen what grafts are judged on.

    Raises:
        DataError: There is a hit; the message names the first.
    """
    if hits:
        first = hits[0]
        raise DataError(
            f"{len(hits)} training documents have seen text that grafts are judged on, such as "
            f"{train[first.train].source} and a document of {first.split} ({first.test}: {first.size:.3g}); take them "
            "out of the sources, or set contamination.on_hit to 'drop'"
        )


def _by_runs(
    document: Document, runs: _Runs, common: UInt64[np.ndarray, " n"], settings: Contamination
) -> tuple[int, Test, float] | None:
    """The document that shares most runs with this one, if they are too many or one is too long."""
    own = shingles(words_of(document.text), settings.num_words)
    place = np.searchsorted(runs.hashes, own)
    place[place == len(runs.hashes)] = 0
    matched = (runs.hashes[place] == own) & ~np.isin(own, common)
    if not matched.any():
        return None
    at, place = np.flatnonzero(matched), place[matched]
    owners = runs.owners[place]
    met, counts = np.unique(owners, return_counts=True)
    shares = counts / np.minimum(runs.num_each[met], len(own))
    best = int(np.argmax(shares))
    if shares[best] > settings.at_most_contained:
        return int(met[best]), "13-grams", float(min(1.0, shares[best]))
    owner, length = _longest(at, runs.places[place], owners, settings.num_words)
    return (owner, "longest run", float(length)) if length >= settings.longest_run else None


def _longest(
    at: Int64[np.ndarray, " n"], places: Int64[np.ndarray, " n"], owners: Int64[np.ndarray, " n"], num_words: int
) -> tuple[int, int]:
    """(whose, how many words): the longest stretch of matches that advance together in both documents."""
    order = np.lexsort((at, places - at))
    breaks = (np.diff(at[order]) != 1) | (np.diff((places - at)[order]) != 0)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    lengths = np.diff(np.concatenate([starts, [len(order)]]))
    best = int(np.argmax(lengths))
    return int(owners[order[starts[best]]]), int(lengths[best]) + num_words - 1


def _runs(documents: Sequence[Document], num_words: int) -> _Runs:
    """Each run once, with the first document that has it; those that many documents have are left out."""
    each = [shingles(words_of(document.text), num_words) for document in documents]
    num_each = np.array([len(one) for one in each], dtype=np.int64)
    hashes, owners = np.concatenate(each), np.repeat(np.arange(len(each)), num_each)
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    pairs = np.unique(np.stack([inverse, owners]), axis=1)
    rare = np.bincount(pairs[0], minlength=len(unique)) < _COMMON
    return _Runs(hashes=unique[rare], owners=owners[first[rare]], places=first[rare], num_each=num_each)


def _common(documents: Sequence[Document], num_words: int) -> UInt64[np.ndarray, " n"]:
    """The runs that many documents have."""
    each = [np.unique(shingles(words_of(document.text), num_words)) for document in documents]
    unique, counts = np.unique(np.concatenate(each), return_counts=True)
    common: UInt64[np.ndarray, " n"] = unique[counts >= _COMMON]
    return common


@final
class _Alike:
    """Finds the document whose sketch is most like another's."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._sketches = [sketch_of(document.text) for document in documents]
        self._having: dict[int, list[int]] = defaultdict(list)
        for index, sketch in enumerate(self._sketches):
            for key in sketch[:_NUM_KEYS].tolist():
                self._having[key].append(index)

    def best(self, document: Document, at_most: float) -> tuple[int, Test, float] | None:
        """The most similar one, if it is too similar."""
        sketch = sketch_of(document.text)
        met = sorted({index for key in sketch[:_NUM_KEYS].tolist() for index in self._having.get(key, ())})
        alike = [(similarity(sketch, self._sketches[index]), index) for index in met]
        size, index = max(alike, default=(0.0, -1))
        return (index, "MinHash", size) if size >= at_most else None
