from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from huggingface_hub.errors import StrictDataclassError

from saint import config, discovery
from saint.composition import probe_logits
from saint.consolidation import rebuilt
from saint.errors import ConfigError, ExportError
from saint.operators._masks import Masks
from saint.operators._operator import Operator, Preserves
from saint.operators._parts import Parts, take_apart


@final
@dataclass(frozen=True, kw_only=True)
class Expansion:
    """A larger model and what is known of it."""

    model: Any
    """Of the class of the smaller one; its weights are its own, and all of them learn."""
    masks: Masks | None
    """Of an operator that has any; closed at birth."""
    preserves: Preserves
    """Whether the operator promises that nothing changed."""
    difference: float
    """The largest difference of a logit on the probe, from the smaller model's."""
    largest_logit: float
    """Of the smaller model on the probe: what the difference is to be held against."""
    num_params_before: int
    num_params: int
    new_blocks: tuple[int, ...]
    """Places of the blocks that were put in, for whoever trains these alone."""

    @property
    def num_added(self) -> int:
        """Parameters that the smaller model has not; tied ones count once."""
        return self.num_params - self.num_params_before


def build_operator(name: str, settings: Mapping[str, Any]) -> Operator:
    """The operator of that name, with these settings.

    Raises:
        UnknownNameError: There is no such operator.
        ConfigError: It has no such setting, or a setting cannot be meant.
    """
    return config.build(settings, discovery.find("operators", name, Operator), where=f"operator {name}")


def expand(model: Any, operator: Operator, *, seed: int = 0) -> Expansion:
    """Make a larger model of a Llama-like one, which stays as it is.

    Args:
        model: With one stack of blocks whose modules are named as Llama's.
        seed: Of all that the operator draws.

    Raises:
        BaseModelError: The model is not Llama-like.
        ConfigError: The operator's settings do not fit the model.
    """
    parts = take_apart(model)
    operator.enlarge(parts, torch.Generator().manual_seed(seed))
    larger = _built(model, parts)
    masks = Masks(larger, parts, 0.0) if parts.masked_inputs or parts.masked_blocks else None
    training = model.training
    before, after = probe_logits(model.eval()), probe_logits(larger)
    model.train(training)
    return Expansion(
        model=larger,
        masks=masks,
        preserves=operator.preserves,
        difference=float((after - before).abs().max()),
        largest_logit=float(before.abs().max()),
        num_params_before=_num_params(model),
        num_params=_num_params(larger),
        new_blocks=tuple(parts.new_blocks),
    )


def _built(model: Any, parts: Parts) -> Any:
    kind = type(model).__name__
    try:
        parts.config.validate()
    except StrictDataclassError as error:
        raise ConfigError(f"there is no {kind} of these sizes: {' '.join(str(error).split())}") from error
    try:
        larger = rebuilt(model, parts.config, parts.weights)
    except ExportError as error:
        raise ConfigError(f"a larger {kind} is not built as this one is, so it cannot be made: {error}") from error
    return larger.requires_grad_(requires_grad=True)


def _num_params(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
