"""What one step of training costs, in counts that do not depend on the machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from saint.grafts import Kind
from saint.models import token_nats

_PASSES = 3  # forward, and backward to what learns and to the input
_COPIES = 4  # of what learns: itself, its gradient and AdamW's two moments


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StepCount:
    """Counts of one step; memory is that of training, without the frozen base that every way of training has."""

    num_flops: int
    """Floating-point operations, forward and backward."""
    learning_bytes: int
    """What learns, its gradients and the optimiser's moments."""
    activation_bytes: int
    """What autograd keeps for the backward pass, each storage once and parameters not counted."""

    @property
    def memory_bytes(self) -> int:
        """At least what training holds at once.

        It leaves out the frozen base, what an operation needs only while it runs, and what an allocator wastes.
        """
        return self.learning_bytes + self.activation_bytes


def count_step(model: nn.Module, learning: Iterable[nn.Parameter], tokens: Int[Tensor, "batch seq"]) -> StepCount:
    """Count one step on `tokens`; no weight is changed, and gradients are dropped again.

    Args:
        learning: What learns; all of it requires gradients and nothing else in `model` does.
    """
    learning = list(learning)
    held = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        nats = token_nats(model, tokens.to(learning[0].device))
        nats.mean().backward()
    for parameter in learning:
        parameter.grad = None
    uncounted = sum(module.uncounted_flops for module in model.modules() if isinstance(module, Kind))
    return StepCount(
        num_flops=counter.get_total_flops() + _PASSES * nats.numel() * uncounted,
        learning_bytes=_COPIES * sum(parameter.numel() * parameter.element_size() for parameter in learning),
        activation_bytes=sum(kept.values()),
    )
