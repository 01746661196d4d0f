"""Attention by distance as one would first write it down: the oracle of the fast forms, and the rival in timings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from saint.backbones import DrmForCausalLM, Metric


def by_differences(
    query: Float[Tensor, "batch heads seq coords"],
    key: Float[Tensor, "batch heads keys coords"],
    value: Float[Tensor, "batch heads keys d"],
    metric: Metric,
    *,
    mask: Bool[Tensor, "batch 1 seq keys"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads seq d"]:
    """Every difference of a query and a key, and the length of each; memory in proportion to T x T x D x R."""
    delta = query.unsqueeze(3) - key.unsqueeze(2)  # (B, H, T, keys, coordinates)
    curved = delta[..., : metric.factor.shape[-2], None]
    along = torch.matmul(metric.factor.unsqueeze(3).mT, curved).squeeze(-1)  # (B, H, T, keys, R)
    scores = -(delta.square().sum(-1) + along.square().sum(-1)) * metric.sharpness
    if mask is None:
        num_queries, num_keys = scores.shape[-2:]
        allowed = torch.ones(num_queries, num_keys, dtype=torch.bool, device=scores.device)
        mask = allowed.tril(num_keys - num_queries)
    shares = F.dropout(scores.masked_fill(~mask, -torch.inf).softmax(-1), dropout)
    return shares.to(value.dtype) @ value


@contextmanager
def evaluated_directly(model: DrmForCausalLM) -> Iterator[DrmForCausalLM]:
    """Let all blocks of a model compute their attention by differences as long as the context is open."""
    attentions: list[Any] = [block.attn for block in model.blocks]
    fast = [attention.evaluate for attention in attentions]
    try:
        for attention in attentions:
            attention.evaluate = by_differences
        yield model
    finally:
        for attention, evaluate in zip(attentions, fast, strict=True):
            attention.evaluate = evaluate
