"""One site's view of one batch."""

import pytest
import torch

from saint.sensitivity import Seen, _spectra


def a_view(*, tokens: int = 6, d_in: int = 4, num_batches: int = 1, keep_apart: bool = False) -> Seen:
    generator = torch.Generator().manual_seed(0)
    x, y, g = (torch.randn(3, tokens, d, generator=generator) for d in (d_in, 5, 5))
    return Seen(x=x, y=y, gradient=g, num_batches=num_batches, keep_apart=keep_apart)


def test_the_sequences_parts_add_up_to_the_weight_s_gradient() -> None:
    seen, apart = a_view(), a_view(keep_apart=True)
    expected = sum(torch.outer(g, x) for g, x in zip(seen.gradient.flatten(0, 1), seen.x.flatten(0, 1), strict=True))
    torch.testing.assert_close(seen.weight_gradient, expected)
    torch.testing.assert_close(apart.weight_gradient, expected)
    torch.testing.assert_close(apart.sequence_gradients.sum(0), expected)


def test_what_was_worked_out_once_is_kept() -> None:
    seen = a_view(keep_apart=True)
    assert seen.weight_gradient is seen.weight_gradient
    assert seen.input_moment is seen.input_moment
    assert seen.gate_gradient is seen.gate_gradient


def test_few_tokens_all_count_in_a_second_moment() -> None:
    seen = a_view()
    rows = seen.x.flatten(0, 1)
    torch.testing.assert_close(seen.input_moment, rows.T @ rows / 18)
    own = 18 * seen.gradient.flatten(0, 1)
    torch.testing.assert_close(seen.gradient_moment, own.T @ own / 18)


@pytest.mark.parametrize(("num_batches", "step"), [(1, 1), (2, 1), (4, 3), (10, 11)])
def test_of_many_tokens_evenly_spread_ones_count(num_batches: int, step: int) -> None:
    """Of 3 x 400 tokens a batch, over 1,024 in all batches."""
    seen = a_view(tokens=400, num_batches=num_batches)
    rows = seen.x.flatten(0, 1)[::step]
    assert len(rows) * num_batches >= 1024
    torch.testing.assert_close(seen.input_moment, rows.T @ rows / len(rows))


@pytest.mark.parametrize("shape", [(9, 30), (300, 40), (280, 300)])
def test_leading_values_are_those_of_a_full_decomposition(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    matrix *= 0.8 ** torch.arange(shape[1])  # a spectrum that falls
    full = torch.linalg.svdvals(matrix)[:5]
    torch.testing.assert_close(_spectra.leading_values(matrix, 5), full, rtol=1e-4, atol=0.0)
    u, values, v = _spectra.leading(matrix, 5)
    torch.testing.assert_close(values, full, rtol=1e-4, atol=0.0)
    torch.testing.assert_close((u.T @ matrix @ v.T).diagonal(), full, rtol=1e-4, atol=0.0)
