"""The blocks of a DRM decoder."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from typing_extensions import override

from saint.backbones._attention import Metric, evaluation_for
from saint.backbones._config import DrmConfig
from saint.backbones._geometry import (
    GravityField,
    MetricNet,
    ToManifold,
    centred,
    coordinates_first,
    mean_distance,
    rotate,
    rotate_columns,
    sharpening,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all layers use, with what holds for one call of the model."""

    metric_net: MetricNet
    gravity_field: GravityField | None
    anchors: Tensor
    rotation: tuple[Tensor, Tensor]
    mask: Bool[Tensor, "batch 1 seq keys"] | None
    counts: Bool[Tensor, "batch 1 seq 1"] | None
    """Which tokens are no padding; None where all are."""
    penalised: bool
    """Whether somebody asks for the penalties."""


@final
class DrmAttention(nn.Module):
    """Attention by distance, several heads beside each other."""

    def __init__(self, config: DrmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        width = config.d_model if config.is_parity else config.n_heads * config.num_coordinates
        self.q_proj = nn.Linear(config.d_model, width, bias=not config.is_parity)
        self.k_proj = nn.Linear(config.d_model, width, bias=not config.is_parity)
        self.v_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.out_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        if config.is_parity:
            self.q_to_manifold, self.k_to_manifold = ToManifold(config), ToManifold(config)
            self.temperature = nn.Parameter(torch.empty(()))
        else:
            self.log_temperature = nn.Parameter(torch.empty(config.n_heads))
        self.evaluate = evaluation_for(config)

    @override
    def forward(
        self, x: Float[Tensor, "batch seq d_model"], shared: Shared, past: Cache | None = None
    ) -> tuple[Float[Tensor, "batch seq d_model"], Float[Tensor, " 3"]]:
        """What is to be added to the stream, and the penalties of this layer."""
        query, key, value = (self._heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        with torch.autocast(x.device.type, enabled=False):
            if self.config.is_parity:
                query = self.q_to_manifold(rotate(query, shared.rotation))
                key = self.k_to_manifold(rotate(key, shared.rotation))
            query, key = (centred(coordinates_first(each)) for each in (query, key))
            mixed, penalties = self._attend(query, key, value, shared, past)
        written: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return written, penalties

    def _heads(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch heads seq d"]:
        return x.view(*x.shape[:-1], self.config.n_heads, -1).transpose(1, 2)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, shared: Shared, past: Cache | None
    ) -> tuple[Tensor, Tensor]:
        point = query[..., : self.config.d_manifold]
        factor = shared.metric_net(point)
        penalties = self._penalties(factor, point, shared) if shared.penalised else query.new_zeros(3)
        field = None if shared.gravity_field is None else shared.gravity_field(point, shared.counts)
        pull = key[..., :0] if field is None else field.pull
        if not self.config.is_parity:
            key = rotate(key, shared.rotation)
        if past is not None:
            kept, values = past.update(torch.cat((key, pull), dim=-1), value, self.layer_idx)
            key, pull = kept.split((key.shape[-1], pull.shape[-1]), dim=-1)
            value = values.to(value.dtype)
        if shared.gravity_field is not None and field is not None:
            factor = factor * shared.gravity_field.scale(field.waves, pull).sqrt().unsqueeze(-1)
        sharpness = self._sharpness(point, factor, key, shared.anchors)
        if not self.config.is_parity:
            query, factor = rotate(query, shared.rotation), rotate_columns(factor, shared.rotation)
        dropout = self.config.dropout if self.training else 0.0
        mixed = self.evaluate(query, key, value, Metric(factor, sharpness), mask=shared.mask, dropout=dropout)
        return mixed, penalties

    def _sharpness(self, query: Tensor, factor: Tensor, key: Tensor, anchors: Tensor) -> Tensor:
        config = self.config
        if not config.is_parity:
            sharpness = torch.exp(-self.log_temperature.to(query.dtype)).view(-1, 1, 1)
        else:
            sharpness = 1 / self.temperature.to(query.dtype).clamp(min=config.temperature_min)
        if not config.gamma_enabled:
            return sharpness.expand(*query.shape[:-1], 1)
        leading = query[:, :1] if config.is_parity else query  # as published, the first head's speed is everybody's
        effective = sharpening(leading, anchors, c=config.gamma_c or 1.0, alpha=config.gamma_alpha or 0.0)
        if config.is_parity:
            with torch.no_grad():
                mean = mean_distance(query, factor, key) + 1e-6
            sharpness = sharpness / mean
        return effective.square() * sharpness

    def _penalties(self, factor: Tensor, query: Tensor, shared: Shared) -> Tensor:
        if self.config.is_parity:  # as published, of the first layer's first head alone, which learns nothing from it
            if self.layer_idx:
                return query.new_zeros(3)
            factor = shared.metric_net(query[:, 0].detach())
        grams = factor.mT @ factor
        unit = torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)
        spread = factor.flatten(-2).flatten(0, -2).var(0).mean()
        size = grams.diagonal(dim1=-2, dim2=-1).sum(-1).mean()
        return torch.stack((size, (grams - unit).square().mean(), (spread - self.config.spread_target).square()))


@final
class SwiGlu(nn.Module):
    """down(silu(gate x) * up x), a gated linear unit (arXiv:2002.05202)."""

    def __init__(self, config: DrmConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    @override
    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        found: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


@final
class DrmBlock(GradientCheckpointingLayer):
    """x + Attention(RMSNorm(x)), and then x + SwiGLU(RMSNorm(x))."""

    def __init__(self, config: DrmConfig, layer_idx: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        self.attn = DrmAttention(config, layer_idx)
        self.norm2 = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        self.ffn = SwiGlu(config)
        self.dropout = nn.Dropout(config.dropout)

    @override
    def forward(
        self, hidden: Float[Tensor, "batch seq d_model"], *, shared: Shared, past_key_values: Cache | None = None
    ) -> tuple[Float[Tensor, "batch seq d_model"], Float[Tensor, " 3"]]:
        mixed, penalties = self.attn(self.norm1(hidden), shared, past_key_values)
        hidden = hidden + self.dropout(mixed)
        return hidden + self.dropout(self.ffn(self.norm2(hidden))), penalties


@final
class DimensionalGate(nn.Module):
    """x * sigmoid(W x + b), once, before the first block."""

    def __init__(self, config: DrmConfig) -> None:
        super().__init__()
        self.gate_net = nn.Sequential(nn.Linear(config.d_model, config.d_model), nn.Sigmoid())

    @override
    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        gated: Tensor = x * self.gate_net(x)
        return gated
