"""A worker's half of growth: opens base and text once, and trains or measures what it is told."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import nn
from typing_extensions import override

from saint import records
from saint.data import Corpus, open_corpus
from saint.errors import DataError, DivergedError, WorkerError
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth._environment import environment
from saint.growth._gpus import device_for
from saint.growth._orders import Brief, MeasureAgain, MeasureGraft, SentGraft, TrainGraft, TrainWhole, answer_header
from saint.growth._whole import save_weights
from saint.models import FrozenBase, freeze
from saint.progress import Progress
from saint.search import Bench, free_memory, pack
from saint.training import Part, Search, SelectReader, Start, Workspace, cache_of, continue_training, train_part

_SHARE_OF_MEMORY = 0.25
_MIB = 1 << 20


def open_bench(brief: Brief, prepare: Callable[[], None] | None, progress: Progress) -> Bench:
    """Open what a worker works with; it has one thread, for processes share the cores better than threads do.

    Args:
        prepare: A function of a module, called first.

    Raises:
        BaseModelError, BaseChangedError: The base is not there, or is another.
        DataError: The text is not there, or is other text.
        UnfitWorkerError: It is to compute on a GPU and sees none.
    """
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    device = device_for(brief.gpus)
    base = freeze(brief.base, revision=brief.revision, quantize=brief.identity.quantization)
    base.must_match(brief.identity, what="a worker's base", remedy="give all workers the base that the coordinator has")
    if device.type != "cpu":
        nn.Module.to(base.model, device)
    return _Bench(brief, base, progress)


def open_text(brief: Brief, name: str) -> Corpus:
    """The text of that name.

    Raises:
        DataError: It is not there, or is other text.
    """
    folder = Path(brief.text) / name
    try:
        corpus = open_corpus(folder, name, brief.tokenizer)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"a worker has no text in {folder} ({error}); put the prepared text there") from error
    if corpus.digest != brief.digests[name]:
        raise DataError(f"a worker has other text in {folder} than the coordinator; copy it there again")
    return corpus


@final
class _Bench(Bench):
    def __init__(self, brief: Brief, base: FrozenBase, progress: Progress) -> None:
        self._brief, self._base, self._progress = brief, base, progress
        self._train = open_text(brief, brief.train)
        self._select = {domain: open_text(brief, name) for domain, name in brief.select.items()}
        self._known: dict[str, Graft] = {}  # grafts of the stack that was worked on last, by digest
        self._stack: tuple[str, ...] = ()
        self._search = Search()
        self._cache = self._new_cache()
        self._work = Path(brief.work) if brief.work else None

    @override
    def hello(self) -> bytes:
        device = self._base.model.device
        return pack(answer_header(base=self._base.digest, environment=environment(device)))

    @override
    def do(self, body: Any) -> bytes:
        if isinstance(body, TrainGraft):
            return self._train_graft(body)
        if isinstance(body, TrainWhole):
            return self._train_whole(body)
        if isinstance(body, MeasureAgain):
            return self._measure(body)
        if isinstance(body, MeasureGraft):
            return self._measure_on_select(body)
        raise WorkerError(f"a worker was told of a {type(body).__name__}, which it does not know; use one version")

    def _train_graft(self, order: TrainGraft) -> bytes:
        stack, select = self._open_stack(order.stack, order.search), self._select[self._brief.grown]
        start = None if order.start is None else Start(graft=order.start.opened())
        with self._checkpoint_of(order) as checkpoint:
            arrived = train_part(
                self._base,
                stack,
                Part(candidate=order.candidate, start=start, since=order.since, until=order.until),
                self._train,
                select=select,
                schedule=order.schedule,
                search=order.search,
                work=Workspace(checkpoint_of=lambda _: checkpoint, cache=self._cache, progress=self._progress),
            )
            sends_it = self._work is None and order.until is not None and checkpoint is not None
            saved = [checkpoint.read_bytes()] if sends_it and checkpoint is not None and checkpoint.exists() else []
        trained, nats = arrived.trained, arrived.nats
        graft = trained.graft  # the base was hashed again since, as it is after every training
        told: dict[str, Any] = {}
        if nats is not None:
            told = {"rung_nats": _number(float(nats.sum()))}
        elif order.by_document and graft is not None:
            nats = SelectReader(self._base, stack, select, order.schedule, cache=self._cache).nats(graft)
        if order.by_document and nats is not None:
            told["costs"] = [_number(one) for one in nats.tolist()]
        header = answer_header(
            base=self._base.digest,
            candidate=records.digest(order.candidate),
            failure=trained.failure,
            history=_plain(graft),
            train_tokens=trained.train_tokens,
            birth_tokens=trained.birth_tokens,
            time_s=trained.time_s,
            **told,
        )
        return pack(header, [graft.to_bytes(), *saved] if graft is not None else [])

    @contextmanager
    def _checkpoint_of(self, order: TrainGraft) -> Iterator[Path | None]:
        """Where it is saved: in the common folder, else for a rung in one that lasts as long as the job."""
        if self._work is not None or (order.until is None and not order.carried):
            yield self._place(order.checkpoint)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.safetensors"
            if order.carried:
                file.write_bytes(order.carried)
            yield file

    def _train_whole(self, order: TrainWhole) -> bytes:
        self._forget()
        try:
            model, history = continue_training(
                self._base,
                self._train,
                lr=order.lr,
                select=self._select[self._brief.grown],
                schedule=order.schedule,
                seed=order.seed,
                checkpoint=self._place(order.checkpoint),
                progress=self._progress,
            )
        except DivergedError as error:
            return pack(answer_header(base=self._base.digest, failure=str(error)))
        place = self._place(order.file)
        assert place is not None  # such an order is given where a folder is shared
        save_weights(model, place)
        weights = records.file_digest(place)
        return pack(
            answer_header(base=self._base.digest, failure="", weights=weights, history=records.to_plain(history))
        )

    def _measure(self, order: MeasureAgain) -> bytes:
        stack = self._open_stack(order.stack, self._search)
        graft = order.graft.opened()
        losses = Losses(seq_len=self._brief.seq_len, cache=self._cache, progress=self._progress)
        nats = {
            name: {
                "bare": losses.of(self._base, (), corpus).tolist(),
                "before": losses.of(self._base, stack, corpus).tolist(),
                "after": losses.of(self._base, [*stack, graft], corpus).tolist(),
            }
            for name, corpus in self._select.items()
        }
        self._base.check()
        return pack(answer_header(base=self._base.digest, graft=graft.digest, nats=nats))

    def _measure_on_select(self, order: MeasureGraft) -> bytes:
        stack = self._open_stack(order.stack, order.search)
        select = self._select[self._brief.grown]
        reader = SelectReader(self._base, stack, select, order.schedule, cache=self._cache)
        nats = reader.nats(order.graft.opened())
        self._base.check()
        costs = [_number(one) for one in nats.tolist()]
        return pack(answer_header(base=self._base.digest, graft=order.graft.digest, costs=costs))

    def _open_stack(self, stack: Sequence[SentGraft], search: Search) -> list[Graft]:
        """The grafts of a stack; what is known of the one before is kept as far as it is the same."""
        names = tuple(one.digest for one in stack)
        if names != self._stack or search != self._search:
            self._cache.close()
            self._search = search
            self._cache = self._new_cache()
        self._known = {one.digest: self._known.get(one.digest) or one.opened() for one in stack}
        self._stack = names
        return [self._known[name] for name in names]

    def _new_cache(self) -> Any:
        """For what the blocks below give: of a quarter of what is free on a machine, an equal part for each worker."""
        search, folder = self._search, Path(self._brief.work) / "prefix" if self._brief.work else None
        memory = search.memory_mib
        if memory is None:
            memory = int(_SHARE_OF_MEMORY * (free_memory() or 0) / self._brief.num_sharing / _MIB)
        if (most := self._brief.cache_bytes) is not None:
            memory = min(memory, most // _MIB)
        limits = Search(memory_mib=memory, disk_mib=search.disk_mib, cache_dtype=search.cache_dtype)
        return cache_of(limits, folder=folder, progress=self._progress)

    def _forget(self) -> None:
        """Make room."""
        self._cache.close()
        self._known, self._stack = {}, ()

    def _place(self, below: str) -> Path | None:
        return self._work / below if self._work is not None and below else None


def _plain(graft: Graft | None) -> Any:
    return None if graft is None else records.to_plain(graft.history)


def _number(value: float) -> float | None:
    """None for what is no number, for which JSON has no word."""
    return value if math.isfinite(value) else None
