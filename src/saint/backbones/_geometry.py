"""The manifold on which attention measures distances: coordinates, metric, gravity and anchors.

Coordinates lie in the unit cube and are kept about its middle, in (-1/2, 1/2): distances depend on differences only,
and a product of centred coordinates keeps the digits that one of coordinates near 1/2 loses. In mode "causal" positions
are rotations of the manifold about that middle, metric and all, so that a score depends on what two tokens are and on
how far apart they stand: |R_i a - R_j b| under R_i G R_i^T is |a - R_(j-i) b| under G. Beside the manifold a point has
flat coordinates in the same cube, which no position turns and whose metric is Euclidean. B is the batch, H heads, T
tokens, D the manifold's dimensions, R the rank of the metric's change.
"""

import math
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.backbones._config import DrmConfig

_FIELD_WIDTH = 0.5  # of the kernel that random features stand for, as published
_HIGHEST_GAMMA, _ROUNDING = 3.0, 1e-8  # published bounds of the Lorentz factor
_TINY = 1e-6


def wide(tensor: Tensor) -> Tensor:
    """In float32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def coordinates_first(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """The same numbers, each coordinate's of all tokens side by side in memory.

    A head has few coordinates and many tokens, so what is done to each coordinate then runs along the tokens.
    """
    return x.movedim(-1, 0).contiguous().movedim(0, -1)


def rotation(positions: Float[Tensor, "batch seq"], dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines (dim/2, B, 1, T) of rotary positions (arXiv:2104.09864); m and m + dim/2 make a plane."""
    planes = torch.arange(0, dim, 2, device=positions.device, dtype=positions.dtype)
    angles = positions[:, None] * (base ** (-planes / dim)).view(-1, 1, 1, 1)
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "batch heads seq dim"], by: tuple[Tensor, Tensor]) -> Float[Tensor, "batch heads seq dim"]:
    """Turn each plane by the angle of its token's position; coordinates after the planes stay."""
    turned: Tensor = _Turn.apply(x.movedim(-1, 0), *by)  # type: ignore[no-untyped-call]
    return turned.movedim(0, -1).to(x.dtype)


def rotate_columns(
    factor: Float[Tensor, "batch heads seq dim rank"], by: tuple[Tensor, Tensor]
) -> Float[Tensor, "batch heads seq dim rank"]:
    """Turn each column of a metric's factor with the point that it is at."""
    first = factor.movedim((-2, -1), (0, 1))
    turned: Tensor = _Turn.apply(first, *(each.unsqueeze(1) for each in by))  # type: ignore[no-untyped-call]
    return turned.movedim((0, 1), (-2, -1))


@final
class _Turn(torch.autograd.Function):
    """Planes (m, m + dim/2) of the first dimension turned; the backward pass turns them back and keeps no input."""

    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        return _turned(x, cosines, sines, 1)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @override
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turned(gradient, cosines, sines, -1), None, None


def _turned(x: Tensor, cosines: Tensor, sines: Tensor, sense: int) -> Tensor:
    half = len(cosines)
    left, right, rest = x.tensor_split((half, 2 * half))
    turned = (
        torch.addcmul(left * cosines, right, sines, value=-sense),
        torch.addcmul(right * cosines, left, sines, value=sense),
    )
    return torch.cat((*turned, rest) if len(rest) else turned)


def homes(num_heads: int, dim: int, num_flat: int, base: float) -> tuple[Tensor, Tensor]:
    """Where queries and keys of each head are whatever their tokens: biases (heads * coordinates,) of their maps.

    Head h is born looking h + 1 tokens back: turned by its position, a query comes to lie where the key so far before
    it does. Without, heads have to find places by what tokens are, which some trainings do late or not at all.
    """
    planes = torch.arange(0, dim, 2, dtype=torch.float32)
    angles = torch.arange(1, num_heads + 1)[:, None] * base ** (-planes / dim)
    query = torch.cat((torch.ones_like(angles), torch.zeros_like(angles)), dim=-1)
    key = torch.cat((angles.cos(), angles.sin()), dim=-1)
    flat = query.new_zeros(num_heads, num_flat)
    return torch.cat((query, flat), dim=-1).flatten(), torch.cat((key, flat), dim=-1).flatten()


def centred(raw: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """The coordinates sigmoid(x) - 1/2, in float32 at least."""
    return 0.5 * torch.tanh(0.5 * wide(raw))


def _rows(point: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Coordinates in the unit cube, each token's side by side as a linear map reads them fastest."""
    return (point + 0.5).contiguous()


@final
class ToManifold(nn.Module):
    """From a head's queries or keys to the manifold, as published: one map (D, d) for all heads of a layer."""

    def __init__(self, config: DrmConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.d_manifold, config.head_dim))

    @override
    def forward(self, x: Float[Tensor, "batch heads seq d"]) -> Float[Tensor, "batch heads seq dim"]:
        return F.linear(x, self.weight.to(x.dtype))


@final
class MetricNet(nn.Module):
    """The factor U of the metric I + U U^T at a point; one network for all layers and heads."""

    def __init__(self, config: DrmConfig) -> None:
        super().__init__()
        dim, hidden, rank = config.d_manifold, config.metric_hidden, config.metric_rank
        self._shape = (dim, rank)
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, dim * rank)
        )

    @override
    def forward(self, point: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim rank"]:
        raw: Tensor = self.net(_rows(point).to(next(self.parameters()).dtype))
        factor: Tensor = coordinates_first(wide(raw)).unflatten(-1, self._shape)
        return factor


class Field(NamedTuple):
    """What gravity knows of each token in a head."""

    waves: Float[Tensor, "batch heads seq waves"]
    """Random Fourier features, whose products are the kernel between two points."""
    pull: Float[Tensor, "batch heads seq waves+1"]
    """Its mass times its features, and its mass."""


@final
class GravityField(nn.Module):
    """A field that masses on the manifold make, which scales the change of the metric by c^2.

    In mode "causal" c^2 = exp(strength I), I the mean of the kernel to the tokens so far, weighted by their masses and
    bounded, for |I| is at most 2. In mode "parity" it is 1 and strength times the sum over all tokens, in (-0.9, 5).
    """

    W: Tensor
    b: Tensor

    def __init__(self, config: DrmConfig) -> None:
        super().__init__()
        dim, waves = config.d_manifold, config.num_waves
        self._strength, self._is_parity = config.gravity_strength, config.is_parity
        self.register_buffer("W", torch.randn(dim, waves) / _FIELD_WIDTH)
        self.register_buffer("b", torch.rand(waves) * 2 * math.pi)
        self.mass_net = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    @override
    def forward(
        self, point: Float[Tensor, "batch heads seq dim"], counts: Bool[Tensor, "batch 1 seq 1"] | None = None
    ) -> Field:
        """The field of each token by itself.

        Args:
            counts: Which tokens have mass; the others are padding.
        """
        mass = F.softplus(wide(self.mass_net(_rows(point).to(next(self.parameters()).dtype))))
        if counts is not None:
            mass = mass * counts
        weights, shifts = self.W.to(point.dtype), self.b.to(point.dtype)
        columns = torch.addmm(shifts[:, None], weights.mT, (point + 0.5).movedim(-1, 0).flatten(1))
        waves = math.sqrt(2 / len(columns)) * columns.cos()
        pull = torch.cat((mass.flatten() * waves, mass.flatten()[None]))
        return Field(*(each.unflatten(1, point.shape[:-1]).movedim(0, -1) for each in (waves, pull)))

    def scale(
        self,
        waves: Float[Tensor, "batch heads seq waves"],
        pull: Float[Tensor, "batch heads keys waves+1"],
    ) -> Float[Tensor, "batch heads seq 1"]:
        """c^2 at the last tokens, those whose waves are given, from the pull of all."""
        if self._is_parity:
            strength = (waves * pull[..., :-1].sum(-2, keepdim=True)).sum(-1, keepdim=True)
            return 1 + (self._strength * strength).clamp(-0.9, 5.0) + _TINY
        so_far = pull.movedim(-1, 0).cumsum(-1)
        if pull.shape[-2] > waves.shape[-2]:
            so_far = so_far[..., -waves.shape[-2] :]
        pulled, mass = so_far.split((waves.shape[-1], 1))
        mean = (waves.movedim(-1, 0) * pulled).sum(0) / mass.squeeze(0).clamp(min=_TINY)
        return torch.exp(self._strength * mean).unsqueeze(-1)


def anchors_at_birth(num_anchors: int, dim: int) -> Float[Tensor, "anchors dim"]:
    """Where the published six anchors start, by name; further ones start anywhere."""
    along = torch.arange(dim) / max(1, dim - 1)
    even = torch.arange(dim) % 2 == 0
    grounding = torch.full((dim,), 0.2)
    grounding[-2:] = 0.8
    named = torch.stack(
        (
            0.1 + 0.8 * along,  # truth
            0.9 - 0.8 * along,  # ignorance
            torch.where(even, 0.1, 0.9),  # safety
            0.5 + 0.4 * torch.sin(math.pi * along),  # complexity
            torch.where(even, 0.9, 0.1),  # creativity
            grounding,
        )
    )
    return torch.cat((named, torch.rand(max(0, num_anchors - len(named)), dim)))[:num_anchors]


def sharpening(
    point: Float[Tensor, "*batch dim"], anchors: Float[Tensor, "anchors dim"], *, c: float, alpha: float
) -> Float[Tensor, "*batch 1"]:
    """1 + alpha ln gamma, gamma the Lorentz factor of the distance to the nearest anchor against c."""
    places = anchors.to(point.dtype) - 0.5
    columns = point.movedim(-1, 0).flatten(1)
    squares = torch.addmm(places.square().sum(-1, keepdim=True), places, columns, alpha=-2).amin(0)
    nearest = (squares + columns.square().sum(0)).view(*point.shape[:-1], 1)
    slowed = (1 + _ROUNDING - nearest / c**2).clamp(min=_HIGHEST_GAMMA**-2)  # gamma is its inverse root
    return 1 - 0.5 * alpha * slowed.log()


def mean_distance(
    query: Float[Tensor, "batch heads seq dim"],
    factor: Float[Tensor, "batch heads seq dim rank"],
    key: Float[Tensor, "batch heads keys dim"],
) -> Float[Tensor, "batch heads seq 1"]:
    """Of each query to all keys, under its metric, from the keys' mean and second moments alone."""
    mean = key.mean(-2, keepdim=True)
    spread = key - mean
    moments = spread.mT @ spread / key.shape[-2]  # (B, H, D, D)
    away = query - mean
    along = (factor * away.unsqueeze(-1)).sum(-2)
    stretched = ((factor.mT @ moments.unsqueeze(-3)) * factor.mT).sum((-1, -2))
    total = away.square().sum(-1) + along.square().sum(-1) + moments.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
    return (total + stretched).unsqueeze(-1)
