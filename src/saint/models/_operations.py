"""Counting floating-point operations, attention on a CPU included."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_ATEN = torch.ops.aten
_BACKWARD = 2  # of a product's operations, for the gradient of each of its factors


def counting_flops() -> FlopCounterMode:
    """A context that counts the operations of matrix products and of attention within it.

    PyTorch's own counter leaves the fused attention of CPUs out, and takes every token to look at every other. Here
    causal attention is half of that: what it needs, whatever a kernel makes of it. Its backward pass is twice its
    forward pass; that a kernel computes the scores once more in it is not counted.
    """
    return FlopCounterMode(
        display=False,
        custom_mapping={
            _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
            _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )


def _attention(query: Any, key: Any, value: Any, _dropout: float = 0.0, *causal: bool, **_others: Any) -> int:
    """Of shapes (batch, heads, seq, d)."""
    return int(sdpa_flop_count(query, key, value)) // (2 if any(causal) else 1)


def _attention_backward(_gradient: Any, query: Any, key: Any, value: Any, *others: Any, **_others: Any) -> int:
    *_, causal = others  # output, logsumexp, dropout, whether causal
    return _BACKWARD * _attention(query, key, value, 0.0, causal)
