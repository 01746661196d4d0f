"""A first step in closed form: the numbers between two bases that best follow the gradient of the outputs."""

import torch
from jaxtyping import Float
from torch import Tensor

from saint.errors import ConfigError
from saint.grafts._forms import LinearForm


def follow_gradient(
    form: LinearForm,
    a: Float[Tensor, "d_out ranks"],
    b: Float[Tensor, "ranks d_in"],
    xx: Float[Tensor, "d_in d_in"],
    gx: Float[Tensor, "d_out d_in"],
    *,
    times: Float[Tensor, "d_out d_in"] | None = None,
) -> Float[Tensor, " numbers"]:
    """The form's numbers that minimise mean_t || dW x_t + g_t ||^2, with g_t the gradient of token t's own loss.

    With dW = A Phi B, xx = mean_t x_t x_t^T and gx = mean_t g_t x_t^T (as `Signals` has it: the sum over the gradients
    of the mean loss) that is || A Phi B ||^2 in the metric xx, plus 2 <A Phi B, gx>, plus what does not depend on Phi.
    Both moments are means, so the number of tokens falls out. A free Phi has the minimum
    -pinv(A^T A) A^T gx B^T pinv(B xx B^T). A number at entry (i, j) only sees rows and columns of these, so that its
    normal equations have (A^T A)_ik (B xx B^T)_jl between entries (i, j) and (k, l).

    Args:
        times: What A Phi B is multiplied by entrywise, if by anything.

    Raises:
        ConfigError: There are more numbers than are solved for at once.
    """
    a, b = (side.double() for side in form.frame(a, b))
    xx, gx = xx.double(), gx.double()
    rows, columns = form.entries()
    slope = (a.T @ (gx if times is None else gx * times.double()) @ b.T)[rows, columns]
    if times is None and len(rows) == a.shape[1] ** 2:
        pull = slope.unflatten(0, (a.shape[1], a.shape[1]))
        phi: Tensor = -_inverse(a.T @ a) @ pull @ _inverse(b @ xx @ b.T)
        return phi.flatten()
    num_held = len(rows) if times is None else a.shape[1] ** 2  # with a weight between, of all pairs of terms
    if num_held > _MAX_NUMBERS:
        raise ConfigError(
            f"start least_squares solves for up to {_MAX_NUMBERS:,} numbers at a site at once, got {num_held:,}"
            f"{'' if times is None else ', the terms crosswise'}; lower the rank, or take the form dense in one term"
        )
    if times is None:
        normal = (a.T @ a)[rows][:, rows] * (b @ xx @ b.T)[columns][:, columns]
    else:
        normal = _weighted(a, b, xx, times.double())[rows, columns][:, rows, columns]
    return -_inverse(normal) @ slope


def output_rms(change: Float[Tensor, "d_out d_in"], xx: Float[Tensor, "d_in d_in"]) -> float:
    """The root mean square over tokens of the length of `change` x, with xx = mean_t x_t x_t^T."""
    return float(((change @ xx) * change).sum().clamp(min=0).sqrt())


def _weighted(a: Tensor, b: Tensor, xx: Tensor, times: Tensor) -> Float[Tensor, "ranks ranks ranks ranks"]:
    """Entry (i, j, k, l): sum over outputs o of a_oi a_ok (B D_o xx D_o B^T)_jl, with D_o the diagonal of row o."""
    num = a.shape[1]
    total = a.new_zeros(num * num, num * num)
    for some_a, some_times in zip(a.split(_NUM_OUTPUTS_AT_ONCE), times.split(_NUM_OUTPUTS_AT_ONCE), strict=True):
        scaled = b * some_times[:, None, :]
        of_inputs = scaled @ xx @ scaled.mT
        of_outputs = some_a[:, :, None] * some_a[:, None, :]
        total += of_outputs.flatten(1).T @ of_inputs.flatten(1)
    return total.view(num, num, num, num).permute(0, 2, 1, 3)


def _inverse(normal: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Directions with less than float32's share of the energy were not seen, and get no step."""
    inverse: Tensor = torch.linalg.pinv(normal, rtol=_LEAST_SHARE, hermitian=True)
    return inverse


ETA = 0.01
"""How large the change of a first step is against the frozen output, unless a kind's options say otherwise."""
_MAX_NUMBERS = 4096
_NUM_OUTPUTS_AT_ONCE = 64
_LEAST_SHARE = 1e-6
