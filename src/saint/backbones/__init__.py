"""Our own backbones, as Hugging Face models: importing this room makes the Auto classes know them."""

from saint.backbones._attention import (
    Evaluation as Evaluation,
    Metric as Metric,
    by_features as by_features,
    by_tiles as by_tiles,
)
from saint.backbones._config import DrmConfig as DrmConfig, Mode as Mode
from saint.backbones._layered import (
    LayeredForCausalLM as LayeredForCausalLM,
    LayeredModel as LayeredModel,
    layered_model as layered_model,
)
from saint.backbones._layered_blocks import LayeredBlock as LayeredBlock
from saint.backbones._layered_config import Head as Head, LayeredConfig as LayeredConfig
from saint.backbones._layered_sizes import (
    LAYERED_SIZES as LAYERED_SIZES,
    LayeredSize as LayeredSize,
    layered_config as layered_config,
)
from saint.backbones._mixture import MixtureForCausalLM as MixtureForCausalLM, MixtureOutput as MixtureOutput
from saint.backbones._mixture_cache import MixtureCache as MixtureCache
from saint.backbones._mixture_config import (
    COMBINATIONS as COMBINATIONS,
    Combination as Combination,
    MixtureConfig as MixtureConfig,
)
from saint.backbones._model import DrmForCausalLM as DrmForCausalLM, DrmOutput as DrmOutput
from saint.backbones._sizes import (
    SIZES as SIZES,
    DrmSize as DrmSize,
    count_params as count_params,
    drm_config as drm_config,
    rival_config as rival_config,
)
