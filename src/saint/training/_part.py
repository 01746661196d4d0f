"""Training one candidate in parts, each of which may be done by another process, to the bits of one go."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saint import records
from saint.composition import PrefixCache
from saint.data import Corpus
from saint.grafts import Graft, grow_from, num_params
from saint.models import FrozenBase, must_read
from saint.records import Candidate
from saint.training._birth import Born, Start, begun
from saint.training._learner import PerDocument
from saint.training._many import Round, Run, Trained, Workspace, cache_of, outcome
from saint.training._schedule import Schedule
from saint.training._search import Search

_HEADER_BYTES = 1 << 16
_TENSORS_PER_SITE = 64
_TENSOR_BYTES = 512  # of a name, a shape and a place, in a header
_NUMBER_BYTES = 64
_PARAMETER_BYTES = 4  # what learns is in float32
_COPIES = 4  # a parameter as it stands, as it was best, and AdamW's two means


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is trained, from one rung to the next."""

    candidate: Candidate
    start: Start | None = None
    """What it goes on from; None for one that is newborn."""
    since: int = 0
    """The step that the part before ended at, which watchers have been told of."""
    until: int | None = None
    """The step of the rung that it ends at, or where it stops before; None for the schedule's end."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """Where a candidate has come to with a part."""

    trained: Trained
    """Its graft is as it stands at a rung, and in its best state at the end."""
    nats: PerDocument | None = None
    """What it pays for each document of *select* at a rung; None at the end, and for one that failed."""


def train_part(
    base: FrozenBase,
    stack: Sequence[Graft],
    part: Part,
    text: Corpus,
    *,
    select: Corpus,
    schedule: Schedule,
    search: Search,
    work: Workspace,
) -> Arrived:
    """Train a candidate on top of `stack` up to a rung, or to the end.

    What its checkpoint has is taken up. Where that is missing, or beyond the rung, training begins anew, to the same
    bits.

    Args:
        text: Must be the train split.
        select: Development text: keeps the best state, stops early, and is what is paid at a rung.
        search: What of the blocks below is kept; its rungs do not matter.
        work: Its checkpoint is written where the part ends.

    Raises:
        Interrupted: A stop was asked for through its progress.
        SiteError, ConfigError, DataError: The candidate or the text does not fit.
        BaseChangedError: Something wrote to the base.
    """
    must_read(base.model.config, schedule.seq_len)
    for standing in stack:
        standing.requires_grad_(requires_grad=False)
    cache = work.cache or cache_of(search, folder=work.folder, progress=work.progress)
    try:
        round_ = Round(base, stack, text, select, schedule, search, cache, is_kept=work.cache is not None)
        run = _begin(round_, base, stack, part, text, schedule, work.checkpoint_of(part.candidate))
        num_steps = (schedule.num_steps if part.until is None else part.until) - part.since
        described = f"{part.candidate.kind} at {len(part.candidate.sites)} sites"
        with work.progress.task(described, total=num_steps * schedule.tokens_per_step, unit="tokens") as task:
            task.advance(max(0, run.learner.step - part.since) * schedule.tokens_per_step)
            passes = round_.learn([run], task, until=part.until)
        nats = None
        if part.until is not None and not run.learner.failure:
            nats = round_.nats_at(run, part.until, passes)
    finally:
        if work.cache is None:
            cache.close()
    base.check()
    return Arrived(trained=outcome(run, keep_best=part.until is None), nats=nats)


def _begin(
    round_: Round,
    base: FrozenBase,
    stack: Sequence[Graft],
    part: Part,
    text: Corpus,
    schedule: Schedule,
    checkpoint: Path | None,
) -> Run:
    starts = {} if part.start is None else {records.digest(part.candidate): part.start}
    while True:
        [born] = begun(base, stack, [part.candidate], text, schedule, starts)
        run = round_.begin(born, part.start, checkpoint)
        if part.until is None or run.learner.step <= part.until or checkpoint is None:
            return run
        checkpoint.unlink(missing_ok=True)  # what it was at the rung cannot be had from what it has become


def state_in(
    content: bytes,
    base: FrozenBase,
    stack: Sequence[Graft],
    part: Part,
    text: Corpus,
    *,
    weights: bytes,
    schedule: Schedule,
) -> Graft | None:
    """The graft as a checkpoint has it, with its history so far; None where the file is none of this training.

    Args:
        content: Of the file.
        weights: Of such a graft, for what does not learn, which is in no checkpoint.

    Raises:
        GraftFileError: The weights are none of such a graft.
    """
    graft = grow_from(part.candidate, weights=weights)
    with closing(PrefixCache(memory_bytes=0)) as cache, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.safetensors"
        file.write_bytes(content)
        round_ = Round(base, stack, text, None, schedule, Search(), cache, is_kept=False)
        learner = round_.begin(Born(graft, (), 0), part.start, file).learner
    if learner.step == 0:
        return None
    graft.history = learner.finish(keep_best=False)
    return graft.eval()


def checkpoint_bytes(candidate: Candidate, schedule: Schedule, *, num_documents: int, num_rungs: int) -> int:
    """The most that the checkpoint of a candidate's training may take.

    Args:
        num_documents: Of *select*.
        num_rungs: That it is held against others at.
    """
    learnt = num_params(candidate.kind, candidate.options, candidate.sites) * _PARAMETER_BYTES
    headers = len(candidate.sites) * _TENSORS_PER_SITE * _TENSOR_BYTES
    numbers = 2 * (schedule.num_steps // schedule.evaluate_every + 2) + num_rungs * (num_documents + 1)
    return _COPIES * learnt + headers + _NUMBER_BYTES * numbers + _HEADER_BYTES
