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
from saint.training._learner import PerDocument
from saint.training._schedule import Schedule


@final
class SelectReader:
    """Finds what training with a schedule finds that grafts on a stack cost, whoever trained them."""

    def __init__(
        self, base: FrozenBase, stack: Sequence[Graft], select: Corpus, schedule: Schedule, *, cache: PrefixCache
    ) -> None:
        """Describe it.

        Args:
            cache: For what the blocks below a graft give with this stack; belongs to the caller, who closes it.
        """
        self._base, self._stack, self._cache = base, list(stack), cache
        self._development = Development(select, schedule, base.model.device)

    def nats(self, graft: Graft) -> PerDocument:
        """What base + stack + graft, at the strength that it has, pays for each document."""
        boundary = boundary_of(self._base, self._stack, graft.candidate.sites)
        read = partial(Prefix(self._base, self._stack, [boundary], self._cache).read, boundary)
        return self.nats_of(Above(self._base, self._stack, [graft], boundary, read))

    def nats_of(self, model: nn.Module) -> PerDocument:
        """What any model pays for each document."""
        return self._development.nats(model)

    def bpb(self, nats: PerDocument) -> float:
        """Bits per byte; NaN where that is what they come to."""
        return self._development.bpb(nats)
