"""What a step of training costs, in counts that can be worked out by hand."""

import torch

from saint.composition import compose, newborn
from saint.data import Splits
from saint.models import FrozenBase
from saint.records import Candidate
from saint.training import StepCount, count_step


def count(base: FrozenBase, data: Splits, *, rank: int, batch_size: int = 2) -> StepCount:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=sites, kind="lora", options={"rank": rank}))
    tokens = data.train.batches(batch_size=batch_size, seq_len=16, seed=0)[0]
    return count_step(compose(base, [graft]), graft.parameters(), tokens)


def test_what_learns_is_held_four_times(base: FrozenBase, data: Splits) -> None:
    assert count(base, data, rank=3).learning_bytes == 4 * 4 * 2 * 3 * (16 + 24)


def test_twice_the_text_is_twice_the_work(base: FrozenBase, data: Splits) -> None:
    one, two = (count(base, data, rank=2, batch_size=size) for size in (2, 4))
    assert two.num_flops == 2 * one.num_flops
    assert 1.8 * one.activation_bytes < two.activation_bytes <= 2.05 * one.activation_bytes
    assert two.learning_bytes == one.learning_bytes
    assert one.memory_bytes == one.learning_bytes + one.activation_bytes


def test_a_rank_adds_its_own_products(base: FrozenBase, data: Splits) -> None:
    """Forward, and backward to weights and inputs, of two thin maps at two sites; the deepest part's input has no
    gradient to pass on below the first block."""
    small, large = count(base, data, rank=2), count(base, data, rank=4)
    num_tokens, added = 2 * 16, 2 * (16 + 24)
    forward = 2 * num_tokens * added * 2
    assert 2 * forward <= large.num_flops - small.num_flops <= 3 * forward


def test_entries_that_are_applied_one_by_one_are_counted(base: FrozenBase, data: Splits) -> None:
    """Forward, and backward to values and inputs: three times two operations for each entry and token."""
    sites = tuple(site for site in base.sites() if site.role == "up")
    tokens = data.train.batches(batch_size=2, seq_len=16, seed=0)[0]
    counts = []
    for entries in (1, 3):
        graft = newborn(base, Candidate(sites=sites, kind="sparse", options={"entries": entries, "by": "random"}))
        counts.append(count_step(compose(base, [graft]), graft.parameters(), tokens).num_flops)
    assert counts[1] - counts[0] == 3 * (2 * 16) * 2 * 2 * len(sites)


def test_counting_leaves_no_trace(base: FrozenBase, data: Splits) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=sites, kind="lora", options={"rank": 2}))
    before = graft.to_bytes()
    batch = data.train.batches(batch_size=2, seq_len=16, seed=0)[0]
    counts = {count_step(compose(base, [graft]), graft.parameters(), batch) for _ in range(2)}
    assert len(counts) == 1
    assert graft.to_bytes() == before
    assert all(parameter.grad is None for parameter in graft.parameters())
    assert torch.is_grad_enabled()
