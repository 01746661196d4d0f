"""The work of a study of full models and grafts: one training at a time, measured, and what came of it kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from torch import nn

from saint import discovery, records
from saint.composition import compose, probe_logits
from saint.consolidation import merge
from saint.data import Splits, open_splits
from saint.errors import DivergedError, ExportError
from saint.evaluation import Losses
from saint.grafts import Graft, Kind, default_lr, grow_from, kind_and_options
from saint.models import FrozenBase, freeze
from saint.progress import Progress, Silent
from saint.records import Candidate, Site
from saint.search import Result, Store, code_digest, defining_digest
from saint.studies._full_plan import FullPlan, StandingPlan
from saint.studies._kept import keep_model, read_model
from saint.studies._timing import plain_history, watching_the_clock
from saint.training import BasePlan, Schedule, continue_training, count_step, pretrain, train, untrained

_PACKAGES = ("saint-g", "torch", "transformers")
_BYTES_PER_WEIGHT = 4
_ARMS_BEGIN = 10_000  # added to an arm's seed: what follows a base does not read its text in the same order again
_STAGES_APART = 1_000_000


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One training: of a model from nothing, or of an arm on it."""

    model: BasePlan
    arm: StandingPlan | None = None
    """With at most one learning rate."""

    @property
    def seed(self) -> int:
        """Of everything in it."""
        return self.model.seed

    def with_seed(self, seed: int) -> "Work":
        """The same by another chance."""
        return replace(self, model=replace(self.model, seed=seed))


@final
class FullBench:
    """Text and settings of such a study in one process."""

    def __init__(self, data: Path, cells: Path, plan: FullPlan, progress: Progress | None = None) -> None:
        self.data: Splits = open_splits(data)
        self.plan, self.store = plan, Store(cells)
        self._progress = progress or Silent()
        self._losses = Losses(seq_len=plan.evaluation_seq_len)
        self._bases = [replace(one.base, seed=seed) for one in plan.backbones for seed in plan.seeds]
        self._loaded: tuple[str, FrozenBase] | None = None

    def digest(self, work: Work) -> str:
        """The name of a result: a digest of everything that decides it, the code included."""
        arm = work.arm
        about = None
        if arm is not None:
            kind = defining_digest(discovery.find("grafts", arm.kind, Kind)) if arm.kind else ""
            about = {"arm": replace(arm, name="", control=False), "kind": kind, "schedule": self.plan.schedule}
        return records.digest(
            {
                "model": work.model,
                "arm": about,
                "text": [text.digest for text in (self.data.train, self._select, self.data.held_out)],
                "tokenizer": self.data.tokenizer_digest,
                "seq_len": self.plan.evaluation_seq_len,
                "code": full_code(),
            }
        )

    def result(self, work: Work) -> Result | None:
        """What came of a training, if it was done before; a base whose weights are gone is not done."""
        found = self.store.read(self.digest(work))
        if found is not None and "failure" not in found and self._is_kept(work):
            return found if self.store.weights(self.digest(work)) is not None else None
        return found

    def do(self, work: Work) -> Result:
        """Train and measure, unless that was done before; what came of it is on the disk when this returns."""
        if (found := self.result(work)) is not None:
            return found
        name = self.digest(work)
        try:
            result = self._from_nothing(work, name) if work.arm is None else self._standing(work, work.arm, name)
        except DivergedError as error:
            result = {"failure": str(error)}
        self.store.write(name, result)
        self.store.checkpoint(name).unlink(missing_ok=True)
        for stage in range(work.arm.stages if work.arm else 0):
            self.store.forget_weights(_stage(name, stage))
            self.store.checkpoint(_stage(name, stage)).unlink(missing_ok=True)
        return result

    def size_of(self, model: BasePlan) -> Result:
        """Parameters of a model, and the least memory that training it takes, counted in one step."""

        def measure() -> Result:
            made = untrained(model, self.data.tokenizer).requires_grad_(requires_grad=True)
            return {"num_params": _num_params(made), **self._count(made, made, model.schedule)}

        about = {"size": model, "tokenizer": self.data.tokenizer_digest, "code": full_code()}
        return self.store.once(records.digest(about), measure)

    @property
    def _select(self) -> Any:
        return self.data.select[self.data.grown_domain]

    def _is_kept(self, work: Work) -> bool:
        """Whether arms will stand on it."""
        return work.arm is None and work.model in self._bases

    def _from_nothing(self, work: Work, name: str) -> Result:
        (model, history), busy = watching_the_clock(
            lambda: pretrain(
                work.model, self.data.tokenizer, self.data.train, select=self._select, **self._watched(name)
            )
        )
        if self._is_kept(work):
            keep_model(self.store, name, model)
        count = self._count(model, model, work.model.schedule)
        model.requires_grad_(requires_grad=False).eval()
        num_params = _num_params(model)
        return {
            **_learnt([plain_history(history, busy)], num_params, num_params, _BYTES_PER_WEIGHT * num_params),
            **count,
            **self._measured(model),
            "recomposition": None,
        }

    def _standing(self, work: Work, arm: StandingPlan, name: str) -> Result:
        base = self._base(replace(work, arm=None))
        return self._grafted(base, work, arm, name) if arm.kind else self._continued(base, work, arm, name)

    def _continued(self, base: FrozenBase, work: Work, arm: StandingPlan, name: str) -> Result:
        schedule = replace(self.plan.schedule, fade_in=0.0)  # a whole base has no strength that could fade in
        (model, history), busy = watching_the_clock(
            lambda: continue_training(
                base,
                self.data.train,
                lr=arm.lrs[0],
                select=self._select,
                schedule=schedule,
                seed=work.seed + _ARMS_BEGIN,
                **self._watched(name),
            )
        )
        model.requires_grad_(requires_grad=True)
        count = self._count(model, model, schedule)
        model.requires_grad_(requires_grad=False)
        learnt = _learnt(
            [plain_history(history, busy)], base.num_params, base.num_params, _BYTES_PER_WEIGHT * base.num_params
        )
        return {**learnt, **count, **self._measured(model), "recomposition": None}

    def _grafted(self, base: FrozenBase, work: Work, arm: StandingPlan, name: str) -> Result:
        stack: list[Graft] = []
        histories: list[Result] = []
        for stage in range(arm.stages):
            graft, history = self._stage(base, stack, work, arm, stage, _stage(name, stage))
            stack.append(graft)
            histories.append(history)
        stack[-1].requires_grad_(requires_grad=True)
        count = self._count(compose(base, stack), stack[-1], self._stage_schedule(arm))
        stack[-1].requires_grad_(requires_grad=False)
        files = [graft.to_bytes() for graft in stack]
        num_params = sum(graft.num_params for graft in stack)
        frozen = base.num_params + num_params - stack[-1].num_params
        count["memory_bytes"] += _BYTES_PER_WEIGHT * frozen
        return {
            **_learnt(histories, num_params, base.num_params + num_params, sum(map(len, files))),
            **count,
            **self._measured(compose(base, stack)),
            "recomposition": self._recomposition(work, base, stack, files),
        }

    def _stage(
        self, base: FrozenBase, stack: Sequence[Graft], work: Work, arm: StandingPlan, stage: int, name: str
    ) -> tuple[Graft, Result]:
        """One graft on those before it, from the disk when an earlier run has trained it."""
        candidate = _candidate(base, arm, seed=work.seed + _ARMS_BEGIN + stage * _STAGES_APART)
        known, weights = self.store.read(name), self.store.weights(name)
        if known is not None and weights is not None:
            return grow_from(candidate, weights=weights).requires_grad_(requires_grad=False).eval(), known
        graft, busy = watching_the_clock(
            lambda: train(
                base,
                stack,
                candidate,
                self.data.train,
                select=self._select,
                schedule=self._stage_schedule(arm),
                **self._watched(name),
            )
        )
        assert graft.history is not None  # it was just trained
        self.store.keep_weights(name, graft.to_bytes())
        history = plain_history(graft.history, busy)
        self.store.write(name, history)
        return graft, history

    def _stage_schedule(self, arm: StandingPlan) -> Schedule:
        return replace(self.plan.schedule, num_steps=self.plan.schedule.num_steps // arm.stages)

    def _watched(self, name: str) -> dict[str, Any]:
        return {"checkpoint": self.store.checkpoint(name), "progress": self._progress}

    def _base(self, work: Work) -> FrozenBase:
        """A base that was trained before; the last one stays in memory."""
        name = self.digest(work)
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = (name, self._read_base(work, name))
        return self._loaded[1]

    def _read_base(self, work: Work, name: str) -> FrozenBase:
        model = read_model(self.store, name, work.model, self.data.tokenizer)
        return freeze(model, tokenizer=self.data.tokenizer)

    def _recomposition(self, work: Work, base: FrozenBase, stack: Sequence[Graft], files: Sequence[bytes]) -> float:
        """The largest difference of a logit once all is put together anew.

        Grafts that can be are folded into the weights; else base and grafts are read from their files again.
        """
        try:
            anew: nn.Module = merge(base, stack).model
        except ExportError:
            again = [
                grow_from(graft.candidate, weights=file).requires_grad_(requires_grad=False).eval()
                for graft, file in zip(stack, files, strict=True)
            ]
            without = replace(work, arm=None)
            anew = compose(self._read_base(without, self.digest(without)), again)
        return float((probe_logits(anew) - probe_logits(compose(base, stack))).abs().max())

    def _measured(self, model: nn.Module) -> dict[str, Any]:
        started = time.process_time()
        nats = self._losses.measure(model, self.data.held_out).tolist()
        return {"held_out": nats, "measure_s": time.process_time() - started}

    def _count(self, model: nn.Module, learning: nn.Module, schedule: Schedule) -> dict[str, Any]:
        """Operations and memory of a pass with gradients, of as many windows as are in memory at once."""
        batch_size = schedule.batch_size // schedule.accumulate
        batches = self.data.train.batches(batch_size=batch_size, seq_len=schedule.seq_len, seed=0)
        count = count_step(model, learning.parameters(), batches[0])
        return {"memory_bytes": count.memory_bytes, "flops_per_step": count.num_flops * schedule.accumulate}


def _learnt(histories: Sequence[Result], num_params: int, total_params: int, num_bytes: int) -> dict[str, Any]:
    """What a training comes to, apart from what it does to a text."""
    return {
        "num_params": num_params,
        "total_params": total_params,
        "num_bytes": num_bytes,
        "train_tokens": sum(one["train_tokens"] + one["birth_tokens"] for one in histories),
        "train_s": sum(one["time_s"] for one in histories),
        "select_bpb": min(bpb for _, bpb in histories[-1]["select_bpb"]),
        "curve": [one["select_bpb"] for one in histories],
    }


def _candidate(base: FrozenBase, arm: StandingPlan, *, seed: int) -> Candidate:
    sites = sites_of(base.sites(), arm)
    lr = arm.lrs[0] if arm.lrs else default_lr(arm.kind, arm.options, sites)
    return Candidate(sites=sites, kind=arm.kind, options=arm.options, lr=lr, seed=seed)


def sites_of(sites: Sequence[Site], arm: StandingPlan) -> tuple[Site, ...]:
    """Where the grafts of an arm are, of all sites of its base."""
    kind, _ = kind_and_options(arm.kind, arm.options)
    return tuple(site for site in sites if site.sort == kind.attaches_to and (not arm.roles or site.role in arm.roles))


def _stage(name: str, stage: int) -> str:
    """The name of one graft of an arm."""
    return records.digest({"of": name, "stage": stage})


def _num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def full_code() -> dict[str, str]:
    """What decides such a study's results beside the plan and what it names."""
    source = code_digest(("studies/_full_bench.py", "studies/_kept.py", "studies/_timing.py"))
    return {**{name: version(name) for name in _PACKAGES}, "source": source}
