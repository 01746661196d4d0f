"""Products with few columns inside: the values of `F.linear`, and its gradients computed the other way round."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from saint.grafts._thin import widen
from saint.models import counting_flops


def flow(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("rank", [1, 2, 8, 16, 17])
@pytest.mark.parametrize("batch", [(7,), (3, 5)])
def test_values_are_equal_to_the_bit_and_gradients_are_the_same_sums(rank: int, batch: tuple[int, ...]) -> None:
    x, weight = flow(*batch, rank, dtype=torch.float32), flow(11, rank, seed=1, dtype=torch.float32)
    ours, plain = widen(x, weight), F.linear(x, weight)
    assert torch.equal(ours, plain)
    towards = flow(*ours.shape, seed=2, dtype=torch.float32).detach()
    for one, other in zip(
        torch.autograd.grad(ours, (x, weight), towards), torch.autograd.grad(plain, (x, weight), towards), strict=True
    ):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)


def test_gradients_and_their_gradients_are_right() -> None:
    x, weight = flow(4, 3, 2), flow(5, 2, seed=1)
    assert torch.autograd.gradcheck(widen, (x, weight))
    assert torch.autograd.gradgradcheck(widen, (x, weight))


def test_an_input_that_does_not_lie_in_a_row() -> None:
    x, weight = flow(2, 6).T, flow(5, 2, seed=1)
    assert torch.autograd.gradcheck(widen, (x, weight))


@pytest.mark.parametrize("learns", ["x", "weight"])
def test_only_what_learns_gets_a_gradient(learns: str) -> None:
    x, weight = flow(6, 2), flow(5, 2, seed=1)
    frozen = weight if learns == "x" else x
    frozen.requires_grad_(requires_grad=False)
    with counting_flops() as counter:
        widen(x, weight).sum().backward()
    assert frozen.grad is None
    assert (x if learns == "x" else weight).grad is not None
    assert counter.get_total_flops() == 2 * (2 * 6 * 2 * 5), "forward, and one of the two gradients"


def test_several_at_once() -> None:
    xs, weights = flow(3, 4, 2), flow(3, 5, 2, seed=1)
    torch.func.vmap(widen)(xs, weights).square().sum().backward()
    for index in range(3):
        x, weight = (tensor.detach()[index].requires_grad_() for tensor in (xs, weights))
        widen(x, weight).square().sum().backward()
        assert xs.grad is not None
        assert weights.grad is not None
        torch.testing.assert_close(xs.grad[index], x.grad)
        torch.testing.assert_close(weights.grad[index], weight.grad)


def test_autocast_is_left_to_pytorch() -> None:
    x, weight = flow(6, 2, dtype=torch.float32), flow(5, 2, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        widened = widen(x, weight)
    assert widened.dtype == torch.bfloat16
    widened.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
