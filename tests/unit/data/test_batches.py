"""Batches are a pure function of seed and step, and windows pay for every token once."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from saint.data import Corpus, DataPlan, Domain, open_splits, save_splits
from saint.errors import DataError
from saint.testing import tiny_splits

SEQ_LEN = 8


def a_corpus(lengths: list[int], *, shard_ends: tuple[int, ...] = ()) -> Corpus:
    """Documents whose tokens are all different, so that every token says where it is from."""
    total = sum(lengths)
    tokens = np.arange(total, dtype=np.uint16)
    return Corpus(
        name="prose/train",
        shards=np.split(tokens, shard_ends),
        num_tokens_each=np.array(lengths, dtype=np.int64),
        num_bytes_each=np.array(lengths, dtype=np.int64),
        documents=tuple(f"{i:064x}" for i in range(len(lengths))),
        tokenizer="0" * 64,
    )


def test_consecutive_batches_differ() -> None:
    batches = a_corpus([400]).batches(batch_size=4, seq_len=SEQ_LEN, seed=0)
    for step in range(30):
        assert not torch.equal(batches[step], batches[step + 1])


def test_a_batch_is_a_row_of_text_for_each_prediction_and_one_token_more() -> None:
    batch = a_corpus([400]).batches(batch_size=4, seq_len=SEQ_LEN, seed=0)[3]
    assert batch.shape == (4, SEQ_LEN + 1)
    assert torch.equal(batch - batch[:, :1], torch.arange(SEQ_LEN + 1).expand(4, -1))


def test_any_step_can_be_had_at_any_time() -> None:
    corpus = a_corpus([300, 500])
    in_order = corpus.batches(batch_size=3, seq_len=SEQ_LEN, seed=5)
    expected = [in_order[step] for step in range(120)]
    steps = list(range(120))
    random.Random(0).shuffle(steps)
    anew = a_corpus([300, 500]).batches(batch_size=3, seq_len=SEQ_LEN, seed=5)
    for step in steps:
        assert torch.equal(anew[step], expected[step])


@pytest.mark.slow
def test_batches_are_the_same_after_saving_and_reopening(tmp_path: Path) -> None:
    splits = tiny_splits()
    before = splits.train.batches(batch_size=4, seq_len=16, seed=2)
    code, prose = Domain(role="retain", sources=("-",)), Domain(role="grow", sources=("-",))
    save_splits(splits, tmp_path / "text", plan=DataPlan(domains={"code": code, "prose": prose}))
    after = open_splits(tmp_path / "text").train.batches(batch_size=4, seq_len=16, seed=2)
    assert [before[step].tolist() for step in range(20)] == [after[step].tolist() for step in range(20)]


def test_another_seed_gives_other_batches() -> None:
    corpus = a_corpus([400])
    one, other = (corpus.batches(batch_size=4, seq_len=SEQ_LEN, seed=seed) for seed in (0, 1))
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("num_tokens", [2 * SEQ_LEN, 400, 407])
def test_an_epoch_visits_every_window_once(num_tokens: int) -> None:
    batches = a_corpus([num_tokens]).batches(batch_size=1, seq_len=SEQ_LEN, seed=0)
    shifts = set()
    for epoch in range(6):
        steps = range(epoch * batches.num_windows, (epoch + 1) * batches.num_windows)
        starts = sorted(int(batches[step][0, 0]) for step in steps)
        shifts.add(starts[0])
        assert starts == list(range(starts[0], starts[0] + batches.num_windows * SEQ_LEN, SEQ_LEN))
        assert 0 <= starts[0] < SEQ_LEN
        assert num_tokens - (starts[-1] + SEQ_LEN) <= 2 * SEQ_LEN, "text at the end is left out"
    assert len(shifts) > 1, "epochs cut the text at the same places"


def test_a_batch_that_spans_two_epochs_ends_one_and_begins_the_next() -> None:
    corpus = a_corpus([83])
    single = corpus.batches(batch_size=1, seq_len=SEQ_LEN, seed=4)
    batches = corpus.batches(batch_size=5, seq_len=SEQ_LEN, seed=4)
    assert batches.num_windows % 5
    flat = torch.cat([batches[step] for step in range(6)])
    assert torch.equal(flat, torch.cat([single[step] for step in range(30)]))


def test_windows_and_batches_cross_shards() -> None:
    lengths = [30, 1, 70, 9, 90]
    whole, cut = a_corpus(lengths), a_corpus(lengths, shard_ends=(3, 4, 31, 33, 110))
    for step in range(60):
        one, other = (c.batches(batch_size=2, seq_len=SEQ_LEN, seed=0)[step] for c in (whole, cut))
        assert torch.equal(one, other)
    for one_window, other_window in zip(
        whole.windows(seq_len=60, batch_size=2), cut.windows(seq_len=60, batch_size=2), strict=True
    ):
        assert torch.equal(one_window.tokens, other_window.tokens)


def test_text_that_is_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(DataError, match="prose/train has 15 tokens; a window of 8 needs at least 16"):
        a_corpus([15]).batches(batch_size=1, seq_len=SEQ_LEN, seed=0)


@pytest.mark.parametrize("seq_len", [1, 7, 8, 64, 1000])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_windows_pay_for_every_token_but_the_start_tokens_once(seq_len: int, batch_size: int) -> None:
    lengths = [2, 9, 64, 8, 65, 17, 3]
    corpus = a_corpus(lengths, shard_ends=(50, 51, 120))
    starts = np.cumsum(lengths) - lengths
    paid: Counter[tuple[int, int]] = Counter()
    for tokens, counts, owners in corpus.windows(seq_len=seq_len, batch_size=batch_size):
        assert len(tokens) <= batch_size
        assert tokens.shape[1] <= seq_len + 1
        for row, count, owner in zip(tokens.tolist(), counts.tolist(), owners.tolist(), strict=True):
            paid.update((owner, token) for token in row[1 : count + 1])
    expected = [(i, int(start) + place) for i, start in enumerate(starts) for place in range(1, lengths[i])]
    assert paid == Counter(expected)


def test_a_row_sees_the_token_before_its_first_and_nothing_of_another_document() -> None:
    corpus = a_corpus([20, 20])
    for tokens, counts, owners in corpus.windows(seq_len=6, batch_size=2):
        for row, count, owner in zip(tokens, counts.tolist(), owners.tolist(), strict=True):
            text = row[: count + 1]
            assert torch.equal(text - text[0], torch.arange(count + 1))
            assert set((text // 20).tolist()) == {owner}
