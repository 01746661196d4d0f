"""Which graft of a stack changed what: the stack taken apart in all ways, or in many."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from math import log
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float64

from saint.data import Corpus
from saint.errors import ConfigError, DataError
from saint.evaluation._loss_store import PerDocument
from saint.evaluation._losses import Losses
from saint.evaluation._shapley import (
    Coalition,
    antithetic_orders,
    contributions,
    interaction,
    prefixes,
    shapley_values,
)
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.records import Attribution, DocumentChange, Interval, PairGain, Share, SuiteAttribution
from saint.statistics import paired_interval, repeated_interval

EXACT_UP_TO = 8
"""Grafts of which all sub-stacks are measured, 256 of them; more are put in in random orders."""
_SHOWN_TOKENS, _SHOWN_CHARACTERS = 64, 80


def attribute(
    base: FrozenBase,
    stack: Sequence[Graft],
    split: Mapping[str, Corpus],
    *,
    losses: Losses,
    num_pairs: int = 16,
    seed: int = 0,
    num_shown: int = 3,
    tokenizer: Any = None,
    progress: Progress | None = None,
) -> Attribution:
    """Share out what a stack does to each suite among its grafts.

    Args:
        split: Suite -> text; development text, for what the gates judge on must not be looked at more than it is.
        losses: Remembers what sub-stacks cost; with a store, asking again computes nothing.
        num_pairs: Random orders, each with its reverse, that Shapley values are averaged over where there are more
            than 8 grafts; up to that all orders are.
        seed: Draws them.
        num_shown: Documents that are named for each graft and suite.
        tokenizer: Spells the documents' beginnings; None to show no text.

    Raises:
        DataError: A suite has too few documents for an interval, or a loss is not a number.
        ConfigError: One pair of orders is too few to say how far off it is.
    """
    if num_pairs < 2:
        raise ConfigError(f"num_pairs is {num_pairs}; two pairs of orders or more can say how far off they are")
    is_exact = len(stack) <= EXACT_UP_TO
    orders = [] if is_exact else antithetic_orders(len(stack), num_pairs, seed=seed)
    needed = _all(len(stack)) if is_exact else _some(len(stack), orders)
    suites = {}
    for suite, corpus in split.items():
        nats = _measure(base, stack, corpus, needed, losses, progress or Silent())
        suites[suite] = _Suite(nats, [graft.digest for graft in stack], corpus, orders).attributed(num_shown, tokenizer)
    return Attribution(
        base=base.digest,
        stack=tuple(graft.digest for graft in stack),
        num_pairs=0 if is_exact else num_pairs,
        suites=suites,
    )


def _all(num_grafts: int) -> set[Coalition]:
    """Every sub-stack."""
    places = range(num_grafts)
    return {frozenset(chosen) for size in range(num_grafts + 1) for chosen in combinations(places, size)}


def _some(num_grafts: int, orders: Sequence[Sequence[int]]) -> set[Coalition]:
    """The sub-stacks that orders pass through, that the stack itself did, and those that lack one graft or two."""
    places = range(num_grafts)
    passed = {coalition for order in (places, *orders) for coalition in prefixes(order)}
    return passed | {frozenset(places) - set(left) for size in (1, 2) for left in combinations(places, size)}


def _measure(
    base: FrozenBase,
    stack: Sequence[Graft],
    corpus: Corpus,
    needed: Collection[Coalition],
    losses: Losses,
    progress: Progress,
) -> dict[Coalition, PerDocument]:
    """Sub-stack -> nats of each document.

    Those that differ in their topmost graft only come one after the other, so that the blocks below are read once.

    Raises:
        DataError: A loss is not a number.
    """
    found: dict[Coalition, PerDocument] = {}
    with progress.task(f"taking the stack apart on {corpus.name}", total=len(needed), unit="stacks") as task:
        for below, tops in _by_what_is_below(needed):
            grafts = [stack[place] for place in below]
            if tops:
                losses.expect(base, grafts, [stack[top] for top in tops])
            for members in [(*below, top) for top in tops] or [below]:
                nats = losses.of(base, [stack[place] for place in members], corpus)
                _must_be_numbers(nats, corpus, [stack[place].digest for place in members])
                found[frozenset(members)] = nats
                task.advance(1)
    return found


def _by_what_is_below(needed: Collection[Coalition]) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """(what is below, the grafts that are put on it); first the bare base, on which there is nothing."""
    tops: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for *below, top in sorted(sorted(members) for members in needed if members):
        tops[tuple(below)].append(top)
    yield (), []
    yield from sorted(tops.items())


def _must_be_numbers(nats: PerDocument, corpus: Corpus, grafts: Sequence[str]) -> None:
    wrong = np.flatnonzero(~np.isfinite(nats))
    if len(wrong):
        whose = f"the base with {', '.join(digest[:12] for digest in grafts)}" if grafts else "the bare base"
        raise DataError(
            f"{corpus.name}: document {corpus.documents[wrong[0]][:12]} has a loss that is not a number under {whose}, "
            f"so it cannot be shared out; {'roll back a graft of these, or ' * bool(grafts)}name another suite"
        )


class _Valued(NamedTuple):
    """A Shapley value."""

    interval: Interval
    standard_error_of_orders: float


@final
class _Suite:
    """The measured sub-stacks of one suite."""

    def __init__(
        self,
        nats: Mapping[Coalition, PerDocument],
        digests: Sequence[str],
        corpus: Corpus,
        orders: Sequence[Sequence[int]],
    ) -> None:
        self._nats, self._digests, self._corpus, self._orders = nats, digests, corpus, orders
        self._whole = frozenset(range(len(digests)))

    def attributed(self, num_shown: int, tokenizer: Any) -> SuiteAttribution:
        """What is due to whom."""
        values = self._values()
        shares = [
            Share(
                graft=digest,
                at_activation=self._saved(frozenset(range(place)), frozenset(range(place + 1))),
                left_out=self._saved(self._whole - {place}, self._whole),
                shapley=values[place].interval,
                standard_error_of_orders=values[place].standard_error_of_orders,
                documents=tuple(self._most_changed(place, num_shown, tokenizer)),
            )
            for place, digest in enumerate(self._digests)
        ]
        pairs = [
            PairGain(
                one=self._digests[one],
                other=self._digests[other],
                gain_bpb=self._interval(interaction(self._worth, one, other, self._whole)),
            )
            for one, other in combinations(sorted(self._whole), 2)
        ]
        return SuiteAttribution(
            documents=self._corpus.digest,
            total=self._saved(frozenset(), self._whole),
            shares=tuple(shares),
            pairs=tuple(pairs),
        )

    def _values(self) -> list[_Valued]:
        """The Shapley value of each graft."""
        if not self._orders:
            exact = shapley_values(self._worth, len(self._digests))
            return [_Valued(self._interval(saved), 0.0) for saved in exact]
        each = contributions(self._worth, self._orders)
        pairs = each.reshape(len(each) // 2, 2, *each.shape[1:]).mean(1)  # (pairs, grafts, documents)
        return [self._sampled(pairs[:, place]) for place in range(len(self._digests))]

    def _sampled(self, saved_nats: Float64[np.ndarray, "pairs documents"]) -> _Valued:
        """Other documents and other orders could both have given another value; a pair of orders is one observation."""
        found = repeated_interval(saved_nats, np.zeros_like(saved_nats), self._corpus.num_bytes_each)
        interval = Interval(
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            standard_error=found.standard_error,
            num_documents=found.num_documents,
        )
        return _Valued(interval, found.standard_error_of_seeds)

    def _worth(self, members: Coalition) -> PerDocument:
        return -self._nats[members]

    def _saved(self, before: Coalition, after: Coalition) -> Interval:
        return paired_interval(self._nats[before], self._nats[after], self._corpus.num_bytes_each)

    def _interval(self, saved_nats: PerDocument) -> Interval:
        return paired_interval(saved_nats, np.zeros_like(saved_nats), self._corpus.num_bytes_each)

    def _most_changed(self, place: int, num_shown: int, tokenizer: Any) -> Iterator[DocumentChange]:
        per_byte = 1 / (log(2) * self._corpus.num_bytes_each)
        before, after = self._nats[self._whole - {place}] * per_byte, self._nats[self._whole] * per_byte
        change = np.abs(before - after)
        for document in np.argsort(-change, kind="stable")[:num_shown]:
            if change[document] > 0:
                yield DocumentChange(
                    document=self._corpus.documents[document],
                    before_bpb=float(before[document]),
                    after_bpb=float(after[document]),
                    beginning=_beginning(self._corpus, int(document), tokenizer),
                )


def _beginning(corpus: Corpus, document: int, tokenizer: Any) -> str:
    """The first words of a document on one line; "" without a tokenizer."""
    if tokenizer is None:
        return ""
    tokens = corpus.beginning(document, num_tokens=_SHOWN_TOKENS)
    line = " ".join(tokenizer.decode(tokens.tolist(), skip_special_tokens=True).split())
    return "".join(character if character.isprintable() else "?" for character in line)[:_SHOWN_CHARACTERS]
