"""Orthonormal bases of a weight's two sides: from the weight, its activations, its gradients, or chance."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saint.errors import SiteError
from saint.grafts import LowRankFactors, Moment, Place

Basis = Literal[
    "weight", "weight_minor", "random", "walsh", "coordinate", "activation", "gradient", "activation_gradient"
]

MOMENTS_OF: Mapping[str, frozenset[Moment]] = {
    "activation": frozenset(("xx", "yy")),
    "coordinate": frozenset(("gx",)),
    "gradient": frozenset(("gx",)),
    "activation_gradient": frozenset(("xx", "gg")),
}
"""The signals that a basis is made of; a basis that is not here needs none."""


class _Avoided(NamedTuple):
    """Orthonormal bases of what the stack spans already, none of it: zero columns."""

    outs: Float[Tensor, "d_out num_outs"]
    ins: Float[Tensor, "d_in num_ins"]


def moment(place: Place, name: Moment) -> Tensor:
    """A signal that the kind has asked for."""
    found: Tensor | None = getattr(place.signals, name, None)
    assert found is not None, f"{name} was wanted, so a newborn is given it"
    return found


def find_bases(
    basis: Basis, place: Place, sides: tuple[int, int], num: int, generator: torch.Generator, *, complement: bool
) -> tuple[Float[Tensor, "d_out num"], Float[Tensor, "num d_in"]]:
    """`num` orthonormal vectors for outputs and for inputs, the most important first where the basis knows of any.

    Args:
        basis: Any but "walsh" and "coordinate".
        sides: (d_out, d_in).
        complement: Keep the vectors orthogonal to what the stack spans at this weight.

    Raises:
        SiteError: The complement has fewer than `num` dimensions.
    """
    spanned = place.spanned if complement else None
    if spanned is None:
        none = _Avoided(*(torch.zeros(side, 0) for side in sides))
        return _vectors(basis, place, sides, num, generator, none)
    avoided = _avoided(spanned)
    for name, side, there in zip(("outputs", "inputs"), sides, avoided, strict=True):
        if side - there.shape[1] < num:
            raise SiteError(
                f"the stack spans {there.shape[1]} of the {side} dimensions of the {name} of a {sides[0]} x "
                f"{sides[1]} weight, and a graft in the complement needs {num}; lower the rank or set "
                "complement = false"
            )
    a, b = _vectors(basis, place, sides, num, generator, avoided)
    return _cleaned(a, avoided.outs), _cleaned(b.T, avoided.ins).T


def busiest_coordinates(
    gradient: Float[Tensor, "d_out d_in"], num: int
) -> tuple[Int[Tensor, " num"], Int[Tensor, " num"]]:
    """`num` rows and `num` columns whose crossings hold much of the gradient's energy, the busiest first.

    Rows are chosen for the columns and columns for the rows in turn, from the columns that are busiest over all rows;
    each turn holds at least as much energy as the one before.
    """
    energy = gradient.square()
    rows, columns = energy.sum(1).topk(num).indices, energy.sum(0).topk(num).indices
    for _ in range(_NUM_TURNS):
        rows = energy[:, columns].sum(1).topk(num).indices
        columns = energy[rows].sum(0).topk(num).indices
    return rows, columns


def unit_vectors(places: Int[Tensor, " num"], side: int) -> Float[Tensor, "side num"]:
    """The columns of the identity at `places`."""
    return torch.zeros(side, len(places)).index_put((places.long(), torch.arange(len(places))), torch.ones(()))


def leading(
    matrix: Float[Tensor, "d_out d_in"], num: int, generator: torch.Generator
) -> tuple[Float[Tensor, "d_out num"], Float[Tensor, "num d_in"]]:
    """The `num` leading left and right singular vectors.

    A full decomposition for small matrices or high ranks; else a randomised one, whose cost grows with the rank
    (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4).
    """
    num_kept = num + _NUM_SPARE
    if 4 * num_kept >= min(matrix.shape):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :num], v[:num]
    q = torch.linalg.qr(matrix @ torch.randn(matrix.shape[1], num_kept, generator=generator)).Q
    for _ in range(_NUM_POWER_STEPS):
        q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ q).Q).Q
    u, _, v = torch.linalg.svd(q.T @ matrix, full_matrices=False)
    return q @ u[:, :num], v[:num]


def _vectors(
    basis: Basis, place: Place, sides: tuple[int, int], num: int, generator: torch.Generator, avoided: _Avoided
) -> tuple[Float[Tensor, "d_out num"], Float[Tensor, "num d_in"]]:
    outs, ins = avoided
    if basis == "random":
        a = torch.linalg.qr(_outside(torch.randn(sides[0], num, generator=generator), outs)).Q
        return a, torch.linalg.qr(_outside(torch.randn(sides[1], num, generator=generator), ins)).Q.T
    if basis in ("activation", "activation_gradient"):
        of_outputs = moment(place, "yy" if basis == "activation" else "gg")
        a, _ = leading(_outside(_outside(of_outputs, outs).T, outs), num, generator)
        _, b = leading(_outside(_outside(moment(place, "xx"), ins).T, ins), num, generator)
        return a, b
    matrix = moment(place, "gx") if basis == "gradient" else _weight(place)
    matrix = _outside(_outside(matrix, outs).T, ins).T
    if basis != "weight_minor":
        return leading(matrix, num, generator)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    end = min(sides[0] - outs.shape[1], sides[1] - ins.shape[1])  # beyond, the vectors are those avoided
    return u[:, end - num : end], v[end - num : end]


def _weight(place: Place) -> Float[Tensor, "d_out d_in"]:
    weight = place.weight
    assert weight is not None  # the site is linear
    return weight.float().cpu()


def _avoided(spanned: LowRankFactors) -> _Avoided:
    return _Avoided(_range_of(spanned.up.float().cpu()), _range_of(spanned.down.T.float().cpu()))


def _range_of(columns: Float[Tensor, "d k"]) -> Float[Tensor, "d rank"]:
    """An orthonormal basis of what the columns span."""
    u, s, _ = torch.linalg.svd(columns, full_matrices=False)
    kept: Tensor = u[:, s > _LEAST_SHARE * s[:1]]  # of no columns, none
    return kept


def _outside(columns: Float[Tensor, "d k"], avoided: Float[Tensor, "d m"]) -> Float[Tensor, "d k"]:
    """The columns less their part in the span of `avoided`."""
    return columns - avoided @ (avoided.T @ columns)


def _cleaned(columns: Float[Tensor, "d k"], avoided: Float[Tensor, "d m"]) -> Float[Tensor, "d k"]:
    """Orthonormal, and outside up to rounding; the second pass is for columns that lay nearly inside."""
    for _ in range(2):
        columns = torch.linalg.qr(_outside(columns, avoided)).Q
    return columns


_NUM_TURNS = 8
_NUM_SPARE = 16
_NUM_POWER_STEPS = 4
_LEAST_SHARE = 1e-6  # what is smaller, against the largest singular value, is float32's rounding
