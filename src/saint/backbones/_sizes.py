"""The published sizes by name, and the plain rival of each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from saint.backbones._config import DrmConfig, Mode
from saint.backbones._model import DrmForCausalLM
from saint.errors import UnknownNameError

_SMALLEST_MANIFOLD = 6


class DrmSize(NamedTuple):
    """One published size; names are older than counts, which are of the published form over 50,000 tokens."""

    num_params: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_seq_len: int
    d_manifold: int
    metric_hidden: int
    metric_rank: int
    gravity_strength: float
    dropout: float


# fmt: off
SIZES: Mapping[str, DrmSize] = MappingProxyType({
    "1m":    DrmSize(3_468_581, 64, 4, 2, 256, 256, 4, 16, 4, 0.1, 0.1),
    "5m-d4": DrmSize(5_697_511, 96, 6, 3, 384, 512, 4, 16, 4, 0.1, 0.1),
    "5m":    DrmSize(5_699_059, 96, 6, 3, 384, 512, 6, 24, 4, 0.1, 0.1),
    "10m":   DrmSize(10_489_779, 160, 6, 4, 640, 512, 6, 24, 4, 0.1, 0.1),
    "15m":   DrmSize(19_169_255, 256, 6, 4, 1024, 512, 8, 32, 4, 0.1, 0.1),
    "50m":   DrmSize(59_443_657, 512, 8, 8, 2048, 1024, 12, 48, 4, 0.08, 0.1),
    "125m":  DrmSize(152_285_049, 768, 12, 12, 3072, 1024, 14, 56, 4, 0.06, 0.1),
    "350m":  DrmSize(455_011_929, 1024, 24, 16, 4096, 1024, 16, 64, 4, 0.05, 0.1),
    "1.3b":  DrmSize(1_321_089_057, 2048, 24, 16, 5504, 512, 20, 80, 6, 0.03, 0.0),
    "13b":   DrmSize(12_970_676_089, 5120, 40, 40, 13824, 4096, 24, 96, 6, 0.02, 0.0),
    "70b":   DrmSize(78_324_933_953, 8192, 80, 64, 28672, 4096, 28, 112, 8, 0.01, 0.0),
    "162b":  DrmSize(232_696_854_369, 12288, 96, 96, 49152, 4096, 32, 128, 8, 0.008, 0.0),
    "640b":  DrmSize(542_259_065_295, 16384, 126, 128, 65536, 8192, 40, 160, 10, 0.005, 0.0),
})
# fmt: on
"""By name: "5m" is the multilingual one, "5m-d4" what it was before its manifold had six dimensions."""


def drm_config(name: str, *, mode: Mode = "causal", **changes: Any) -> DrmConfig:
    """The configuration of a published size.

    Args:
        name: One of `SIZES`.
        mode: In mode "causal" there is no dropout and a manifold has at least six dimensions: that is where an ordinary
            head still holds the features, and with four small pilots learned less.
        changes: Fields of `DrmConfig` that are to be other ones.

    Raises:
        UnknownNameError: No size has that name.
    """
    if name not in SIZES:
        raise UnknownNameError(f"no DRM size is called {name!r}; there are {', '.join(SIZES)}")
    shape = SIZES[name]._asdict()
    del shape["num_params"]
    if mode == "causal":
        del shape["dropout"]
        if shape["d_manifold"] < _SMALLEST_MANIFOLD:
            shape |= {"d_manifold": _SMALLEST_MANIFOLD, "metric_hidden": 4 * _SMALLEST_MANIFOLD}
    return DrmConfig(**{**shape, "mode": mode, **changes})


def rival_config(config: DrmConfig) -> LlamaConfig:
    """A plain GPT (rotary positions, RMSNorm, SwiGLU, a tied head) of as many parameters, and as much else equal.

    Layers, heads, widths of heads and of the stream are the same; the inner width of its MLPs makes up for what the
    geometry takes or saves, so that the counts differ by less than half a channel in each layer.
    """
    wanted = count_params(DrmForCausalLM, config)
    one_wide = count_params(LlamaForCausalLM, _llama(config, inner=1))
    per_channel = 3 * config.d_model * config.n_layers
    return _llama(config, inner=1 + round((wanted - one_wide) / per_channel))


def count_params(family: type[PreTrainedModel], config: Any) -> int:
    """Parameters of a model, tied ones once, from the model itself, which is built without memory for its weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in family(config).parameters())


def _llama(config: DrmConfig, *, inner: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=inner,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        max_position_embeddings=config.max_seq_len,
        tie_word_embeddings=True,
        rms_norm_eps=config.rms_norm_eps,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
