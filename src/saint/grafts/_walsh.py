"""Walsh-Hadamard matrices (Sylvester's order): entry (i, j) is -1 to the number of ones that i and j have in common."""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from saint.errors import SiteError


def walsh_transform(h: Float[Tensor, "*batch side"]) -> Float[Tensor, "*batch side"]:
    """H h along the last axis, a power of two long, in side log2(side) additions per vector."""
    step = 1
    while step < h.shape[-1]:
        even, odd = h.unflatten(-1, (-1, 2, step)).unbind(-2)
        h = torch.stack((even + odd, even - odd), dim=-2).flatten(-3)
        step *= 2
    return h


def walsh_bases(
    seed: int, *, d_out: int, d_in: int, num: int
) -> tuple[Float[Tensor, "d_out num"], Float[Tensor, "num d_in"]]:
    """`num` Walsh vectors for each side of a weight; the same to the bit wherever and whenever they are made.

    The bits come from PCG64, whose stream NumPy promises to keep (NEP 19); PyTorch's generators make no such promise.
    """
    return _walsh_rows(2 * seed, num, d_out).T, _walsh_rows(2 * seed + 1, num, d_in)


def draw_walsh_seed(generator: torch.Generator, *, d_out: int, d_in: int, num: int) -> int:
    """A seed whose vectors are independent; where a side is a power of two they are orthonormal whatever the seed.

    Raises:
        SiteError: No such seed was found, for `num` is too near a side that is no power of two.
    """
    for _ in range(_NUM_DRAWS):
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        a, b = walsh_bases(seed, d_out=d_out, d_in=d_in, num=num)
        if min(float(torch.linalg.svdvals(side)[-1]) for side in (a, b)) >= _LEAST_SINGULAR_VALUE:
            return seed
    raise SiteError(
        f"{num} Walsh vectors cut to the sides of a {d_out} x {d_in} weight depend on each other; lower the rank or "
        "choose the basis random"
    )


def _walsh_rows(seed: int, num: int, side: int) -> Float[Tensor, "num side"]:
    """Distinct rows of the smallest Walsh-Hadamard matrix that is wide enough, its columns drawn and given signs.

    All `side` columns of a power of two are permuted; else `side` of them are kept, and the rows, still of length 1,
    are no more than nearly orthogonal.
    """
    size = 1 << (side - 1).bit_length()
    bits: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(2 * size + side)
    rows = np.argsort(bits[:size], kind="stable")[:num]
    columns = np.argsort(bits[size : 2 * size], kind="stable")[:side]
    negative = np.bitwise_count(rows[:, None] & columns) + (bits[2 * size :] >> np.uint64(63))
    return torch.from_numpy(1 - 2 * (negative % 2).astype(np.float32)) / sqrt(side)


_NUM_DRAWS = 20
_LEAST_SINGULAR_VALUE = 0.05
