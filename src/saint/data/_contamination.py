"""Training text that has seen what grafts are judged on: found by runs of words, also where some were changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final, get_args

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from saint.data._documents import Document
from saint.data._duplicates import shingles, similarity, sketch_of, words_of
from saint.errors import ConfigError, DataError

_NUM_KEYS = 32  # smallest hashes of a sketch by which two documents meet
_COMMON = 4  # a run of words that so many training documents have is a licence, a heading or a phrase, and no copy
_HARDLY_OTHERS = 0.9  # share of a document's runs that are common: it is not boilerplate with something of its own
_LEAST_RUNS = 10  # that a share is of: a few runs beside boilerplate are not all of a document
_MOST_PLACES = 256  # at which the same run of words is followed up
_FEWEST_WORDS = 8  # of a text that is looked for inside another; what is shorter may well be said twice

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
    """SHA-256 of the other, of what is measured of it."""
    test: Test
    """Which test found it first."""
    size: float
    """What that test measured: a share, a number of words, or a similarity."""


class _Runs(NamedTuple):
    """Every run of words of the documents that grafts are judged on, sorted by hash."""

    hashes: UInt64[np.ndarray, " runs"]
    owners: Int64[np.ndarray, " runs"]
    places: Int64[np.ndarray, " runs"]
    """Where each lies among all runs, one document after the other."""
    num_each: Int64[np.ndarray, " documents"]


class _Met(NamedTuple):
    """Which runs of one training document a document that grafts are judged on has as well."""

    num_runs: int
    """Of the training document, in all."""
    at: Int64[np.ndarray, " met"]
    """Where they lie in the training document."""
    first: Int64[np.ndarray, " met"]
    """The first of the sorted runs with the same hash."""
    num: Int64[np.ndarray, " met"]
    """How many there are with it."""


def find_contamination(
    train: Sequence[Document], judged: Mapping[str, Sequence[Document]], settings: Contamination
) -> list[Hit]:
    """The training documents that share too much with one that grafts are judged on; at most one hit for each.

    Words are compared without case and punctuation, so that a copy is found that was only set differently. Three tests,
    in this order: the share of 13-word runs that are in the other document (of either, so that an excerpt is found and
    a document around it), the longest run in common, and the similarity of 5-word runs, which holds out longest against
    changed words. Runs that four training documents or more have are not counted, unless a document that grafts are
    judged on is made of little else: then it is what was copied so often. A document of 8 to 12 words is looked for as
    a whole; of a shorter one only a document like it is found. A paraphrase is not found.

    Args:
        judged: domain/split or suite -> its documents.

    Source:
        Brown et al. 2020, arXiv:2005.14165, appendix C, for 13-grams; Singh et al. 2024, arXiv:2411.03923, for the
        longest run.
    """
    others = [(split, document) for split, documents in judged.items() for document in documents]
    if not others or not train:
        return []
    words = [words_of(document.text) for _, document in others]
    own = [words_of(document.text) for document in train]
    runs, shorter, alike = _runs(words, settings.num_words), _Whole(words, settings.num_words), _Alike(others)
    met = [_met(one, runs, settings.num_words) for one in own]
    counted = _that_count(runs, met)
    whole = np.bincount(runs.owners[counted], minlength=len(others))
    whole = np.maximum(whole, np.minimum(runs.num_each, _LEAST_RUNS))
    hits = []
    for index, document in enumerate(train):
        found = (
            _by_runs(met[index], runs, counted, whole, settings)
            or shorter.inside(own[index])
            or alike.best(document, settings.at_most_similar)
        )
        if found is not None:
            owner, test, size = found
            split, other = others[owner]
            hits.append(Hit(train=index, split=split, document=other.digest, test=test, size=size))
    return hits


def must_be_clean(hits: Sequence[Hit], train: Sequence[Document]) -> None:
    """Refuse text whose training documents have seen what grafts are judged on.

    Raises:
        DataError: There is a hit; the message names the worst.
    """
    if hits:
        raise DataError(
            f"{len(hits)} training documents have seen text that grafts are judged on, worst of all "
            f"{spell_hit(worst_hit(hits), train)}; take them out of the sources, or set contamination.on_hit to 'drop'"
        )


def worst_hit(hits: Sequence[Hit]) -> Hit:
    """The one that leaves least doubt: by its test, in the order that they are tried in, then by what that measured."""
    order = get_args(Test)
    return min(hits, key=lambda hit: (order.index(hit.test), -hit.size))


def spell_hit(hit: Hit, train: Sequence[Document]) -> str:
    """Which document has seen what."""
    return f"{train[hit.train].source}, which has seen a document of {hit.split} ({hit.test}: {hit.size:.3g})"


def _by_runs(
    met: _Met,
    runs: _Runs,
    counted: Bool[np.ndarray, " runs"],
    whole: Int64[np.ndarray, " documents"],
    settings: Contamination,
) -> tuple[int, Test, float] | None:
    """The document that shares most runs with this one, if they are too many or one is too long.

    Args:
        whole: Of how many runs a share is, for each document that grafts are judged on.
    """
    num = np.minimum(met.num, _MOST_PLACES)
    at = np.repeat(met.at, num)
    row = np.repeat(met.first, num) + np.arange(len(at)) - np.repeat(np.cumsum(num) - num, num)
    at, row = at[counted[row]], row[counted[row]]
    if not len(row):
        return None
    owners = runs.owners[row]
    of_theirs = np.bincount(runs.owners[np.unique(row)], minlength=len(whole)) / np.maximum(whole, 1)
    different = np.unique(owners * met.num_runs + at)
    of_ours = np.bincount(different // met.num_runs, minlength=len(whole)) / met.num_runs
    shares = np.maximum(of_theirs, of_ours)
    best = int(np.argmax(shares))
    if shares[best] > settings.at_most_contained:
        return best, "13-grams", float(shares[best])
    owner, length = _longest(at, runs.places[row], owners, settings.num_words)
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


def _runs(documents: Sequence[UInt64[np.ndarray, " _"]], num_words: int) -> _Runs:
    """Each run of each document that is long enough to have one."""
    each = [shingles(words, num_words)[: max(0, len(words) - num_words + 1)] for words in documents]
    num_each = np.array([len(one) for one in each], dtype=np.int64)
    hashes = np.concatenate(each)
    order = np.argsort(hashes, kind="stable")
    owners = np.repeat(np.arange(len(each)), num_each)
    return _Runs(hashes=hashes[order], owners=owners[order], places=order, num_each=num_each)


def _met(words: UInt64[np.ndarray, " _"], runs: _Runs, num_words: int) -> _Met:
    own = shingles(words, num_words)
    first = np.searchsorted(runs.hashes, own, side="left")
    num = np.searchsorted(runs.hashes, own, side="right") - first
    at = np.flatnonzero(num)
    return _Met(num_runs=len(own), at=at, first=first[at], num=num[at])


def _that_count(runs: _Runs, met: Sequence[_Met]) -> Bool[np.ndarray, " runs"]:
    """All runs but those that many training documents have; these too where a document has hardly others."""
    having = np.zeros(len(runs.hashes), dtype=np.int64)
    for one in met:
        having[np.unique(one.first)] += 1
    are_common = having[np.searchsorted(runs.hashes, runs.hashes, side="left")] >= _COMMON
    num_common = np.bincount(runs.owners[are_common], minlength=len(runs.num_each))
    counted: Bool[np.ndarray, " runs"] = ~are_common | (num_common >= _HARDLY_OTHERS * runs.num_each)[runs.owners]
    return counted


@final
class _Whole:
    """Finds documents that are too short to have a run, yet long enough to say something, inside longer ones."""

    def __init__(self, documents: Sequence[UInt64[np.ndarray, " _"]], num_words: int) -> None:
        self._owners: dict[int, dict[int, int]] = defaultdict(dict)  # number of words -> hash -> whose
        for index, words in enumerate(documents):
            if _FEWEST_WORDS <= len(words) < num_words:
                self._owners[len(words)].setdefault(int(shingles(words, len(words))[0]), index)

    def inside(self, words: UInt64[np.ndarray, " _"]) -> tuple[int, Test, float] | None:
        """The first one that stands whole in a document of these words."""
        for size, owners in self._owners.items():
            met = np.intersect1d(shingles(words, size), np.fromiter(owners, dtype=np.uint64, count=len(owners)))
            if len(met):
                return owners[int(met[0])], "longest run", float(size)
        return None


@final
class _Alike:
    """Finds the document whose sketch is most like another's."""

    def __init__(self, documents: Sequence[tuple[str, Document]]) -> None:
        self._sketches = [sketch_of(document.text) for _, document in documents]
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
