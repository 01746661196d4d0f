from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, final

from saint import records
from saint.data import Splits
from saint.errors import ConfigError, DivergedError, SiteError
from saint.grafts import num_bytes
from saint.models import freeze, must_read
from saint.progress import Progress, Silent
from saint.search import Result
from saint.studies._asking import Asking, fulfilled, workers_at
from saint.studies._checks import must_have_grown_text
from saint.studies._full_bench import FullBench, Work, sites_of
from saint.studies._full_plan import BackbonePlan, FullPlan, ScratchPlan, StandingPlan
from saint.training import BasePlan, model_config, untrained

Sort = Literal["base", "ours", "control", "full", "calibration"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FullOutcome:
    """What came of one way of spending tokens, with every seed."""

    backbone: str
    """Empty for a calibration, which stands on none."""
    name: str
    sort: Sort
    equal: str = ""
    """Of a full model: what it has as much of as base and arm: tokens, time or memory."""
    lr: float | None = None
    tried: Mapping[float, Result] = field(default_factory=dict)
    """Learning rate -> what came of it with the first seed."""
    results: Mapping[int, Result] = field(default_factory=dict)
    """Seed -> result; empty where nothing could be trained."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FullFindings:
    """All that such a study has found."""

    data: Splits
    outcomes: list[FullOutcome]
    num_known: int
    """Trainings that an earlier run had done."""


def study_full(
    plan: FullPlan,
    data: Path,
    cells: Path,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> FullFindings:
    """Train bases, arms on them, and larger models from nothing; each training is on the disk before the next.

    What was stopped or killed goes on where it was when it is called again with the same arguments.

    Args:
        data: Prepared splits.
        cells: Where results go, and bases.
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        ConfigError, DataError, SiteError: Text and plan do not fit together.
        DivergedError: A base did not learn, so that nothing can stand on it.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = FullBench(data, cells, plan)
    check_full(plan, bench.data)
    asked = _Asked(bench)
    demands = [*(_of_backbone(asked, one) for one in plan.backbones), _calibration(asked)]
    with (
        workers_at(partial(FullBench, data, cells, plan), num_workers, prepare) as workers,
        progress.task("training bases, arms and larger models", total=None, unit="tokens") as task,
    ):
        found = fulfilled(demands, workers, task)
    outcomes = [outcome for of_one in found for outcome in of_one]
    return FullFindings(data=bench.data, outcomes=outcomes, num_known=asked.num_known)


def check_full(plan: FullPlan, data: Splits) -> None:
    """Refuse text and a plan that do not fit together, before anything is trained.

    Raises:
        BaseModelError, ConfigError, DataError, SiteError: They do not; the message says why.
    """
    must_have_grown_text(data)
    models = [(one.name, model) for one in plan.backbones for model in _models(one)]
    for name, model in (*models, *((one.name, one.plan) for one in plan.calibration)):
        if model.domain != data.grown_domain:
            raise ConfigError(
                f"{name!r} learns from the domain {model.domain!r}; all models of this study learn from "
                f"{data.grown_domain!r}, the one that grows"
            )
        must_read(model_config(model.architecture, model.model, data.tokenizer), model.schedule.seq_len)
    for backbone in plan.backbones:
        base = backbone.base
        must_read(model_config(base.architecture, base.model, data.tokenizer), plan.schedule.seq_len)
        _check_sites(plan, backbone, data)


def _models(backbone: BackbonePlan) -> list[BasePlan]:
    return [backbone.base, backbone.full.plan, *(one.plan for one in backbone.others)]


def _check_sites(plan: FullPlan, backbone: BackbonePlan, data: Splits) -> None:
    sites = freeze(untrained(backbone.base, data.tokenizer)).sites()
    for arm in plan.arms:
        if arm.kind and not sites_of(sites, arm):
            roles = ", ".join(sorted({site.role for site in sites}))
            raise SiteError(f"arm {arm.name!r} finds no site on {backbone.name!r}; the roles there are {roles}")
        if arm.kind:
            num_bytes(arm.kind, arm.options, sites_of(sites, arm))  # refuses what the kind cannot be there


@final
class _Asked:
    """Asks workers for what is missing, and remembers how much was not."""

    def __init__(self, bench: FullBench) -> None:
        self.bench, self.plan = bench, bench.plan
        self._asking = Asking[Work](bench)

    @property
    def num_known(self) -> int:
        """Trainings that were there before anything was asked for."""
        return self._asking.num_known

    def all_of(self, works: Sequence[Work]) -> Generator[list[Work], list[Result], list[Result]]:
        """What came of each, in their order."""
        return self._asking.all_of(works)

    def tuned(
        self, wanted: Mapping[str, Sequence[Work]]
    ) -> Generator[list[Work], list[Result], dict[str, dict[str, Any]]]:
        """Name -> the best of its works on *select* with the first seed, and what came of that with every seed."""
        first, *others = self.plan.seeds
        flat = [work.with_seed(first) for works in wanted.values() for work in works]
        tried = dict(zip(map(records.digest, flat), (yield from self.all_of(flat)), strict=True))
        found: dict[str, dict[str, Any]] = {}
        chosen: list[Work] = []
        for name, works in wanted.items():
            each = [(work, tried[records.digest(work.with_seed(first))]) for work in works]
            best, result = min(each, key=lambda one: one[1].get("select_bpb", float("inf")))
            rates = {rate: result for work, result in each if (rate := _rate(work)) is not None}
            found[name] = {"lr": _rate(best), "tried": rates, "results": {first: result}}
            chosen += [best.with_seed(seed) for seed in others]
        rest = iter((yield from self.all_of(chosen)))
        for one in found.values():
            one["results"] |= {seed: next(rest) for seed in others}
        return found


Demand = Generator[list[Work], list[Result], list[FullOutcome]]
Found = dict[str, Any]
"""What `tuned` has found of one."""


def _of_backbone(asked: _Asked, backbone: BackbonePlan) -> Demand:
    """The base, the arms on it, and larger models with as much of everything as one of the arms."""
    plan = asked.plan
    base = yield from asked.tuned({"base": [Work(model=backbone.base)]})
    if failures := [one["failure"] for one in base["base"]["results"].values() if "failure" in one]:
        raise DivergedError(f"the base of {backbone.name!r} did not learn: {failures[0]}; lower its lr")
    arms = yield from asked.tuned({arm.name: _rates_of(backbone.base, arm) for arm in plan.arms})
    sorts: dict[str, Sort] = {arm.name: "ours" if plan.is_ours(arm) else "control" for arm in plan.arms}
    return [
        FullOutcome(backbone=backbone.name, name="base", sort="base", **base["base"]),
        *(FullOutcome(backbone=backbone.name, name=name, sort=sorts[name], **one) for name, one in arms.items()),
        *(yield from _larger(asked, backbone, base["base"], arms[plan.equal_to])),
    ]


def _larger(asked: _Asked, backbone: BackbonePlan, base: Found, arm: Found) -> Demand:
    """Models from nothing on the tokens, in the time and in the memory of base and arm.

    Where the arm failed there is nothing to be equal to but its tokens.
    """
    against, num_tokens = asked.plan.against, asked.plan.all_tokens(backbone)
    names, wanted = {}, {}
    if "tokens" in against:
        names["tokens"], wanted["tokens"] = backbone.full.name, _scratch(backbone.full, num_tokens)
    if "memory" in against and not _failed(arm):
        fitting = _largest_in(asked.bench, (backbone.full, *backbone.others), arm)
        names["memory"] = fitting.name if fitting else "nothing fits"
        wanted |= {"memory": _scratch(fitting, num_tokens)} if fitting else {}
    found = (yield from asked.tuned(wanted)) if wanted else {}
    if "time" in against and not _failed(arm):
        names["time"] = backbone.full.name
        found |= yield from _in_time(asked, backbone.full, base, arm, found.get("tokens"))
    return [
        FullOutcome(backbone=backbone.name, name=names[equal], sort="full", equal=equal, **found.get(equal, {}))
        for equal in against
        if equal in names
    ]


def _in_time(
    asked: _Asked, full: ScratchPlan, base: Found, arm: Found, at_equal_tokens: Found | None
) -> Generator[list[Work], list[Result], dict[str, Found]]:
    """The full model on as many tokens as it learns from in the mean time that base and arm took.

    Args:
        at_equal_tokens: Says how fast it learns, and with which rate; without it one step is taken to see.
    """
    paced = at_equal_tokens
    if paced is None or _failed(paced):
        rate = replace(full, lrs=full.lrs[:1])
        paced = (yield from asked.tuned({"pace": _scratch(rate, full.plan.schedule.tokens_per_step)}))["pace"]
    if _failed(paced):
        return {"time": paced}
    seconds = sum(fmean(one["train_s"] for one in way["results"].values()) for way in (base, arm))
    per_token = fmean(one["train_s"] / one["train_tokens"] for one in paced["results"].values())
    num_tokens = ceil(seconds / per_token)
    found = yield from asked.tuned({"time": _scratch(replace(full, lrs=(paced["lr"],)), num_tokens)})
    return found


def _failed(found: Found) -> bool:
    return any("failure" in one for one in found["results"].values())


def _calibration(asked: _Asked) -> Demand:
    plan = asked.plan
    if not plan.calibration:
        return []
    tokens = plan.all_tokens(plan.backbones[0])
    found = yield from asked.tuned({one.name: _scratch(one, tokens) for one in plan.calibration})
    return [FullOutcome(backbone="", name=name, sort="calibration", **one) for name, one in found.items()]


def _largest_in(bench: FullBench, models: Sequence[ScratchPlan], arm: Found) -> ScratchPlan | None:
    """The one of the most parameters whose training fits into the memory of the arm's; None where none does."""
    most = max(one["memory_bytes"] for one in arm["results"].values())
    sizes = [(bench.size_of(one.plan), one) for one in models]
    fitting = [(size["num_params"], one) for size, one in sizes if size["memory_bytes"] <= most]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _scratch(scratch: ScratchPlan, num_tokens: int) -> list[Work]:
    """A model from nothing on so many tokens, with each rate that is to be tried."""
    plan = scratch.plan
    num_steps = max(1, num_tokens // plan.schedule.tokens_per_step)
    schedule = replace(plan.schedule, num_steps=num_steps)
    return [Work(model=replace(plan, lr=lr, schedule=schedule)) for lr in scratch.lrs or (plan.lr,)]


def _rates_of(base: BasePlan, arm: StandingPlan) -> list[Work]:
    return [Work(model=base, arm=one) for one in ([replace(arm, lrs=(lr,)) for lr in arm.lrs] or [arm])]


def _rate(work: Work) -> float | None:
    """The learning rate of a work; None for that of the kind."""
    if work.arm is None:
        return work.model.lr
    return work.arm.lrs[0] if work.arm.lrs else None
