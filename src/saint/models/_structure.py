"""How a model is built: its linear maps and its stacks of blocks, found by what they are and not by their names."""

import copy
from typing import TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

M = TypeVar("M", bound=nn.Module)
Linear = nn.Linear | Conv1D
"""Both compute x W^T + b; Conv1D, which GPT-2 uses, keeps W transposed."""


def share_weights(model: M) -> M:
    """A copy of the module tree whose parameters and buffers are the very tensors of `model`.

    Hooks put on the copy never touch `model`, so that several compositions live side by side over one set of weights.
    """
    shared = [*model.parameters(), *model.buffers()]
    shared += [state for module in model.modules() if (state := getattr(module, "quant_state", None)) is not None]
    return copy.deepcopy(model, memo={id(one): one for one in shared})


def linears(model: nn.Module) -> dict[str, Linear]:
    """Every linear map, by qualified name, in the model's own order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


def sizes(linear: Linear) -> tuple[int, int]:
    """(d_in, d_out) of a linear map."""
    if isinstance(linear, Conv1D):
        return int(linear.nx), int(linear.nf)
    return linear.in_features, linear.out_features


def weight_of(linear: nn.Module) -> Tensor:
    """The weight as a view of shape (d_out, d_in); writing to the view writes to the module.

    Raises:
        TypeError: The module is not a linear map of plain numbers.
    """
    if not isinstance(linear, Linear) or type(linear.weight) not in (Tensor, nn.Parameter):
        raise TypeError(f"expected nn.Linear or Conv1D with a plain weight, got {type(linear).__name__}")
    return linear.weight.T if isinstance(linear, Conv1D) else linear.weight


def block_stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The outermost module lists whose every child holds a linear map: the encoder's and the decoder's blocks.

    A list of whole models, such as a mixture's experts, is none; each of them has a stack of its own.
    """
    stacks: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside_another = any(name.startswith(f"{outer}.") for outer in stacks)
        if isinstance(module, nn.ModuleList) and not inside_another and _are_blocks(module):
            stacks[name] = module
    return stacks


def _are_blocks(modules: nn.ModuleList) -> bool:
    return len(modules) > 0 and all(linears(one) and not isinstance(one, PreTrainedModel) for one in modules)
