"""An encoder-decoder pays for each token once, knowing what is before it and nothing else."""

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from saint.data import Splits
from saint.models import document_nats, token_nats
from small_bases import small_model

NUM_TOKENS = 9
ARCHITECTURES = ["t5_relu", "t5_gated"]


def some_tokens(seed: int, *, num_rows: int = 3, width: int = NUM_TOKENS) -> Tensor:
    return torch.randint(1, 96, (num_rows, width), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def one_by_one(model: torch.nn.Module, tokens: Tensor) -> list[float]:
    """What each token of a row costs, from a call of its own, in float64."""
    length = len(tokens) - 1
    cut = length // 2
    found = []
    for place in range(1, len(tokens)):
        known, begun = (1, 0) if place <= cut else (cut + 1, cut)
        logits = model(input_ids=tokens[None, :known], decoder_input_ids=tokens[None, begun:place]).logits[0, -1]
        found.append(float(logits.double().logsumexp(0) - logits[tokens[place]]))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("width", [1, 2, 3, 4, NUM_TOKENS])
def test_nats_are_those_of_an_independent_count(architecture: str, width: int) -> None:
    model, tokens = small_model(architecture).eval(), some_tokens(0, width=width)
    nats = token_nats(model, tokens)
    assert nats.shape == (3, width - 1)
    expected = torch.tensor([one_by_one(model, row) for row in tokens]).view(nats.shape)
    torch.testing.assert_close(nats, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "llama"])
@pytest.mark.parametrize("place", range(1, NUM_TOKENS))
@torch.no_grad()
def test_a_token_pays_without_knowing_itself_or_what_follows(architecture: str, place: int) -> None:
    model, tokens = small_model(architecture).eval(), some_tokens(1)
    other = tokens.clone()
    other[:, place:] = some_tokens(2)[:, place:]
    before, after = token_nats(model, tokens), token_nats(model, other)
    assert torch.equal(before[:, : place - 1], after[:, : place - 1])
    assert not torch.equal(before[:, place - 1 :], after[:, place - 1 :])


@torch.no_grad()
def test_the_next_tokens_probabilities_sum_to_one_everywhere() -> None:
    model, row = small_model("t5_relu").eval(), some_tokens(3, num_rows=1)
    for place in range(1, NUM_TOKENS):
        rows = row.repeat(96, 1)
        rows[:, place] = torch.arange(96)
        total = token_nats(model, rows)[:, place - 1].double().neg().exp().sum()
        assert float(total) == pytest.approx(1.0, rel=1e-5)


@torch.no_grad()
def test_a_rows_nats_do_not_depend_on_the_rows_it_stands_with() -> None:
    model, tokens = small_model("t5_gated").eval(), some_tokens(4, num_rows=NUM_TOKENS - 1)
    lengths = torch.arange(NUM_TOKENS - 1, 0, -1)
    together = token_nats(model, tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        [alone] = token_nats(model, tokens[row : row + 1, : length + 1])
        torch.testing.assert_close(together[row, :length], alone, rtol=1e-4, atol=1e-5)


def test_a_document_costs_the_same_in_batches_of_any_size(data: Splits) -> None:
    model, corpus = small_model("t5_relu", vocab_size=300).eval(), data.held_out
    one, other = (
        document_nats(model, corpus.windows(seq_len=16, batch_size=size), corpus.num_documents) for size in (2, 7)
    )
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert 0 < one.sum() / log(2) / corpus.num_bytes < 100


def test_encoder_decoder_and_cross_attention_learn_from_every_row() -> None:
    model = small_model("t5_relu")
    token_nats(model, some_tokens(5)).mean().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []
