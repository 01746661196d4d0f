"""Sealed documents with a model: which are read when a query may stop early, and who gets to know how many."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from typing_extensions import override

from saint.data import Corpus, Item, Splits, SuiteItems
from saint.evaluation import Losses, Sealed, secret_order
from saint.judging import block_ends
from saint.models import FrozenBase
from saint.progress import Progress, Silent, Task
from saint.records import Claim, Query
from saint.testing import tiny_base, tiny_splits


class Watches(Progress):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @override
    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:
        self.told.append(f"{description} {total} {unit}")
        yield Silent()

    @override
    def note(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


@pytest.fixture(scope="module")
def data() -> Splits:
    return tiny_splits()


def a_query(sealed: Sealed, *claims: Claim, early: bool = True, offsets: dict[str, int] | None = None) -> Query:
    return Query(
        number=1,
        num_passed=0,
        holdout=sealed.digest,
        policy="p" * 64,
        graft="1" * 64,
        base="0" * 64,
        stack=(),
        log_threshold=3.0,
        claims=claims,
        num_documents={claim.suite: sealed.num_documents[claim.suite] for claim in claims},
        offsets=offsets or {},
        early_stopping=early,
    )


EASY = Claim(gate="retention", suite="code", above=-1.0, clip=2.0)
NEVER = Claim(gate="gain", suite="prose", above=1.0, clip=2.0)


@pytest.fixture(scope="module")
def many(data: Splits) -> Splits:
    """With more sealed code: that of other splits besides."""
    code = [data.corpora[f"code/{split}"] for split in ("retain", "train") if f"code/{split}" in data.corpora]
    return replace(data, corpora={**data.corpora, "code/retain": max(code, key=lambda one: one.num_documents)})


@pytest.mark.slow
def test_documents_are_read_in_the_secret_order_until_it_is_shown(base: FrozenBase, many: Splits) -> None:
    losses = Losses(seq_len=16)
    sealed = Sealed(base, (), (), many, losses=losses)
    corpus: Corpus = many.sealed["code"]
    assert corpus.num_documents > 64, "else there is nothing to stop before"
    [read] = sealed.measure(a_query(sealed, EASY)).values()
    num = len(read.after)
    assert num == block_ends(corpus.num_documents)[0] < corpus.num_documents
    order = secret_order(sealed.digest, "code", corpus.documents)
    [whole] = sealed.measure(a_query(sealed, EASY, early=False)).values()
    assert read.base == pytest.approx([whole.base[place] for place in order[:num]], rel=1e-5)
    assert read.documents == corpus.take(order[:num]).digest


def test_what_base_and_stack_cost_in_a_block_is_measured_once(
    base: FrozenBase, many: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    measure = Losses.measure
    monkeypatch.setattr(
        Losses, "measure", lambda self, model, corpus: measured.append(corpus.digest) or measure(self, model, corpus)
    )
    losses = Losses(seq_len=16)
    for _ in range(2):
        sealed = Sealed(base, (), (), many, losses=losses)
        sealed.measure(a_query(sealed, EASY))
    assert len(measured) == 1


def test_nobody_is_told_how_far_it_is(base: FrozenBase, many: Splits) -> None:
    for early in (True, False):
        watcher = Watches()
        sealed = Sealed(base, (), (), many, losses=Losses(seq_len=16, progress=watcher))
        sealed.measure(a_query(sealed, EASY, early=early))
        assert bool(watcher.told) is not early


def test_a_suite_that_is_not_shown_is_read_whole_and_the_next_not_at_all(base: FrozenBase, many: Splits) -> None:
    sealed = Sealed(base, (), (), many, losses=Losses(seq_len=16))
    read = sealed.measure(a_query(sealed, NEVER, EASY))
    assert {suite: len(one.after) for suite, one in read.items()} == {"prose": sealed.num_documents["prose"]}


def test_items_of_a_safety_suite_are_read_in_their_order(base: FrozenBase, data: Splits) -> None:
    items = tuple(Item(prompt=f"say {number}", texts=("so it is",)) for number in range(100))
    part = SuiteItems(name="words/gate", sort="prohibited", items=items)
    sealed = Sealed(base, (), (), replace(data, suites={"words/gate": part}))
    claim = replace(EASY, suite="words")
    [read] = sealed.measure(a_query(sealed, claim)).values()
    [whole] = sealed.measure(a_query(sealed, claim, early=False)).values()
    order = secret_order(sealed.digest, "words", [item.digest for item in items])
    assert len(read.after) == 64
    assert read.after == pytest.approx([whole.after[place] for place in order[:64]], rel=1e-4)


def test_the_order_is_a_permutation_that_follows_from_the_text_alone() -> None:
    documents = [f"{number:064x}" for number in range(500)]
    order = secret_order("f" * 64, "prose", documents)
    assert sorted(order) == list(range(500))
    assert order.tolist() == secret_order("f" * 64, "prose", documents).tolist()
    backwards = secret_order("f" * 64, "prose", documents[::-1])
    assert [documents[place] for place in order] == [documents[::-1][place] for place in backwards]
    for others in (secret_order("e" * 64, "prose", documents), secret_order("f" * 64, "code", documents)):
        assert abs(np.corrcoef(np.argsort(order), np.argsort(others))[0, 1]) < 0.2


def test_taken_documents_are_those_documents(data: Splits) -> None:
    corpus = data.sealed["prose"]
    places = np.array([5, 0, 3])
    taken = corpus.take(places)
    assert taken.documents == tuple(corpus.documents[place] for place in places)
    for index, place in enumerate(places.tolist()):
        width = int(corpus.num_tokens_each[place]) - 1
        ours, theirs = (one.beginning(at, num_tokens=width) for one, at in ((taken, index), (corpus, place)))
        assert ours.tolist() == theirs.tolist()
