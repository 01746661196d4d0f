"""Sealed text, measured for a query that is in the ledger, and for nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from math import log
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from saint import registry
from saint.data import Corpus, Splits, SuiteItems, describe_suites
from saint.errors import DataError
from saint.evaluation._losses import Losses
from saint.evaluation._safety import SuiteValues, suite_losses
from saint.grafts import Graft
from saint.judging import read_until_shown
from saint.models import FrozenBase
from saint.records import Query, SuiteLosses


@final
class Sealed:
    """What a graft does on sealed text: held_out, retain and safety of every domain, and the suites' sealed items.

    It answers queries, and says nothing but what documents cost to whoever keeps that for an audit. Growth learns the
    one bit that follows from it.
    """

    def __init__(
        self,
        base: FrozenBase,
        before: Sequence[Graft],
        after: Sequence[Graft],
        data: Splits,
        *,
        losses: Losses | None = None,
        values: SuiteValues | None = None,
    ) -> None:
        """Say what is compared.

        Args:
            before: The stack without the graft that is judged.
            after: The stack with it.
            losses: Says how text is cut, and remembers what base and stack cost.
            values: The same of safety suites.
        """
        self._base, self._before, self._after = base, before, after
        self._losses, self._values = losses or Losses(), values or SuiteValues(data.tokenizer)
        self._data, self._corpora, self._suites = data, data.sealed, data.suites_of("gate")

    @property
    def digest(self) -> str:
        """Of all the sealed text together."""
        return holdout_digest(self._data)

    @property
    def num_documents(self) -> Mapping[str, int]:
        """Suite -> its documents, or items."""
        return holdout_sizes(self._data)

    def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
        """What each document that the query may look at costs: in bits per byte, or in the unit of a safety suite.

        Where the query may stop early that is said of those alone that were read, in the order of `secret_order`.

        Raises:
            DataError: A loss is not a number.
            JudgeError: The judge of a suite failed.
        """
        if query.early_stopping:
            return read_until_shown(query, partial(self._block, query))
        asked = dict.fromkeys(claim.suite for claim in query.claims)
        found = {name: self._text(self._part(name, query), self._losses) for name in asked if name in self._corpora}
        items = {name: self._items(name, query) for name in asked if name in self._suites}
        return found | suite_losses(self._base, self._before, self._after, items, values=self._values)

    def _part(self, name: str, query: Query) -> Corpus:
        """The documents of a suite that the query may look at: all, or those that are this query's own."""
        corpus, num = self._corpora[name], query.num_documents[name]
        return corpus if num == corpus.num_documents else corpus.part(_own(query, name))

    def _block(self, query: Query, name: str, first: int, last: int) -> SuiteLosses:
        """Of the documents of a suite those from place `first` to before place `last` of its secret order."""
        if name in self._corpora:
            corpus = self._part(name, query)
            order = secret_order(self.digest, name, corpus.documents)
            return self._text(corpus.take(order[first:last]), self._losses.unwatched())
        part = self._items(name, query)
        order = secret_order(self.digest, name, [item.digest for item in part.items])
        block = replace(part, items=tuple(part.items[place] for place in order[first:last]))
        return suite_losses(self._base, self._before, self._after, {name: block}, values=self._values)[name]

    def _text(self, corpus: Corpus, losses: Losses) -> SuiteLosses:
        bits = log(2) * corpus.num_bytes_each
        stacks: list[Sequence[Graft]] = [(), self._before, self._after]
        base, before, after = (losses.of(self._base, stack, corpus) / bits for stack in stacks)
        for cost in (base, before, after):
            _must_be_numbers(cost, corpus.name)
        return SuiteLosses(
            unit="bits per byte",
            documents=corpus.digest,
            base=tuple(base.tolist()),
            before=tuple(before.tolist()),
            after=tuple(after.tolist()),
        )

    def _items(self, name: str, query: Query) -> SuiteItems:
        """The items of a safety suite that the query may look at."""
        part, num = self._suites[name], query.num_documents[name]
        return part if num == len(part.items) else replace(part, items=part.items[_own(query, name)])


def secret_order(holdout: str, suite: str, documents: Sequence[str]) -> Int64[np.ndarray, " documents"]:
    """In which order the documents of a suite are read where a query may stop early: always the same.

    They are sorted by a hash of hold-out, suite and what is in them. So the order has nothing to do with any graft,
    nobody can choose it, and who has not read the text cannot work it out.

    Args:
        documents: The digest of each.

    Returns:
        Places in `documents`.
    """
    keys = [sha256(f"{holdout}/{suite}/{document}".encode()).digest() for document in documents]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _own(query: Query, suite: str) -> slice:
    """The documents of a suite that are this query's own."""
    first = query.offsets.get(suite, 0)
    return slice(first, first + query.num_documents[suite])


def holdout_digest(data: Splits) -> str:
    """What a hold-out is known by: the digests of all of its text, as a registry's first entry has them."""
    return registry.holdout_digest(data.describe(), describe_suites(data.suites))


def holdout_sizes(data: Splits) -> dict[str, int]:
    """Suite -> its sealed documents, or items."""
    suites = {name: len(part.items) for name, part in data.suites_of("gate").items()}
    return suites | {name: corpus.num_documents for name, corpus in data.sealed.items()}


def _must_be_numbers(cost: Float64[np.ndarray, " documents"], name: str) -> None:
    if not np.isfinite(cost).all():
        raise DataError(f"a document of {name} has a loss that is not a number; look at the graft's weights")
