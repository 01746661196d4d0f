"""A second look at the candidates that the policy puts first: each is trained for a moment, and read on *select*."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from saint import records
from saint.candidates import rerank, train_flops
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._trial import Trial
from saint.records import Candidate, Interval
from saint.training import Trained, Workspace, birth_tokens, train_many


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Reranking:
    """What a round of candidates was reordered by, and what that took."""

    num_steps: int
    measured: tuple[dict[str, Any], ...]
    """For each candidate, in the policy's order: its digest, its `gain_bpb` on *select* against the stack, or why there
    is none."""
    train_tokens: int
    train_flops: float
    train_seconds: float
    order: tuple[Candidate, ...] = field(repr=False)
    """The candidates, the most promising first."""

    @property
    def entry(self) -> dict[str, Any]:
        """For the ledger, which has the order as the candidates of the round."""
        plain = {name: getattr(self, name) for name in ("num_steps", "train_tokens", "train_flops", "train_seconds")}
        return {**plain, "split": "select", "measured": list(self.measured)}


def why_no_rerank(journal: Journal, number: int, candidates: Sequence[Candidate]) -> str:
    """What keeps the candidates of a round from being reordered; "" for nothing.

    The budget must pay for the short trainings and for one candidate after them.
    """
    settings = journal.settings
    if reason := settings.out_of_time():
        return reason
    schedule, left = settings.rerank_schedule(number), settings.budget_left()
    num_tokens = sum(schedule.num_tokens + birth_tokens(candidate, schedule) for candidate in candidates)
    if not settings.within_tokens(number, candidates, besides=num_tokens):
        return f"trying {len(candidates)} candidates takes {num_tokens:,} tokens, which leaves too few for training one"
    flops = sum(_flops(journal, number, candidate) for candidate in candidates)
    if left.train_flops is not None and not settings.pays_for_one(number, candidates, besides=flops):
        return f"trying {len(candidates)} candidates takes {flops:,} FLOPs, which leaves too few for training one"
    return ""


def rerank_on_select(
    journal: Journal, losses: Losses, number: int, stack: Sequence[Graft], candidates: Sequence[Candidate]
) -> Reranking:
    """Train each for a few steps of a schedule that is as short, and order them by what they then save on *select*.

    A killed process goes on from its checkpoints to the same order. One that fails follows those that were measured.

    Args:
        losses: Remembers what the stack pays for *select*.
    """
    base, data, plan = journal.base, journal.data, journal.plan
    schedule, folder = journal.settings.rerank_schedule(number), journal.rerank_folder
    names = {
        records.digest(one): journal.name_of(Trial(candidate=one, stack=stack, schedule=schedule)) for one in candidates
    }
    found = train_many(
        base,
        stack,
        candidates,
        data.train,
        schedule=schedule,
        search=replace(plan.search, rungs=(), brackets=1),
        work=Workspace(
            checkpoint_of=lambda candidate: folder / f"{names[records.digest(candidate)][:32]}.safetensors",
            folder=journal.registry.work / "prefix",
            progress=journal.progress,
        ),
    )
    losses.expect(base, stack, [one.graft for one in found if one.graft is not None])
    gains = {records.digest(one.candidate): gain for one in found if (gain := _gain(journal, losses, stack, one))}
    return Reranking(
        num_steps=schedule.num_steps,
        measured=tuple(_told(one, gains.get(records.digest(one.candidate))) for one in found),
        train_tokens=sum(one.all_tokens for one in found),
        train_flops=float(sum(_flops(journal, number, one.candidate, one.all_tokens) for one in found)),
        train_seconds=sum(one.time_s for one in found),
        order=tuple(rerank(candidates, gains)),
    )


def _gain(journal: Journal, losses: Losses, stack: Sequence[Graft], one: Trained) -> Interval | None:
    if one.graft is None:
        return None
    select = journal.data.select[journal.data.grown_domain]
    if not np.isfinite(losses.of(journal.base, [*stack, one.graft], select)).all():
        return None  # it was the last of its few steps that ran away, which no gradient has shown
    return losses.saved(journal.base, stack, [*stack, one.graft], select)


def _told(one: Trained, gain: Interval | None) -> dict[str, Any]:
    runaway = "the loss on development text is no number after the last step; lower the learning rate"
    why = {"gain_bpb": gain} if gain is not None else {"failure": one.failure or runaway}
    return {"candidate": records.digest(one.candidate), "kind": one.candidate.kind, **why}


def _flops(journal: Journal, number: int, candidate: Candidate, num_tokens: int | None = None) -> int:
    schedule = journal.settings.rerank_schedule(number)
    num_tokens = schedule.num_tokens if num_tokens is None else num_tokens
    return train_flops(candidate, journal.base.sites(), num_tokens=num_tokens, seq_len=schedule.seq_len)
