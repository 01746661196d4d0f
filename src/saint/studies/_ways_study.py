from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, final

import numpy as np

from saint.data import Corpus, Splits
from saint.errors import ConfigError
from saint.models import must_read
from saint.progress import Progress, Silent
from saint.records import to_plain
from saint.search import Result
from saint.studies._asking import Asking, fulfilled, workers_at
from saint.studies._checks import must_have_grown_text
from saint.studies._saved import saved_per_byte
from saint.studies._ways_bench import OneWay, WaysBench
from saint.studies._ways_plan import Claim, Way, WaysPlan
from saint.training import BasePlan, model_config

Row = dict[str, Any]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WaysOutcome:
    """What came of one way, with every seed."""

    name: str
    lr: float
    tried: Mapping[float, Result] = field(default_factory=dict)
    """Learning rate -> what came of it with the first seed."""
    results: Mapping[int, Result] = field(default_factory=dict)
    """Seed -> result."""

    @property
    def failure(self) -> str:
        """Why a seed did not learn; empty where all did."""
        return next((one["failure"] for one in self.results.values() if "failure" in one), "")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WaysFindings:
    """All that such a study has found."""

    data: Splits
    outcomes: list[WaysOutcome]
    num_known: int
    """Trainings that an earlier run had done."""


def study_ways(
    plan: WaysPlan,
    data: Path,
    cells: Path,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> WaysFindings:
    """Train every way with every seed; each training is on the disk before the next.

    What was stopped or killed goes on where it was when it is called again with the same arguments.

    Args:
        data: Prepared splits.
        cells: Where results go.
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        ConfigError, DataError: Text and plan do not fit together.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = WaysBench(data, cells, plan)
    check_ways(plan, bench.data)
    asking = Asking[OneWay](bench)
    demands = [_of_way(asking, plan, way) for way in plan.ways]
    with (
        workers_at(partial(WaysBench, data, cells, plan), num_workers, prepare) as workers,
        progress.task("training models", total=None, unit="tokens") as task,
    ):
        found = fulfilled(demands, workers, task)
    return WaysFindings(data=bench.data, outcomes=found, num_known=asking.num_known)


def check_ways(plan: WaysPlan, data: Splits) -> None:
    """Refuse text and a plan that do not fit together, before anything is trained.

    Raises:
        ConfigError, DataError: They do not; the message says why.
    """
    must_have_grown_text(data)
    for way in plan.ways:
        model = way.of(plan.base)
        if model.domain != data.grown_domain:
            raise ConfigError(
                f"{way.name!r} learns from the domain {model.domain!r}; all models of this study learn from "
                f"{data.grown_domain!r}, the one that grows"
            )
        must_read(model_config(model.architecture, model.model, data.tokenizer), model.schedule.seq_len)
        parts = way.grown.stages if way.grown is not None else way.stacked
        if parts > 1 and ((blocks := model.model.get("num_hidden_layers")) is None or blocks % parts):
            raise ConfigError(
                f"way {way.name!r} divides its blocks into {parts} parts, and model.num_hidden_layers is "
                f"{blocks or 'not given'}; give a multiple of {parts}"
            )


Demand = Generator[list[OneWay], list[Result], WaysOutcome]


def _of_way(asking: Asking[OneWay], plan: WaysPlan, way: Way) -> Demand:
    """The best learning rate with the first seed, then that with the others."""
    model = way.of(plan.base)
    first, *others = plan.seeds
    rates = way.lrs or (model.lr,)
    works = [_work(way, model, lr, first) for lr in rates]
    tried = dict(zip(rates, (yield from asking.all_of(works)), strict=True))
    best = min(rates, key=lambda lr: tried[lr].get("select_bpb", float("inf")))
    rest = yield from asking.all_of([_work(way, model, best, seed) for seed in others])
    results = dict(zip(plan.seeds, [tried[best], *rest], strict=True))
    return WaysOutcome(name=way.name, lr=best, tried=tried, results=results)


def _work(way: Way, model: BasePlan, lr: float, seed: int) -> OneWay:
    return OneWay(model=replace(model, lr=lr), grown=way.grown, stacked=way.stacked).with_seed(seed)


def make_ways_results(plan: WaysPlan, found: WaysFindings) -> Row:
    """What the study says, as plain data: a row for each way, and for each claim.

    Losses are nats per byte of the held-out text; intervals are for other documents and seeds.
    """
    held_out = found.data.held_out
    there = {one.name: one for one in found.outcomes}
    return {
        "rows": [_row(one, held_out) for one in found.outcomes],
        "claims": [
            *([_stages(there[plan.least_stage_of], held_out)] if plan.least_stage_of else []),
            *(_claim(claim, there[claim.better], there[claim.than], held_out) for claim in plan.claims),
        ],
        "held_out_bytes": held_out.num_bytes,
    }


def _row(outcome: WaysOutcome, held_out: Corpus) -> Row:
    row: Row = {
        "name": outcome.name,
        "lr": outcome.lr,
        "failure": outcome.failure,
        "tried": [
            {"lr": lr, "select_bpb": one.get("select_bpb"), "failure": one.get("failure")}
            for lr, one in sorted(outcome.tried.items())
        ],
    }
    if outcome.failure:
        return row
    results = outcome.results
    first = next(iter(results.values()))
    return row | {
        "loss": fmean(_loss(one, held_out) for one in results.values()),
        "seeds": [
            {"seed": seed, "loss": _loss(one, held_out), "curve": one["curve"], "nats": one["held_out"]}
            for seed, one in results.items()
        ],
        "stages": [
            fmean(sum(one["stages"][place]["held_out"]) / held_out.num_bytes for one in results.values())
            for place in range(len(first.get("stages", ())))
        ],
        "seconds": fmean(one["train_s"] for one in results.values()),
        **{name: first[name] for name in ("active_params", "total_params", "train_tokens", "flops")},
    }


def _loss(result: Result, held_out: Corpus) -> float:
    total: float = sum(result["held_out"])
    return total / held_out.num_bytes


def _claim(claim: Claim, better: WaysOutcome, than: WaysOutcome, held_out: Corpus) -> Row:
    """How much is saved in nats per byte, what of it is held against the claim, and what that says.

    The value is of the end of the interval that is the harder one to reach, and `holds` is "yes" if it is reached, "no"
    if the other end speaks against the claim as well, else "open". A claim of which a way did not learn has no value.
    """
    row: Row = to_plain(claim) | {"value": None, "saved": None, "holds": "not measured"}
    if better.failure or than.failure:
        return row
    saved = _saved(than, better, held_out)
    low, high = saved["low"], saved["high"]
    loss = fmean(_loss(one, held_out) for one in than.results.values())
    if claim.by is not None:
        found = {"value": low, "target": claim.by, "sense": "at_least"}
        against = high < claim.by
    elif claim.worse_by is not None:
        found = {"value": -low / loss, "target": claim.worse_by, "sense": "at_most"}
        against = -high / loss > claim.worse_by
    else:
        assert claim.alike is not None  # one of the three is given
        found = {"value": max(abs(low), abs(high)) / loss, "target": claim.alike, "sense": "at_most"}
        against = low / loss > claim.alike or high / loss < -claim.alike
    reached = found["value"] >= found["target"] if claim.by is not None else found["value"] <= found["target"]
    return row | found | {"saved": saved, "holds": "yes" if reached else "no" if against else "open"}


def _stages(grown: WaysOutcome, held_out: Corpus) -> Row:
    """The claim that every stage is worth something, held against the stage that saves least over the one before."""
    claim = Claim(name="every_stage_saves_nats_per_byte", better=grown.name, than="the stage before", by=0.0)
    row: Row = to_plain(claim) | {"value": None, "saved": None, "holds": "not measured"}
    if grown.failure:
        return row
    each = [[stage["held_out"] for stage in one["stages"]] for one in grown.results.values()]
    after = [np.asarray(of_seeds) for of_seeds in zip(*each, strict=True)]
    saved = [saved_per_byte(before, then, held_out) for before, then in pairwise(after)]
    least = min(saved, key=lambda interval: interval["low"])
    holds = "yes" if least["low"] >= 0 else "no" if least["high"] < 0 else "open"
    found = {"saved": least, "value": least["low"], "target": 0.0, "sense": "at_least", "holds": holds}
    return row | found


def _saved(before: WaysOutcome, after: WaysOutcome, held_out: Corpus) -> Row:
    pair = [np.asarray([one["held_out"] for one in way.results.values()]) for way in (before, after)]
    return saved_per_byte(pair[0], pair[1], held_out)
