"""Logits on a fixed text, to compare models to the bit."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saint.models import tensor_digest

_NUM_ROWS = 2
_NUM_TOKENS = 32


@torch.inference_mode()
def probe_logits(model: nn.Module) -> Float[Tensor, "batch seq vocab"]:
    """The logits of `model` on 64 token ids that depend on its vocabulary only."""
    config: Any = model.config
    device = next(model.parameters()).device
    ids = torch.arange(_NUM_ROWS * _NUM_TOKENS, device=device) * 7919 % config.vocab_size  # spread by a prime
    inputs: dict[str, Any] = {"input_ids": ids.view(_NUM_ROWS, _NUM_TOKENS), "use_cache": False}
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = inputs["input_ids"].flip(1)
    logits: Tensor = model(**inputs).logits
    return logits


def logits_digest(model: nn.Module) -> str:
    """The SHA-256 of the probe's logits: equal digests mean equal bits (on one machine and number of threads)."""
    return tensor_digest(probe_logits(model))
