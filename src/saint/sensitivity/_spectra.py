import torch
from jaxtyping import Float
from torch import Tensor

_NUM_SPARE = 16
_NUM_POWER_STEPS = 4
_MOST_FOR_GRAM = 256
_LEAST = 1e-30  # of a mean eigenvalue, so that a site that nothing flows through has a factor too


def leading(
    matrix: Float[Tensor, "rows columns"], num: int
) -> tuple[Float[Tensor, "rows num"], Float[Tensor, " num"], Float[Tensor, "num columns"]]:
    """The `num` largest singular values, in falling order, with their vectors; as many as there are, if fewer.

    A full decomposition for small matrices or high ranks; else a randomised one, whose cost grows with the rank
    (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4). Its random start is always the same.
    """
    num_kept = num + _NUM_SPARE
    if 4 * num_kept >= min(matrix.shape):
        u, values, v = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :num], values[:num], v[:num]
    start = torch.randn(matrix.shape[1], num_kept, generator=torch.Generator().manual_seed(0))
    q = torch.linalg.qr(matrix @ start.to(matrix)).Q
    for _ in range(_NUM_POWER_STEPS):
        q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ q).Q).Q
    u, values, v = torch.linalg.svd(q.T @ matrix, full_matrices=False)
    return q @ u[:, :num], values[:num], v[:num]


def leading_values(matrix: Float[Tensor, "rows columns"], num: int) -> Float[Tensor, " num"]:
    """The `num` largest singular values, in falling order; as many as there are, if fewer.

    Of a matrix with a small side by the eigenvalues of its Gram matrix, which is several times as fast as a
    decomposition and as good for the largest: what it loses is what is small against these.
    """
    if min(matrix.shape) > _MOST_FOR_GRAM:
        return leading(matrix, num)[1]
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T).flip(0)
    return squares[:num].clamp(min=0).sqrt()


def whitened(
    columns: Float[Tensor, "d others"], moment: Float[Tensor, "d d"], damping: float
) -> Float[Tensor, "d others"]:
    """L^-1 `columns`, where L L^T is `moment` with `damping` times its mean eigenvalue added to its diagonal.

    Its singular values are those of M^-1/2 `columns`: L and the symmetric root differ by a rotation.
    """
    damped = moment.clone()
    damped.diagonal().add_(damping * moment.diagonal().mean().clamp(min=_LEAST))
    factor = torch.linalg.cholesky(damped)
    white: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return white
