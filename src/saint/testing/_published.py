"""The published DRM forward pass as its description reads, step by step, over the weights of one of our models."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from saint.backbones import DrmForCausalLM


def published_logits(model: DrmForCausalLM, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
    """What the published code gives without dropout: every pair of positions has a difference of its own.

    Args:
        model: In mode "parity".
    """
    weights: Any = model
    x = F.embedding(tokens, weights.token_emb.weight)
    if weights.dim_gate is not None:
        gate = weights.dim_gate.gate_net[0]
        x = x * torch.sigmoid(F.linear(x, gate.weight, gate.bias))
    for block in weights.blocks:
        x = x + _attend(weights, block.attn, _rms_norm(x, block.norm1.weight))
        there, ffn = _rms_norm(x, block.norm2.weight), block.ffn
        inner = F.silu(there @ ffn.gate_proj.weight.T) * (there @ ffn.up_proj.weight.T)
        x = x + inner @ ffn.down_proj.weight.T
    logits: Tensor = _rms_norm(x, weights.final_norm.weight) @ weights.token_emb.weight.T
    return logits


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def _attend(model: Any, attention: Any, x: Tensor) -> Tensor:
    config = model.config
    batch, seq, _ = x.shape

    def heads(y: Tensor) -> Tensor:
        return y.view(batch, seq, config.n_heads, -1).transpose(1, 2)

    q, k, v = (heads(x @ getattr(attention, f"{name}_proj").weight.T) for name in "qkv")
    qm = torch.sigmoid(_rope(q) @ attention.q_to_manifold.weight.T)
    km = torch.sigmoid(_rope(k) @ attention.k_to_manifold.weight.T)
    u = model.metric_net.net(qm).view(*qm.shape[:-1], config.d_manifold, config.metric_rank)
    if model.gravity_field is not None:
        scale = torch.stack([_gravity(model, qm[:, head]) for head in range(config.n_heads)], dim=1)
        u = u * scale.sqrt()[..., None]
    delta = qm.unsqueeze(3) - km.unsqueeze(2)  # (B, H, T, T, D)
    along = torch.matmul(u.unsqueeze(3).transpose(-1, -2), delta.unsqueeze(-1)).squeeze(-1)
    distance = (delta.square().sum(-1) + along.square().sum(-1)).clamp(min=0)
    if config.gamma_enabled:
        distance = distance / (distance.mean(-1, keepdim=True).detach() + 1e-6)
        distance = distance * _effect(model, qm[:, 0])[:, None].square()
    scores = -distance / attention.temperature.clamp(min=config.temperature_min)
    future = torch.ones(seq, seq, dtype=torch.bool).triu(1)
    shares = scores.masked_fill(future, -torch.inf).softmax(-1)
    mixed: Tensor = (shares @ v).transpose(1, 2).reshape(batch, seq, -1)
    return F.linear(mixed, attention.out_proj.weight)


def _rope(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * frequencies
    left, right = x[..., :half], x[..., half:]
    return torch.cat((left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()), dim=-1)


def _gravity(model: Any, qm: Tensor) -> Tensor:
    """c^2 (B, T, 1) of one head."""
    field, config = model.gravity_field, model.config
    mass = F.softplus(field.mass_net(qm))
    waves = math.sqrt(2 / config.gravity_n_rff) * torch.cos(qm @ field.W + field.b)
    pull = (waves * (mass * waves).sum(1, keepdim=True)).sum(-1, keepdim=True)
    c_squared: Tensor = 1 + (config.gravity_strength * pull).clamp(-0.9, 5.0) + 1e-6
    return c_squared


def _effect(model: Any, qm: Tensor) -> Tensor:
    """1 + alpha ln gamma (B, T, 1) from the first head's coordinates."""
    config = model.config
    nearest = torch.linalg.norm(qm.unsqueeze(-2) - model.anchors, dim=-1).amin(-1, keepdim=True)
    speed = nearest.clamp(max=0.999 * config.gamma_c) / config.gamma_c
    gamma = (1 / torch.sqrt(1 - speed.square() + 1e-8)).clamp(max=3.0)
    effect: Tensor = 1 + config.gamma_alpha * gamma.log()
    return effect
