"""Attention by squared distance under the query's metric: softmax over j of -s_i (a_i - b_j)^T G_i (a_i - b_j).

With G_i = I + U_i U_i^T, a squared distance is a_i^T G_i a_i - psi_i . phi_j, where phi_j holds b_j and the products of
its coordinates and psi_i holds 2 G_i a_i and -G_i. The first term is the same along a row, so softmax does not see it,
and what is left is ordinary attention with s_i psi_i as queries and phi_j as keys, exact in value and gradient. Of flat
coordinates, whose part of G is the identity, psi has 2 a_i and -1 alone, and phi b_j and |b_j|^2.
"""

import logging
from functools import cache
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from saint.backbones._config import WIDEST_FEATURES, DrmConfig

_MULTIPLE = 8  # of which fused kernels want a head's width to be one
_TILE = 128  # queries whose scores are there at one time


class Metric(NamedTuple):
    """What distances from each query are measured with."""

    factor: Float[Tensor, "batch heads seq dim rank"]
    """U of I + U U^T, gravity included; coordinates of a point beyond its rows are flat."""
    sharpness: Float[Tensor, "batch heads seq 1"]
    """What a squared distance is multiplied by to be minus a score."""


@runtime_checkable
class Evaluation(Protocol):
    """A way of computing attention by distance; all of them give the same up to rounding."""

    def __call__(
        self,
        query: Float[Tensor, "batch heads seq coords"],
        key: Float[Tensor, "batch heads keys coords"],
        value: Float[Tensor, "batch heads keys d"],
        metric: Metric,
        *,
        mask: Bool[Tensor, "batch 1 seq keys"] | None,
        dropout: float,
    ) -> Float[Tensor, "batch heads seq d"]:
        """Mix the values.

        Args:
            query: Centred coordinates, as are the keys'.
            mask: Which keys a query sees; None is all that are not after it, the last query standing at the last key.
        """
        ...


def evaluation_for(config: DrmConfig) -> Evaluation:
    """Features where a head may be as wide as they are, else tiles, which is said once."""
    if config.num_features <= WIDEST_FEATURES:
        return by_features
    _say_tiles(config.d_manifold, config.num_features)
    return by_tiles


@cache
def _say_tiles(dim: int, num_features: int) -> None:
    logging.getLogger(__name__).warning(
        "d_manifold is %d, whose %d features are wider than the %d that fused attention takes; "
        "scores are computed in tiles of %d queries instead, which is exact and slower",
        *(dim, num_features, WIDEST_FEATURES, _TILE),
    )


def by_features(
    query: Float[Tensor, "batch heads seq coords"],
    key: Float[Tensor, "batch heads keys coords"],
    value: Float[Tensor, "batch heads keys d"],
    metric: Metric,
    *,
    mask: Bool[Tensor, "batch 1 seq keys"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads seq d"]:
    """One call of fused attention."""
    dim, d = metric.factor.shape[-2], value.shape[-1]
    num_features = sum(_parts(dim, query.shape[-1] - dim))
    width = -(-max(num_features, d) // _MULTIPLE) * _MULTIPLE
    mixed: Tensor = F.scaled_dot_product_attention(
        query_features(query, metric, width).to(value.dtype),
        key_features(key, dim, width).to(value.dtype),
        F.pad(value, (0, width - d)) if width > d else value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None and query.shape[-2] > 1,
        scale=1.0,
    )
    return mixed[..., :d]


def query_features(query: Float[Tensor, "*batch coords"], metric: Metric, width: int) -> Float[Tensor, "*batch width"]:
    """The features s [2 G a, -svec(G)] and zeros up to `width`, off-diagonal entries of G counted twice.

    Before the zeros come s [2 a, -1] of flat coordinates, where there are any.
    """
    dim = metric.factor.shape[-2]
    point, sharpness = query.movedim(-1, 0), metric.sharpness.movedim(-1, 0)
    factor = metric.factor.movedim((-2, -1), (0, 1)) * sharpness.sqrt()
    sharp = sharpness * point
    along = (factor * point[:dim, None]).sum(0)
    straight = (factor * along).sum(1)  # (s G - s I) a
    change: Tensor = _Triangle.apply(factor)  # type: ignore[no-untyped-call]
    rows = torch.cat((sharp, straight, change, sharpness))
    return _laid_out(rows, _query_layout(dim, len(sharp) - dim, width, rows))


def key_features(key: Float[Tensor, "*batch coords"], dim: int, width: int) -> Float[Tensor, "*batch width"]:
    """The features [b, svec(b b^T)], then [b, |b|^2] of what is flat, and zeros up to `width`."""
    point = key.movedim(-1, 0)
    products: Tensor = _Triangle.apply(point[:dim, None])  # type: ignore[no-untyped-call]
    squares = (point[dim:].square().sum(0, keepdim=True),) if len(point) > dim else ()
    rows = torch.cat((point[:dim], products, point[dim:], *squares))
    return _laid_out(rows, torch.eye(len(rows), width, dtype=rows.dtype, device=rows.device))


def _laid_out(rows: Tensor, layout: Float[Tensor, "num width"]) -> Float[Tensor, "*batch width"]:
    """Combine rows (num, ...) of tokens into features, a token's side by side as fused attention wants them."""
    features: Tensor = rows.flatten(1).mT @ layout
    return features.view(*rows.shape[1:], layout.shape[1])


def _query_layout(dim: int, num_flat: int, width: int, like: Tensor) -> Float[Tensor, "num width"]:
    """What s a, (s G - s I) a, the triangle of s G - s I and s are for each feature of a query."""
    unit = torch.eye(width, dtype=like.dtype, device=like.device)
    parts = _parts(dim, num_flat)
    straight, triangle, flat, lengths, _ = unit.split([*parts, width - sum(parts)])
    diagonal = triangle[:dim].sum(0, keepdim=True) + lengths.sum(0, keepdim=True)
    return torch.cat((2 * straight, 2 * flat, 2 * straight, -triangle[:dim], -2 * triangle[dim:], -diagonal))


def _parts(dim: int, num_flat: int) -> list[int]:
    """How many features are straight, of the triangle, of flat coordinates, and of their length."""
    return [dim, dim * (dim + 1) // 2, num_flat, int(num_flat > 0)]


@final
class _Triangle(torch.autograd.Function):
    """U (D, R, ...) -> the upper triangle (D (D + 1) / 2, ...) of U U^T, diagonal after diagonal.

    Whole diagonals are products of long rows, where a product of small matrices per token is mostly overhead.
    """

    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(factor: Tensor) -> Tensor:
        dim, rank = factor.shape[:2]
        products = [factor[: dim - k] * factor[k:] for k in range(dim)]
        return torch.cat([each[:, 0] if rank == 1 else each.sum(1) for each in products])

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        [factor] = ctx.saved_tensors
        dim = len(factor)
        diagonals = gradient.unsqueeze(1).split(list(range(dim, 0, -1)))
        back: Tensor = 2 * diagonals[0] * factor
        for k in range(1, dim):
            back[: dim - k].addcmul_(diagonals[k], factor[k:])
            back[k:].addcmul_(diagonals[k], factor[: dim - k])
        return back


def by_tiles(
    query: Float[Tensor, "batch heads seq coords"],
    key: Float[Tensor, "batch heads keys coords"],
    value: Float[Tensor, "batch heads keys d"],
    metric: Metric,
    *,
    mask: Bool[Tensor, "batch 1 seq keys"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads seq d"]:
    """R + 1 products of depth D for each tile of queries, whose scores the backward pass computes again."""
    factor, sharpness = metric
    ahead = key.shape[-2] - query.shape[-2]
    found = []
    for start in range(0, query.shape[-2], _TILE):
        rows = slice(start, min(start + _TILE, query.shape[-2]))
        seen = slice(0, ahead + rows.stop if mask is None else key.shape[-2])
        there = (query[:, :, rows], factor[:, :, rows], sharpness[:, :, rows])
        allowed = _not_after(rows, ahead, key.device) if mask is None else mask[:, :, rows]
        tile = (*there, key[:, :, seen], value[:, :, seen], allowed, dropout)
        if torch.is_grad_enabled():
            found.append(checkpoint(_tile, *tile, use_reentrant=False))
        else:
            found.append(_tile(*tile))
    return torch.cat(found, dim=-2)


def _not_after(rows: slice, ahead: int, device: torch.device) -> Bool[Tensor, "rows keys"]:
    at = torch.arange(rows.start, rows.stop, device=device)[:, None] + ahead
    return torch.arange(ahead + rows.stop, device=device)[None] <= at


def _tile(
    query: Tensor, factor: Tensor, sharpness: Tensor, key: Tensor, value: Tensor, allowed: Tensor, dropout: float
) -> Tensor:
    dim = factor.shape[-2]
    along = (factor * query[..., :dim, None]).sum(-2)
    straight = query + F.pad((factor * along.unsqueeze(-2)).sum(-1), (0, query.shape[-1] - dim))
    scores = 2 * straight @ key.mT - key.square().sum(-1).unsqueeze(-2)
    for column in factor.unbind(-1):
        scores = scores - (column @ key[..., :dim].mT).square()
    scores = (scores * sharpness).masked_fill(~allowed, torch.finfo(scores.dtype).min)  # -inf makes NaN of padding
    shares = F.dropout(scores.softmax(-1), dropout).to(value.dtype)
    return shares @ value
