"""A base that is divided among processes, so that none has to hold all of it."""

from typing import final

import torch
from torch import Tensor, distributed

from saint.errors import ConfigError
from saint.models import FrozenBase, divide_weights
from saint.training._processes import Processes, reached


@final
class Division:
    """A frozen base of whose matrices each process keeps a part; one is whole only while it is at work.

    PyTorch's `fully_shard` does not do: its modules cannot be copied, and every composition is a copy of the base's
    modules over the same weights; and it has all processes run the same passes, while growth has the first one judge
    by itself, with weights that the others lend.
    """

    def __init__(self, base: FrozenBase, processes: Processes) -> None:
        """Divide it, in place; what is left is checked to be the base.

        Raises:
            ConfigError: There is one process, or the base is quantised.
            BaseChangedError: The parts are not those of the base.
            ProcessGoneError: One of them is.
        """
        processes.must_be_several()
        if base.is_quantised:
            raise ConfigError(
                "the base is quantised, and its packed weights are not divided among processes; leave fsdp out"
            )
        base.sites()  # to find them the model is run, and what is known is not looked for again
        self.is_lent = False
        """Whether the others wait to be told which weight is wanted; the first process sets it."""
        self._processes = processes
        self._parts = divide_weights(base.model, self._gather, rank=processes.rank, size=processes.size)
        with processes.agreed():
            base.check()

    def lend(self, index: int) -> None:
        """Take part in putting together a weight that another process wants."""
        self._gather(index, self._parts[index])

    def _gather(self, index: int, part: Tensor) -> Tensor:
        if self.is_lent:
            self._processes.tell(index)
        whole = part.new_empty(part.numel() * self._processes.size)
        with reached(), torch.no_grad():
            distributed.all_gather(list(whole.chunk(self._processes.size)), part)
        return whole
