"""Measuring a graft on *select* again, as its training did."""

from collections.abc import Sequence
from functools import partial
from typing import final

from torch import nn

from saint.composition import Above, Prefix, PrefixCache, boundary_of
from saint.data import Corpus
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.training._learn import Development
from saint.training._schedule import Schedule


@final
class SelectReader:
    """Finds the bits per byte that training with a schedule finds, whoever trained.

    What the blocks below a graft give is kept as long as the stack stays the same.
    """

    def __init__(self, base: FrozenBase, select: Corpus, schedule: Schedule, *, cache: PrefixCache) -> None:
        """Describe it.

        Args:
            cache: Belongs to the caller, who closes it.
        """
        self._base, self._cache = base, cache
        self._development = Development(select, schedule, base.model.device)
        self._stack: tuple[str, ...] | None = None

    def bpb(self, stack: Sequence[Graft], graft: Graft) -> float:
        """Bits per byte of base + stack + graft, at the strength that it has; NaN where that is what comes of it."""
        names = tuple(standing.digest for standing in stack)
        if names != self._stack:
            self._cache.close()
            self._stack = names
        boundary = boundary_of(self._base, stack, graft.candidate.sites)
        read = partial(Prefix(self._base, stack, [boundary], self._cache).read, boundary)
        return self.bpb_of(Above(self._base, stack, [graft], boundary, read))

    def bpb_of(self, model: nn.Module) -> float:
        """Bits per byte of any model."""
        return self._development.bpb(self._development.nats(model))
