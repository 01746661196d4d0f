"""Several processes that take one step together: each makes some of its passes, and all have the sum."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, distributed, nn

from saint.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """Which of how many this one is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and shows what all have done."""
        return self.rank == 0

    def share(self, num_passes: int) -> range:
        """The passes that are this one's.

        Raises:
            ConfigError: They cannot be divided equally.
        """
        if num_passes % self.size:
            raise ConfigError(
                f"gradient_accumulation_steps is {num_passes}, which {self.size} processes cannot share equally; "
                f"give a multiple of {self.size}"
            )
        return range(self.rank, num_passes, self.size)

    def add_up(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes into the loss and into every gradient."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        distributed.all_reduce(whole)
        loss.copy_(whole[0])
        parts = whole[1:].split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started; without it this one is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank=distributed.get_rank(), size=distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
