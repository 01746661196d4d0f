"""What a search would take on a cluster: a plan's rounds, simulated with unit costs, and what that needs and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, isfinite
from typing import final

from saint.errors import ConfigError
from saint.growth._plan import Plan
from saint.growth._unit_costs import UnitCosts
from saint.search import Cluster, Costs, Simulated, Work, measure_loop, simulate


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What a machine is and costs, as far as nothing here can measure it."""

    bytes_per_param: float = 4.0
    """Of the base; 2 in bfloat16, less where it is quantised."""
    per_node: int = 8
    """Workers that share one machine, and so one copy of the base."""
    per_hour: float | None = None
    """Of one worker, in any currency; the coordinator counts as one more."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 < self.bytes_per_param < inf or self.per_node < 1:
            raise ConfigError(
                f"expected more than 0 bytes a parameter and at least 1 worker a node, got {self.bytes_per_param:g} "
                f"and {self.per_node}"
            )
        if self.per_hour is not None and not (self.per_hour >= 0 and isfinite(self.per_hour)):
            raise ConfigError(f"a worker's hour costs {self.per_hour:g}; expected a number that is not negative")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Of a plan on a cluster."""

    works: tuple[Work, ...]
    costs: Costs
    num_checkers: int
    simulated: Simulated
    base_bytes: int
    worker_bytes: int | None
    """Of a worker besides the base; None where that could not be measured."""
    node_bytes: int | None
    num_nodes: int
    price: float | None

    @property
    def num_rounds(self) -> int:
        """Of all stages."""
        return sum(work.num_rounds for work in self.works)

    @property
    def most_workers(self) -> float:
        """How many the coordinator can keep busy, if it does nothing but see to their trials."""
        return self.works[0].mean_trial_s / self.costs.per_trial_s(self.num_checkers)


def works_of(plan: Plan, units: UnitCosts, changes: Mapping[str, int | None]) -> tuple[Work, ...]:
    """The rounds of a plan's stages, with trials as long as their schedules.

    Args:
        changes: `rounds`, `candidates` or `finalists` that are not to be the plan's.

    Raises:
        ConfigError: The plan grows by layers, one candidate a round, or the changes are no work.
    """
    if plan.layerwise is not None:
        raise ConfigError(
            f"{plan.name} grows by layers, with one candidate a round, so that no worker could help; give another plan"
        )
    works = []
    for stage in plan.in_full:
        longer = plan.schedule_of(stage).num_tokens / plan.schedule.num_tokens
        candidates = changes.get("candidates") or stage.candidates_per_round * plan.num_tries
        finalists = changes.get("finalists")
        works.append(
            Work(
                trial_s=tuple(seconds * longer for seconds in units.trial_s),
                num_rounds=changes.get("rounds") or stage.rounds,
                candidates=candidates,
                finalists=min(stage.finalists_per_round, candidates) if finalists is None else finalists,
            )
        )
    return tuple(works)


def costs_of(units: UnitCosts, num_workers: int, spot_check: float) -> Costs:
    """What a coordinator of so many workers spends on each thing; its loop is timed here.

    Args:
        spot_check: Share of development text that it measures each graft again on.

    Raises:
        ConfigError: It is no share.
    """
    if not 0 < spot_check <= 1:
        raise ConfigError(f"the share that is measured again is {spot_check:g}; it must be above 0 and up to 1")
    loop = measure_loop(num_workers)
    return Costs(
        lease_s=loop.lease_s,
        beat_s=loop.beat_s,
        answer_s=units.answer_s,
        measure_s=units.measure_s * spot_check,
        append_s=units.append_s,
        judge_s=units.judge_s,
        round_s=units.round_s,
    )


def predict(
    works: Sequence[Work],
    units: UnitCosts,
    cluster: Cluster,
    prices: Prices,
    *,
    spot_check: float = 1.0,
    seed: int = 0,
) -> Prediction:
    """Simulate it, and say what it needs and costs.

    Raises:
        ConfigError, WorkerError: It cannot be simulated.
    """
    if not works:
        raise ConfigError("there is no round to simulate; give a plan with at least one")
    costs = costs_of(units, cluster.num_workers, spot_check)
    simulated = simulate(cluster, costs, *works, seed=seed)
    base_bytes = round(units.num_params * prices.bytes_per_param)
    worker_bytes = None
    if units.runtime_bytes is not None and units.trial_bytes is not None:
        worker_bytes = units.runtime_bytes + units.trial_bytes
    on_one = min(prices.per_node, cluster.num_workers)
    hours = simulated.makespan_s / 3600
    return Prediction(
        works=tuple(works),
        costs=costs,
        num_checkers=cluster.num_checkers,
        simulated=simulated,
        base_bytes=base_bytes,
        worker_bytes=worker_bytes,
        node_bytes=None if worker_bytes is None else base_bytes + on_one * worker_bytes,
        num_nodes=ceil(cluster.num_workers / prices.per_node),
        price=None if prices.per_hour is None else (cluster.num_workers + 1) * hours * prices.per_hour,
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What is simulated for each number of workers."""

    trial_s: tuple[float, ...]
    per_worker: int = 16
    """Trials for each worker, in one round: enough to keep all busy."""
    candidates: tuple[int, ...] = (36, 256, 1024)
    """Of smaller rounds, at whose ends all wait."""
    finalists: int = 3
    life_s: float = 24 * 3600.0
    """Of a worker, in the rows with failures."""
    spot_check: float = 0.1
    """Share of development text that each graft is measured again on, in all rows but those of all of it."""
    num_checkers: int = 4
    """Processes that measure all of it for the coordinator, in one row."""

    def __post_init__(self) -> None:
        """Refuse what is nothing to do."""
        if self.per_worker < 1:
            raise ConfigError(f"per_worker is {self.per_worker}; it must be at least 1")
        if self.num_checkers < 1:
            raise ConfigError(f"num_checkers is {self.num_checkers}; it must be at least 1")


def sweep(units: UnitCosts, numbers: Sequence[int], asked: Sweep, *, seed: int = 0) -> list[dict[str, object]]:
    """One row for each number of workers, of plain data: big rounds in five ways, and small ones.

    Raises:
        ConfigError, WorkerError: It cannot be simulated.
    """
    rows: list[dict[str, object]] = []
    for number in numbers:
        costs = costs_of(units, number, 1.0)
        lean = replace(costs, measure_s=costs.measure_s * asked.spot_check)
        big = Work(
            trial_s=asked.trial_s,
            num_rounds=1,
            candidates=number * asked.per_worker,
            finalists=min(asked.finalists, number * asked.per_worker),
        )
        helped = Cluster(num_workers=number, num_checkers=asked.num_checkers)
        calm, rough = Cluster(num_workers=number), Cluster(num_workers=number, life_s=asked.life_s)
        small = [
            Work(trial_s=asked.trial_s, num_rounds=2, candidates=most, finalists=min(asked.finalists, most))
            for most in asked.candidates
        ]
        rows.append(
            {
                "workers": number,
                "per_trial_s": {
                    "spot": lean.per_trial_s(),
                    "helped": costs.per_trial_s(asked.num_checkers),
                    "all": costs.per_trial_s(),
                },
                "beat_s": costs.beat_s,
                "spot": told(simulate(calm, lean, big, seed=seed)),
                "spot_failing": told(simulate(rough, lean, big, seed=seed)),
                "helped": told(simulate(helped, costs, big, seed=seed)),
                "all": told(simulate(calm, costs, big, seed=seed)),
                "all_failing": told(simulate(rough, costs, big, seed=seed)),
                "rounds": {f"{work.candidates}": told(simulate(calm, lean, work, seed=seed)) for work in small},
            }
        )
    return rows


def told(simulated: Simulated) -> dict[str, object]:
    """What came of a simulation, as plain data."""
    return {
        "utilisation": simulated.utilisation,
        "trials_per_hour": simulated.trials_per_hour,
        "coordinator_share": simulated.coordinator_share,
        "barrier_share": simulated.barrier_share,
        "makespan_s": simulated.makespan_s,
        "num_trials": simulated.num_trials,
        "num_lost": simulated.num_lost,
        "lost_s": simulated.lost_s,
        "busy_s": dict(simulated.busy_s),
    }
