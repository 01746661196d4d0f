"""Biases for linear maps that have none, where the architecture has a setting for them."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from saint.errors import ExportError


def give_biases(model: Any, modules: Iterable[str]) -> None:
    """Give `modules` of a Hugging Face model biases of zero by its configuration, so that it saves and loads with them.

    A setting such as `attention_bias` is for several modules at once; all of them get one.

    Raises:
        ExportError: The architecture has no setting for a bias there.
    """
    missing = {name for name in modules if model.get_submodule(name).bias is None}
    for setting in sorted(vars(model.config)) if missing else ():
        if not (setting.endswith("bias") and getattr(model.config, setting) is False):
            continue
        if missing & (gained := _gained(model, setting)):
            setattr(model.config, setting, True)
            for name in gained:
                linear = model.get_submodule(name)
                linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features), requires_grad=False)
            missing -= gained
    if missing:
        raise ExportError(
            f"{sorted(missing)[0]} has no bias and its architecture knows none there, and a graft folds one into it; "
            "leave that graft out with --graft"
        )


def _gained(model: Any, setting: str) -> set[str]:
    """The linear maps that have a bias once `setting` is true, and have none now."""
    config = copy.deepcopy(model.config)
    setattr(config, setting, True)
    with torch.device("meta"):
        twin = type(model)(config)
    with_bias = {name for name, module in twin.named_modules() if getattr(module, "bias", None) is not None}
    return {name for name in with_bias if getattr(model.get_submodule(name), "bias", None) is None}
