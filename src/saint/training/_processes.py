"""Several processes that take one step together: each makes some of its passes, and all have the sum."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, final

import torch
from torch import Tensor, distributed, nn

from saint.errors import ConfigError, Interrupted, ProcessGoneError, SaintError, WorkerError

_PATIENCE = timedelta(days=365)
"""For what the first process says next: it may judge for hours meanwhile. One that dies is noticed at once."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """Which of how many this one is."""

    rank: int = 0
    size: int = 1
    num_here: int = 1
    """How many share this machine."""
    words: Any = field(default=None, compare=False, repr=False)
    """The group that they speak to each other in; None where they only add up."""

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

    def share(self, num_passes: int, *, setting: str = "gradient_accumulation_steps") -> range:
        """The passes that are this one's.

        Args:
            setting: What their number is called, for messages.

        Raises:
            ConfigError: They cannot be divided equally.
        """
        if num_passes % self.size:
            raise ConfigError(
                f"{setting} is {num_passes}, which {self.size} processes cannot share equally; "
                f"give a multiple of {self.size}"
            )
        return range(self.rank, num_passes, self.size)

    def add_up(self, losses: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes into the losses and into every gradient.

        Raises:
            ProcessGoneError: One of them is.
        """
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = torch.cat([losses, *(gradient.reshape(-1) for gradient in gradients)])
        with reached():
            distributed.all_reduce(whole)
        parts = whole.split([part.numel() for part in (losses, *gradients)])
        for kept, part in zip((losses, *gradients), parts, strict=True):
            kept.copy_(part.view_as(kept))

    def any(self, found: bool, device: torch.device) -> bool:  # noqa: FBT001 - the name says what it means
        """Whether any of them has found it."""
        if self.size == 1:
            return found
        number = torch.tensor(float(found), device=device)
        with reached():
            distributed.all_reduce(number)
        return bool(number)

    def summed(self, numbers: Tensor) -> Tensor:
        """The sum of numbers in ordinary memory over all processes.

        Raises:
            ProcessGoneError: One of them is.
        """
        if self.size > 1:
            with reached():
                distributed.all_reduce(numbers, group=self.words)
        return numbers

    def is_any(self, found: bool) -> bool:  # noqa: FBT001 - the name says what it means
        """Whether it is so in any of them, said in ordinary memory.

        Raises:
            ProcessGoneError: One of them is.
        """
        return bool(self.summed(torch.tensor(float(found))))

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What stops one of them here stops all of them here, once each has come to the end of what is done here.

        Raises:
            Interrupted: Another was asked to stop.
            WorkerError: Another could not go on, or is gone.
        """
        stop: SaintError | None = None
        try:
            yield
        except ProcessGoneError:
            raise
        except SaintError as error:
            stop = error
        if not self.is_any(stop is not None):
            return
        heard = self.hear(None if stop is None else (isinstance(stop, Interrupted), str(stop)))
        if stop is not None:
            raise stop
        [(rank, (asked, reason)), *_] = [(rank, said) for rank, said in enumerate(heard) if said is not None]
        raise Interrupted(reason) if asked else WorkerError(f"process {rank} could not go on: {reason}")

    def tell(self, said: Any) -> Any:
        """What the first process says, of whatever can be pickled; what others would say does not matter.

        Raises:
            ProcessGoneError: One of them is.
        """
        if self.size == 1:
            return said
        box = [said if self.is_first else None]
        with reached():
            distributed.broadcast_object_list(box, src=0, group=self.words)
        return box[0]

    def hear(self, said: Any) -> list[Any]:
        """What all of them say, by rank.

        Raises:
            ProcessGoneError: One of them is.
        """
        heard = [said] * self.size
        if self.size > 1:
            with reached():
                distributed.all_gather_object(heard, said, group=self.words)
        return heard

    def must_have_the_same(self, said: str, *, what: str) -> None:
        """Refuse to go on with what is not the same in all of them.

        Raises:
            WorkerError: It is not, or one of them is gone.
        """
        heard = self.hear(said)
        if differing := [rank for rank, other in enumerate(heard) if other != heard[0]]:
            raise WorkerError(
                f"process {differing[0]} has other {what} than process 0; start all on machines of one sort, with one "
                "version and as many threads"
            )

    @torch.no_grad()
    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor what it is in the first process.

        Raises:
            ProcessGoneError: One of them is.
        """
        if self.size == 1:
            return
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            with reached():
                distributed.broadcast(whole, src=0)
            tensor.copy_(whole)


@contextmanager
def reached() -> Iterator[None]:
    """Say in one sentence that another process could not be reached."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^\[.*?\] ", "", str(error).splitlines()[0]).partition(". ")[0][:200]
        raise ProcessGoneError(
            f"another process of this run is gone ({reason}); run the same command again to go on from the last "
            "checkpoint"
        ) from error


def device_named(name: str) -> torch.device:
    """The device of that name; of several processes each has its own.

    Raises:
        ConfigError: It is not there.
    """
    try:
        device = torch.device(name)
        if name == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device is {name!r}, which cannot be used here ({reason}); try cpu") from error
    return device


@contextmanager
def together(device: torch.device, *, in_words: bool = False) -> Iterator[Processes]:
    """Join the processes that torchrun started; without it this one is alone.

    Args:
        in_words: Whether they speak to each other, too.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(
            rank=distributed.get_rank(),
            size=distributed.get_world_size(),
            num_here=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            words=distributed.new_group(backend="gloo", timeout=_PATIENCE) if in_words else None,
        )
    finally:
        distributed.destroy_process_group()
