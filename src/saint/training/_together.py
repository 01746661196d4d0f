"""Passes for grafts that learn side by side above the blocks that none of them changes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from saint.composition import Above, Prefix
from saint.grafts import Graft
from saint.models import FrozenBase, token_nats
from saint.training._learn import Passes, add_up, precision
from saint.training._learner import Learner
from saint.training._processes import Processes
from saint.training._schedule import Schedule


@final
class Together(Passes):
    """Gradients for several grafts from one pass over base and stack; each is evaluated by itself."""

    def __init__(
        self,
        base: FrozenBase,
        stack: Sequence[Graft],
        grafts: Sequence[tuple[Learner, Graft]],
        boundary: int,
        prefix: Prefix,
        *,
        schedule: Schedule,
        stacked: bool,
        keep: bool,
        processes: Processes | None = None,
    ) -> None:
        """Put a cohort on its stack.

        Args:
            boundary: Blocks below all of them.
            prefix: What these blocks give.
            stacked: Whether grafts of one kind, options and site are computed in one batched product.
            keep: Whether what the blocks below give for training text is worth keeping.
            processes: Which passes of a step are made here.
        """
        self._base, self._stack, self._boundary, self._prefix = base, list(stack), boundary, prefix
        self._graft_of = {id(learner): graft for learner, graft in grafts}
        self._schedule, self._stacked, self._keep = schedule, stacked, keep
        self._processes = processes or Processes()
        self._now: tuple[tuple[int, ...], Above] | None = None

    @override
    def backward(self, learners: Sequence[Learner]) -> None:
        model, schedule = self._shared(learners), self._schedule
        device = next(iter(learners[0].learning.values())).device
        batches = _batches(learners, device)  # C times (B, T + 1)
        pieces = list(zip(*(batch.chunk(schedule.accumulate) for batch in batches), strict=True))
        for index in self._processes.share(schedule.accumulate, setting="schedule.accumulate"):
            with precision(schedule, device):
                nats = token_nats(model, torch.cat(pieces[index]))  # (C B', T)
            loss = nats.view(len(learners), -1).mean(1).sum() / schedule.accumulate
            loss.backward()
        for learner in learners:  # one by one: how a sum is put together depends on how much is added up with it
            add_up(learner, self._processes)

    @override
    def model(self, learner: Learner) -> Above:
        read: Callable[[Tensor], Tensor] = partial(self._prefix.read, self._boundary)
        return Above(self._base, self._stack, [self._graft_of[id(learner)]], self._boundary, read)

    def _shared(self, learners: Sequence[Learner]) -> Above:
        """The model of those that still learn."""
        names = tuple(map(id, learners))
        if self._now is None or self._now[0] != names:
            read: Callable[[Tensor], Tensor] = partial(self._prefix.read, self._boundary, keep=self._keep)
            model = Above(
                self._base,
                self._stack,
                [self._graft_of[name] for name in names],
                self._boundary,
                read,
                stacked=self._stacked,
                recompute=self._schedule.recompute,
            )
            self._now = names, model
        return self._now[1]


def _batches(learners: Sequence[Learner], device: torch.device) -> list[Int[Tensor, "batch seq"]]:
    """The next batch of each; those of one seed read the same."""
    known: dict[int, Tensor] = {}
    for learner in learners:
        if learner.batches.seed not in known:
            known[learner.batches.seed] = learner.batches[learner.step].to(device)
    return [known[learner.batches.seed] for learner in learners]
