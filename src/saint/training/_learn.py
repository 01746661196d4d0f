"""One loop for everything that learns: grafts alone or together, controls and bases."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import log
from typing import Any, final

import torch
from torch import nn
from typing_extensions import override

from saint.data import Corpus
from saint.models import document_nats, token_nats
from saint.progress import Task
from saint.training._learner import Learner, PerDocument
from saint.training._schedule import Schedule

_SAVE_EVERY_S = 20.0


class Passes(ABC):
    """How gradients and scores of some learners come about."""

    @abstractmethod
    def backward(self, learners: Sequence[Learner]) -> None:
        """Give each learner the gradient of the mean loss of its own next batch; all are at the same step."""

    @abstractmethod
    def nats(self, learner: Learner) -> PerDocument:
        """What the model that one learner is part of pays for each document of *select*, as it stands."""


def learn(
    learners: Sequence[Learner], passes: Passes, task: Task, *, until: int | None = None, select: Corpus | None = None
) -> None:
    """Let learners learn until each is done, or has come to step `until`.

    Those that are behind go first, and from where they meet, all go on in the same passes. A learner that fails leaves
    the others as they are.

    Args:
        task: Told of the tokens learnt from.
        select: Development text, if they are to be evaluated.

    Raises:
        Interrupted: A stop was asked for; the checkpoints hold everything.
        StorageError: The disk refused a checkpoint.
    """
    saved = time.monotonic()
    try:
        while going := [one for one in learners if not one.is_done and (until is None or one.step < until)]:
            first = min(one.step for one in going)
            _step([one for one in going if one.step == first], passes, task, select)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                for one in learners:
                    one.save()
                saved = time.monotonic()
    finally:  # also at the end: what came of it is yet to be stored
        for one in learners:
            one.save()


def _step(learners: Sequence[Learner], passes: Passes, task: Task, select: Corpus | None) -> None:
    started = time.monotonic()
    for one in learners:
        one.begin_step()
    passes.backward(learners)
    for one in learners:
        one.take_step()
    for one in learners:
        one.spend((time.monotonic() - started) / len(learners))
    for one in learners:
        if select is not None and one.is_due:
            began = time.monotonic()
            one.evaluate(partial(_bpb, passes, one, select))
            one.spend(time.monotonic() - began)
    task.advance(sum(one.schedule.tokens_per_step for one in learners))


def _bpb(passes: Passes, learner: Learner, select: Corpus) -> float:
    """Bits per byte."""
    return float(passes.nats(learner).sum()) / log(2) / select.num_bytes


@final
class Whole(Passes):
    """A whole model that learns by itself."""

    def __init__(self, model: nn.Module, schedule: Schedule, select: Corpus | None) -> None:
        self._model, self._schedule = model, schedule
        self._windows = (
            [] if select is None else list(select.windows(seq_len=schedule.seq_len, batch_size=4 * schedule.batch_size))
        )
        self._num_documents = select.num_documents if select else 0

    @override
    def backward(self, learners: Sequence[Learner]) -> None:
        [learner] = learners
        device = next(self._model.parameters()).device
        for piece in learner.batches[learner.step].to(device).chunk(self._schedule.accumulate):
            with precision(self._schedule, device):
                nats = token_nats(self._model, piece)
            (nats.mean() / self._schedule.accumulate).backward()

    @override
    def nats(self, learner: Learner) -> PerDocument:
        with precision(self._schedule, next(self._model.parameters()).device):
            return document_nats(self._model, self._windows, self._num_documents)


def precision(schedule: Schedule, device: torch.device) -> AbstractContextManager[Any]:
    """What matrix products are made in."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if schedule.autocast else nullcontext()
