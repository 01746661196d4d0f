"""A model that is divided among processes (FSDP): each keeps its part of weights, gradients and moments."""

import warnings
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel


def divide(model: PreTrainedModel, device: torch.device) -> None:
    """Leave to each process its part of every parameter; those of a block are together only while it is at work.

    Gradients are added up over processes, not averaged, as `Processes.add_up` does.
    """
    warnings.filterwarnings(
        "ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning
    )  # which stays as it is
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    blocks = set(model._no_split_modules or ())
    for module in [module for module in model.modules() if type(module).__name__ in blocks]:
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)  # gloo has no other way to divide by what one says


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Weights and buffers as they are kept, tied ones once, for the first process; all must ask for them together."""
    once = {name for name, _ in model.named_parameters()}
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)} - once
    return {name: _for_the_first(value) for name, value in model.state_dict().items() if name not in again}


def moments_of(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser knows of each parameter, for the first process; all must ask for it together."""
    return {
        f"{moment}.{name}": _for_the_first(value).contiguous()
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state[parameter].items()
    }


def put_together(value: Tensor) -> Tensor:
    """The whole of a tensor, of which each process may have a part."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _for_the_first(value: Tensor) -> Tensor:
    """The whole of a tensor in ordinary memory, where there is room for the model; others get nothing of it."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if distributed.get_rank() == 0 else whole.new_empty(0)


def divided_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole tensor's part that belongs to this process, if it has only a part of the parameter."""
    if not isinstance(parameter, DTensor) or not value.dim():
        return value.to(parameter.device)
    given: Any = value.to(parameter.device)
    return distribute_tensor(given, parameter.device_mesh, parameter.placements, src_data_rank=None)
