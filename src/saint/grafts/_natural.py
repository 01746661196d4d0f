"""The natural gradient of a weight, in Kronecker-factored form, by a change of low rank."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from saint.grafts._bases import leading


def natural_inputs(
    gx: Float[Tensor, "d_out d_in"],
    xx: Float[Tensor, "d_in d_in"],
    gg: Float[Tensor, "d_out d_out"],
    num: int,
    generator: torch.Generator,
) -> Float[Tensor, "num d_in"]:
    """What the best change of rank `num` reads, the most important first, in rows of length 1.

    A change dW lowers the loss by -<dW, gx> and moves the predictions by <dW, gg dW xx>, as far as inputs and
    gradients are independent (K-FAC: Martens and Grosse 2015, arXiv:1503.05671). Of all changes the best is
    -gg^-1 gx xx^-1; of those of rank `num` it is -gg^-1/2 [gg^-1/2 gx xx^-1/2]_num xx^-1/2, with [.]_num the leading
    singular vectors and values. Both moments are damped.
    """
    root = _inverse_root(xx)
    _, rows = leading((_inverse_root(gg) @ gx.double() @ root).float(), num, generator)
    unit: Tensor = F.normalize(rows.double() @ root, dim=1)
    return unit.float()


def natural_outputs(
    rows: Float[Tensor, "num d_in"],
    gx: Float[Tensor, "d_out d_in"],
    xx: Float[Tensor, "d_in d_in"],
    gg: Float[Tensor, "d_out d_out"],
) -> Float[Tensor, "d_out num"]:
    """What `rows` are best multiplied by from the left: -gg^-1 gx rows^T (rows xx rows^T)^-1, the moments damped."""
    rows = rows.double()
    pull = torch.linalg.solve(_damped(gg), gx.double() @ rows.T)
    outputs: Tensor = torch.linalg.solve(rows @ _damped(xx) @ rows.T, -pull, left=False)
    return outputs.float()


def _inverse_root(second_moment: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(_damped(second_moment))
    root: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return root


def _damped(second_moment: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """With a share of the mean eigenvalue added to each: directions that were hardly seen get no huge step."""
    wide = second_moment.double()
    share = (_DAMPING * wide.diagonal().mean()).clamp(min=torch.finfo(torch.float32).tiny)
    return wide + share * torch.eye(len(wide), dtype=wide.dtype, device=wide.device)


_DAMPING = (
    0.3  # of 0.001 to 1, the one whose steps did most for text they were not from, over two bases and both bundles
)
