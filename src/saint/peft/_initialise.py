from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from saint.composition import observe
from saint.errors import ConfigError
from saint.grafts import chance_of, kind_and_options
from saint.models import share_weights
from saint.peft._internals import PeftModel
from saint.peft._layer import GraftLayer


def initialise(model: PeftModel, batches: Sequence[Int[Tensor, "batch seq"]], *, adapter_name: str = "default") -> None:
    """Give birth to an adapter whose kind wants signals of text, and let it begin; needed once, before training.

    The signals are those of the model without any adapter. Adapters of other kinds are left as they are.

    Args:
        model: What `get_peft_model` gave, around a language model that takes `input_ids`.
        batches: Token ids of training text, all of one shape; a few thousand tokens.

    Raises:
        ConfigError: The model has no such adapter, or there is no text.
        SiteError: A signal would be too large.
    """
    config: Any = model.peft_config.get(adapter_name)
    if config is None:
        raise ConfigError(f"the model has no adapter {adapter_name!r}; there are {', '.join(model.peft_config)}")
    layers = [
        module
        for module in model.modules()
        if isinstance(module, GraftLayer) and adapter_name in module.saint_graft_parts
    ]
    wants = {}
    for layer in layers:
        site = layer.sites[adapter_name]
        kind, options = kind_and_options(config.kind, config.options, site)
        if moments := kind.wants(options):
            wants[site] = moments
    if not wants:
        return
    if not batches:
        raise ConfigError("no batches were given, and the adapter is born from what flows through the model on text")
    with model.disable_adapter():
        seen: Any = share_weights(model.get_base_model()).eval()  # a copy of the modules, which gets the hooks
    signals = observe(seen, wants, batches)
    for index, layer in enumerate(layers):
        if (site := layer.sites[adapter_name]) in wants:
            layer.bear(adapter_name, chance_of(config.seed, index), signals[site.key])
            layer.begin(adapter_name, signals[site.key])
