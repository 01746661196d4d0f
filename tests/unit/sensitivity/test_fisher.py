"""The empirical Fisher, against one backward pass for each sequence."""

import pytest
import torch

from saint.data import Splits
from saint.models import FrozenBase, freeze, token_nats
from saint.sensitivity import _seen, measure_sensitivity
from saint.testing import tiny_base
from small_bases import small_model

SETTINGS = {"num_batches": 2, "batch_size": 3, "seq_len": 16, "seed": 1}


def by_single_backwards(model: torch.nn.Module, data: Splits, module: str) -> float:
    """The root of the mean over sequences of their squared gradients, summed."""
    weight = model.get_submodule(module).weight.requires_grad_()
    batches = data.train.batches(batch_size=3, seq_len=16, seed=1)
    rows = [row for step in range(2) for row in batches[step]]
    squares = [torch.autograd.grad(token_nats(model, row[None]).mean(), weight)[0].square().sum() for row in rows]
    weight.requires_grad_(requires_grad=False)
    return float(torch.stack(squares).mean().sqrt())


@pytest.mark.parametrize("most_apart", [1 << 26, 0], ids=["held", "by inner products"])
def test_it_is_the_mean_of_the_sequences_squared_gradients(
    base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch, most_apart: int
) -> None:
    monkeypatch.setattr(_seen, "_MOST_APART", most_apart)
    found = measure_sensitivity(base, data.train, method="fisher", **SETTINGS)
    model = tiny_base(data.tokenizer).model
    for site in base.sites():
        if site.sort == "linear" and site.role != "head":  # the head's weight is tied to the embeddings
            expected = by_single_backwards(model, data, site.module)
            assert found.scores[site.key] == pytest.approx(expected, rel=1e-4), site.key


def test_it_is_not_the_square_of_the_batch_s_gradient(base: FrozenBase, data: Splits) -> None:
    fisher = measure_sensitivity(base, data.train, method="fisher", **SETTINGS)
    gradient = measure_sensitivity(base, data.train, **SETTINGS)
    for key, score in fisher.scores.items():
        assert score > 1.02 * gradient.scores[key], key  # by Jensen; equal only where all sequences agree


@pytest.mark.slow
def test_a_sequence_that_is_read_in_two_halves_is_one(data: Splits) -> None:
    base = freeze(small_model("t5_relu", vocab_size=300))
    found = measure_sensitivity(base, data.train, method="fisher", **SETTINGS)
    model = small_model("t5_relu", vocab_size=300).eval().requires_grad_(requires_grad=False)
    for site in base.sites():
        if site.role in ("q", "up", "cross_v"):
            expected = by_single_backwards(model, data, site.module)
            assert found.scores[site.key] == pytest.approx(expected, rel=1e-4), site.key
