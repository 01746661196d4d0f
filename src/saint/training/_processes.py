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

    def must_be_several(self) -> None:
        """Refuse to divide a model among one.

        Raises:
            ConfigError: There is one process.
        """
        if self.size == 1:
            raise ConfigError(
                "fsdp is true, but there is one process and nobody to share the model with; start several with "
                "torchrun --nproc-per-node, or leave fsdp out"
            )

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

    def add_up(self, losses: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes into the losses and into every gradient."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = torch.cat([losses, *(gradient.reshape(-1) for gradient in gradients)])
        distributed.all_reduce(whole)
        parts = whole.split([part.numel() for part in (losses, *gradients)])
        for kept, part in zip((losses, *gradients), parts, strict=True):
            kept.copy_(part.view_as(kept))

    def any(self, found: bool, device: torch.device) -> bool:  # noqa: FBT001 - the name says what it means
        """Whether any of them has found it."""
        if self.size == 1:
            return found
        number = torch.tensor(float(found), device=device)
        distributed.all_reduce(number)
        return bool(number)


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
