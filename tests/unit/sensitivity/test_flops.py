"""The meter, against PyTorch's own counter and formulas on paper."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from saint.sensitivity._flops import FlopMeter


def a_pass(x: Tensor, weight: Tensor) -> None:
    """Products of one matrix and of several, attention, a convolution and what has no formula."""
    hidden = torch.nn.functional.linear(x, weight.requires_grad_(), weight[0]).relu()
    mixed = torch.nn.functional.scaled_dot_product_attention(hidden, hidden, hidden, attn_mask=torch.zeros(6, 6))
    folded = torch.nn.functional.conv1d(mixed.flatten(0, 1), torch.ones(2, 6, 3))
    torch.einsum("bij,bkj->ik", folded, folded).sum().backward()


def metered(work: Callable[[], object]) -> int:
    meter = FlopMeter()
    with meter.counting():
        work()
    return meter.num_flops


def test_it_counts_what_pytorch_s_own_counter_counts() -> None:
    x, weight = torch.ones(2, 1, 6, 4), torch.ones(4, 4)
    with FlopCounterMode(display=False) as counter:
        a_pass(x, weight)
    assert metered(lambda: a_pass(x, weight)) == counter.get_total_flops() > 0


def test_in_inference_mode_too() -> None:
    x, weight = torch.ones(5, 4), torch.ones(3, 4)
    with torch.inference_mode():
        found = metered(lambda: [torch.nn.functional.linear(x, weight), torch.matmul(x, weight.T)])
    assert found == 2 * (2 * 5 * 4 * 3)


@pytest.mark.parametrize(
    ("decompose", "expected"),
    [
        (lambda: torch.linalg.cholesky(torch.eye(6)), 6**3 // 3),
        (lambda: torch.linalg.solve_triangular(torch.eye(6), torch.ones(6, 4), upper=False), 6 * 4 * 6),
        (lambda: torch.linalg.solve_triangular(torch.eye(6), torch.ones(4, 6), upper=False, left=False), 4 * 6 * 6),
        (lambda: torch.linalg.qr(torch.ones(6, 3)), 4 * 6 * 9 - 4 * 27 // 3),
        (lambda: torch.linalg.svd(torch.ones(3, 6), full_matrices=False), 6 * 6 * 9 + 20 * 27),
        (lambda: torch.linalg.eigvalsh(torch.eye(6)), 4 * 6**3 // 3),
    ],
    ids=["cholesky", "solve", "solve from the right", "qr", "svd", "eigenvalues"],
)
def test_decompositions_count_by_their_leading_terms(decompose: Callable[[], object], expected: int) -> None:
    assert metered(decompose) == expected


def test_what_is_the_maps_own_is_told_apart() -> None:
    meter, x = FlopMeter(), torch.ones(4, 4)
    for step in range(5):
        with meter.batch(step, 5):
            _ = x @ x
            with meter.for_maps():
                _ = [x @ x for _ in range(3 if step == 0 else 1)]
    assert meter.num_flops == (5 + 3 + 4) * 2 * 4**3
    assert meter.num_of_maps == (3 + 4) * 2 * 4**3
