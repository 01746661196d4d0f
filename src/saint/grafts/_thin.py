"""Products with few columns inside, whose gradients processors compute badly in the usual orientation."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

_FEW = 16
"""Columns up to which the other orientation is faster: measured, 1.0 to 3.3 times for the gradient of what is read and
1.0 to 20 times for that of the weight, most at 2 to 8 columns; from 32 on both are equal."""


def widen(x: Float[Tensor, "*batch r"], weight: Float[Tensor, "d r"]) -> Float[Tensor, "*batch d"]:
    """X W^T as `F.linear` computes it, to the bit, with gradients that are fast for small r on a processor.

    The gradients are the same products the other way round, (W^T G^T)^T for G W and (x^T G)^T for G^T x, and round
    differently from those of `F.linear`.
    """
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    is_thin = x.device.type == "cpu" and 1 < weight.shape[1] <= _FEW
    if not (learns and is_thin) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight)
    widened: Tensor = _Widen.apply(x, weight)  # type: ignore[no-untyped-call]
    return widened


class _Widen(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradients[0].reshape(-1, weight.shape[0])
        of_x = (weight.T @ rows.T).T.reshape(x.shape) if ctx.needs_input_grad[0] else None
        of_weight = (x.reshape(-1, x.shape[-1]).T @ rows).T if ctx.needs_input_grad[1] else None
        return of_x, of_weight
