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
    num_features = dim * (dim + 3) // 2 + _num_for_flat(query, dim)
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


def _num_for_flat(point: Tensor, dim: int) -> int:
    num_flat = point.shape[-1] - dim
    return num_flat + 1 if num_flat else 0


def query_features(query: Float[Tensor, "*batch coords"], metric: Metric, width: int) -> Float[Tensor, "*batch width"]:
    """The features s [2 G a, -svec(G)] and zeros up to `width`, off-diagonal entries of G counted twice.

    The last ones are s [2 a, -1] of flat coordinates, where there are any.
    """
    dim = metric.factor.shape[-2]
    curved, flat = query[..., :dim], query[..., dim:]
    both, _ = _triangle(dim, width - _num_for_flat(query, dim), query)
    unit = torch.eye(dim, dtype=query.dtype, device=query.device)
    sharpness = metric.sharpness.unsqueeze(-1)
    change: Tensor = _Square.apply(metric.factor * sharpness.sqrt())  # type: ignore[no-untyped-call]
    sharp = change + sharpness * unit  # s G
    straight = (sharp * curved.unsqueeze(-2)).sum(-1)
    of_flat = (2 * metric.sharpness * flat, -metric.sharpness) if flat.shape[-1] else ()
    return torch.cat((2 * straight, sharp.flatten(-2) @ -both, *of_flat), dim=-1)


@final
class _Square(torch.autograd.Function):
    """U -> U U^T (..., D, D) with one product in the backward pass, where autograd would make two."""

    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(factor: Tensor) -> Tensor:
        return factor @ factor.mT

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        [factor] = ctx.saved_tensors
        back: Tensor = (gradient + gradient.mT) @ factor
        return back


def key_features(key: Float[Tensor, "*batch coords"], dim: int, width: int) -> Float[Tensor, "*batch width"]:
    """The features [b, svec(b b^T)] and zeros up to `width`; the last ones are [b, |b|^2] of what is flat."""
    curved, flat = key[..., :dim], key[..., dim:]
    _, once = _triangle(dim, width - _num_for_flat(key, dim), key)
    products = (curved.unsqueeze(-1) * curved.unsqueeze(-2)).flatten(-2)
    of_flat = (flat, flat.square().sum(-1, keepdim=True)) if flat.shape[-1] else ()
    return torch.cat((curved, products @ once, *of_flat), dim=-1)


def _triangle(dim: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices (D^2, width - D) to the upper triangle of a (D, D) matrix: (p, q) and (q, p) added; (p, q) taken.

    A product with it has a product as its gradient too, where picking by index would scatter.
    """
    rows, columns = torch.triu_indices(dim, dim, device=like.device)
    places = torch.arange(rows.numel(), device=like.device)
    once = torch.zeros(dim * dim, width - dim, dtype=like.dtype, device=like.device)
    once[rows * dim + columns, places] = 1
    both = once.clone()
    both[columns * dim + rows, places] = 1
    return both, once


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
