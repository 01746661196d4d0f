"""What growth tells its workers: what they open when they begin, and what each job is. All of it is plain data."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from saint.errors import ConfigError
from saint.grafts import Graft, History, grow_from
from saint.growth._plan import Plan
from saint.growth._trial import Leg, Trial
from saint.models import FrozenBase
from saint.records import BaseIdentity, Candidate
from saint.registry import Registry
from saint.training import Schedule, Search


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """What a worker opens: the base, what grafts learn from, and development text. Sealed text is not among it."""

    base: str
    """Folder or hub name."""
    revision: str | None
    identity: BaseIdentity
    """What the base has to be."""
    digest: str
    """One digest over that."""
    text: str
    """The folder of the prepared text."""
    train: str
    """Name of the corpus that grafts learn from, and that the folder has it in."""
    select: Mapping[str, str]
    """Domain -> the same of its development text."""
    grown: str
    """The domain that is grown towards."""
    digests: Mapping[str, str]
    """Name of a corpus -> its digest."""
    tokenizer: str
    """Digest of the one that cut the text."""
    work: str
    """A folder for what is not kept, the same for all workers; "" where they share no disk."""
    seq_len: int
    """Of the windows that evidence is measured on."""
    num_sharing: int
    """How many workers share a machine's memory."""
    gpus: float = 0.0
    """Of a GPU, that a worker computes on; 0 for none."""
    cache_bytes: int | None = None
    """Most memory for what the blocks below give; None for an equal part of what is free."""


def brief_for(registry: Registry, base: FrozenBase, plan: Plan, *, num_sharing: int) -> Brief:
    """What the workers of a registry are told.

    Raises:
        ConfigError: The base is in memory only, or the plan grows by layers.
    """
    if plan.layerwise is not None:
        raise ConfigError(
            "growth by layers trains one block after the other, so there is nothing to share out; leave --workers out"
        )
    return brief_of(registry, base, plan, num_sharing=num_sharing)


def brief_of(registry: Registry, base: FrozenBase, plan: Plan, *, num_sharing: int) -> Brief:
    """What others have to open of a registry, whatever it is that they are to do.

    Raises:
        ConfigError: The base is in memory only.
    """
    if not base.source:
        raise ConfigError("the base is a model in memory, which workers cannot open; save it and freeze the folder")
    created = registry.state.created
    root, data = registry.folder / created["root"], created["data"]
    folder = Path(base.source)
    grown = registry.state.grown_domain
    select = {name.partition("/")[0]: name for name in data if name.partition("/")[2] == "select"}
    names = [f"{grown}/train", *select.values()]
    return Brief(
        base=str(folder.resolve()) if folder.is_dir() else base.source,
        revision=base.revision,
        identity=base.identity,
        digest=base.digest,
        text=str((root / plan.data.prepared if plan.data.prepared else registry.work / "data").resolve()),
        train=f"{grown}/train",
        select=select,
        grown=grown,
        digests={name: str(data[name]["digest"]) for name in names},
        tokenizer=str(created["tokenizer"] or ""),
        work=str(registry.work.resolve()),
        seq_len=plan.evaluation_seq_len,
        num_sharing=max(1, min(num_sharing, os.cpu_count() or 1)),
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SentGraft:
    """A graft on its way."""

    digest: str
    candidate: Candidate
    weights: bytes = field(repr=False)
    history: History | None = None

    @classmethod
    def of(cls, graft: Graft) -> "SentGraft":
        """Ready to be sent, with how it was trained if that is known."""
        weights = graft.to_bytes()
        return cls(digest=graft.digest, candidate=graft.candidate, weights=weights, history=graft.history)

    def opened(self) -> Graft:
        """The graft."""
        graft = grow_from(self.candidate, weights=self.weights).eval()
        graft.requires_grad_(requires_grad=False)
        graft.history = self.history
        return graft


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainGraft:
    """Train one candidate on a stack, up to a rung or to the end."""

    candidate: Candidate
    stack: tuple[SentGraft, ...]
    schedule: Schedule
    search: Search
    start: SentGraft | None
    checkpoint: str
    """Where it is saved on the way, below the common folder; "" where there is none."""
    by_document: bool = False
    """Whether it is also to be said what the graft costs on each document of *select*."""
    since: int = 0
    """The step that the part before ended at."""
    until: int | None = None
    """The step of the rung that it is trained to; None for the end."""
    carried: bytes = field(default=b"", repr=False)
    """The checkpoint of the part before, where there is no common folder; nothing for none."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainWhole:
    """Train the whole base further, and leave its weights in a file below the common folder."""

    lr: float
    schedule: Schedule
    seed: int
    checkpoint: str
    file: str


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureAgain:
    """Measure what a graft does to development text on a stack."""

    stack: tuple[SentGraft, ...]
    graft: SentGraft


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureGraft:
    """Measure what a graft costs on *select*, as training with a schedule does."""

    stack: tuple[SentGraft, ...]
    graft: SentGraft
    schedule: Schedule
    search: Search


Order = TrainGraft | TrainWhole | MeasureAgain | MeasureGraft


def order_for(
    trial: Trial, search: Search, leg: Leg | None = None, *, checkpoint: str, by_document: bool, carried: bytes = b""
) -> TrainGraft:
    """What a worker is told of a trial, or of a part of it."""
    leg = leg or Leg()
    assert not trial.moments  # they are growth by layers' alone, which has no workers
    return TrainGraft(
        candidate=trial.candidate,
        stack=sent(trial.stack),
        schedule=trial.schedule,
        search=search,
        start=SentGraft.of(trial.start) if trial.start is not None else None,
        checkpoint=checkpoint,
        by_document=by_document,
        since=leg.since,
        until=leg.until,
        carried=carried,
    )


def sent(stack: Sequence[Graft]) -> tuple[SentGraft, ...]:
    """Grafts ready to be sent; how they were trained does not matter to what stands on them."""
    return tuple(SentGraft(digest=graft.digest, candidate=graft.candidate, weights=graft.to_bytes()) for graft in stack)


def answer_header(**told: Any) -> dict[str, Any]:
    """The header of an answer."""
    return {"format": 1, **told}
