"""One loop for everything that learns: grafts alone or together, controls and bases."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from math import log
from typing import Any, final

import numpy as np
import torch
from torch import nn
from typing_extensions import override

from saint.data import Corpus
from saint.models import row_nats, rows_together, token_nats
from saint.progress import Task
from saint.training._learner import Learner, PerDocument
from saint.training._processes import Processes
from saint.training._schedule import Schedule

_SAVE_EVERY_S = 20.0


@final
class Development:
    """The text that what learns is evaluated on, cut into windows once for all; each process reads some of them."""

    def __init__(
        self, select: Corpus, schedule: Schedule, device: torch.device, processes: Processes | None = None
    ) -> None:
        self._processes = processes or Processes()
        self.num_bytes_each, self._schedule = select.num_bytes_each, schedule
        self._num_documents, self._num_bytes = select.num_documents, select.num_bytes
        rows = rows_together(schedule.seq_len, device)
        self._windows = list(select.windows(seq_len=schedule.seq_len, batch_size=rows))
        self._owners = [int(owner) for _, _, owners in self._windows for owner in owners]

    def nats(self, model: nn.Module) -> PerDocument:
        """What a model pays for each document; added up in one order, however many processes there are."""
        number, size = len(self._windows), self._processes.size
        rows = [np.zeros(len(owners)) for _, _, owners in self._windows] or [np.zeros(0)]
        with precision(self._schedule, next(model.parameters()).device):
            for first in range(0, number, size):  # all make as many passes, for each may lend weights to the others
                index = first + self._processes.rank
                tokens, lengths, _ = self._windows[index % number]
                found = row_nats(model, tokens, lengths)
                if index < number:
                    rows[index] = found
        paid = self._processes.summed(torch.from_numpy(np.concatenate(rows))).numpy()  # each is another's or 0
        totals = np.zeros(self._num_documents)
        np.add.at(totals, np.array(self._owners, dtype=np.int64), paid)
        return totals

    def bpb(self, nats: PerDocument) -> float:
        """Bits per byte."""
        return float(nats.sum()) / log(2) / self._num_bytes


class Passes(ABC):
    """How gradients and scores of some learners come about."""

    @abstractmethod
    def backward(self, learners: Sequence[Learner]) -> None:
        """Give each learner the gradient of the mean loss of its own next batch; all are at the same step."""

    @abstractmethod
    def model(self, learner: Learner) -> nn.Module:
        """What one learner is part of, as it stands, to be evaluated."""


def learn(
    learners: Sequence[Learner],
    passes: Passes,
    task: Task,
    *,
    until: int | None = None,
    development: Development | None = None,
    processes: Processes | None = None,
) -> None:
    """Let learners learn until each is done, or has come to step `until`.

    Those that are behind go first, and from where they meet, all go on in the same passes. A learner that fails leaves
    the others as they are.

    Args:
        task: Told of the tokens learnt from.
        development: What they are evaluated on, if they are.
        processes: Those that take each step together; they stop after the same one.

    Raises:
        Interrupted: A stop was asked for; the checkpoints hold everything.
        StorageError: The disk refused a checkpoint.
        WorkerError: One of the processes is gone.
    """
    processes = processes or Processes()
    saved = time.monotonic()
    try:
        while going := [one for one in learners if not one.is_done and (until is None or one.step < until)]:
            first = min(one.step for one in going)
            now = [one for one in going if one.step == first]
            _step(now, passes, development)
            with processes.agreed():
                task.advance(sum(one.schedule.tokens_per_step for one in now))
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    _save_all(learners)
                    saved = time.monotonic()
    except BaseException:
        _save_all(learners)
        raise
    with processes.agreed():  # also at the end: what came of it is yet to be stored
        _save_all(learners)


def _save_all(learners: Sequence[Learner]) -> None:
    """Write the checkpoint of each."""
    for one in learners:
        one.save()


def add_up(learner: Learner, processes: Processes) -> None:
    """Give a learner the gradient that all processes' passes come to."""
    parameters = list(learner.learning.values())
    processes.add_up(torch.zeros(1, device=parameters[0].device), parameters)


def _step(learners: Sequence[Learner], passes: Passes, development: Development | None) -> None:
    started = time.monotonic()
    for one in learners:
        one.begin_step()
    passes.backward(learners)
    for one in learners:
        one.take_step()
    for one in learners:
        one.spend((time.monotonic() - started) / len(learners))
    for one in learners:
        if development is not None and one.is_due:
            began = time.monotonic()
            one.evaluate(partial(_nats, passes, one, development), development.bpb)
            one.spend(time.monotonic() - began)


def _nats(passes: Passes, learner: Learner, development: Development) -> PerDocument:
    return development.nats(passes.model(learner))


@final
class Whole(Passes):
    """A whole model that learns by itself."""

    def __init__(self, model: nn.Module, schedule: Schedule, processes: Processes | None = None) -> None:
        self._model, self._schedule, self._processes = model, schedule, processes or Processes()

    @override
    def backward(self, learners: Sequence[Learner]) -> None:
        [learner] = learners
        device = next(self._model.parameters()).device
        accumulate = self._schedule.accumulate
        pieces = learner.batches[learner.step].to(device).chunk(accumulate)
        for index in self._processes.share(accumulate, setting="schedule.accumulate"):
            with precision(self._schedule, device):
                nats = token_nats(self._model, pieces[index])
            (nats.mean() / accumulate).backward()
        add_up(learner, self._processes)

    @override
    def model(self, learner: Learner) -> nn.Module:
        return self._model


def precision(schedule: Schedule, device: torch.device) -> AbstractContextManager[Any]:
    """What matrix products are made in."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if schedule.autocast else nullcontext()
