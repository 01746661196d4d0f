from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

from saint.composition import dock, interface_of, newborn
from saint.data import Splits
from saint.errors import ConfigError, SiteError
from saint.grafts import num_bytes
from saint.models import FrozenBase, block_stacks, freeze, must_read
from saint.progress import Progress, Silent
from saint.search import Result
from saint.studies._asking import Asking, fulfilled, workers_at
from saint.studies._checks import must_have_grown_text
from saint.studies._docking_bench import Building, Docking, DockingBench, Job, candidate_of, sites_of
from saint.studies._docking_plan import DockBackbone, DockingPlan, row_name
from saint.training import model_config, untrained


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockingOutcome:
    """What came of one backbone, alone or with one module, with every seed."""

    backbone: str
    module: str = ""
    """Empty for a backbone alone."""
    arm: str = ""
    results: Mapping[int, Result] = field(default_factory=dict)
    """Seed -> result."""

    @property
    def name(self) -> str:
        """Of the row."""
        return row_name(self.backbone, self.module, self.arm)

    @property
    def failure(self) -> str:
        """Why a seed did not learn; empty where all did."""
        return next((one["failure"] for one in self.results.values() if "failure" in one), "")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockingFindings:
    """All that such a study has found."""

    data: Splits
    outcomes: list[DockingOutcome]
    interfaces: Mapping[str, str | None]
    """Backbone -> the digest of its frozen token interface; None for one that learns."""
    num_known: int
    """Jobs that an earlier run had done."""


def study_docking(
    plan: DockingPlan,
    data: Path,
    cells: Path,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> DockingFindings:
    """Train backbones and modules, move these, and measure; each result is on the disk before the next.

    What was stopped or killed goes on where it was when it is called again with the same arguments.

    Args:
        data: Prepared splits.
        cells: Where results go, and backbones and modules.
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        ConfigError, DataError, SiteError: Text and plan do not fit together.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = DockingBench(data, cells, plan)
    interfaces = check_docking(plan, bench.data)
    asking = Asking[Job](bench)
    demands = [_of_seed(asking, plan, seed) for seed in plan.seeds]
    with (
        workers_at(partial(DockingBench, data, cells, plan), num_workers, prepare) as workers,
        progress.task("training backbones and modules", total=None, unit="tokens") as task,
    ):
        found = dict(zip(plan.seeds, fulfilled(demands, workers, task), strict=True))
    outcomes = [
        DockingOutcome(
            backbone=job.backbone,
            module=job.module if isinstance(job, Docking) else "",
            arm=job.arm if isinstance(job, Docking) else "",
            results={seed: rows[place] for seed, rows in found.items()},
        )
        for place, job in enumerate(_jobs(plan, plan.seeds[0]))
    ]
    return DockingFindings(data=bench.data, outcomes=outcomes, interfaces=interfaces, num_known=asking.num_known)


def check_docking(plan: DockingPlan, data: Splits) -> dict[str, str | None]:
    """Refuse text and a plan that do not fit together, before anything is trained.

    Returns:
        Backbone -> the digest of its frozen token interface.

    Raises:
        ConfigError, DataError, SiteError: They do not; the message says why.
    """
    must_have_grown_text(data)
    bases = {one.name: _untaught(plan, one, data) for one in plan.backbones}
    home = bases[plan.backbones[0].name]
    for module in plan.modules:
        if not (sites := sites_of(home.sites(), module)):
            raise SiteError(f"module {module.name!r} finds no site; there are {_places(home)}")
        num_bytes(module.kind, module.options, sites)  # refuses what the kind cannot be there
    first = newborn(home, candidate_of(home, plan.modules[0], seed=0))
    for backbone in plan.backbones[1:]:
        base = bases[backbone.name]
        if not backbone.forced:
            try:
                dock(first, home, base)
            except SiteError as error:
                raise SiteError(f"backbone {backbone.name!r}: {error}; or say forced = true, as a control") from error
        elif interface_of(base) == interface_of(home):
            raise ConfigError(
                f"backbone {backbone.name!r} is forced, and has the interface of the first one; give it another in "
                "model, or leave forced out"
            )
    return {name: interface_of(base) for name, base in bases.items()}


def _untaught(plan: DockingPlan, backbone: DockBackbone, data: Splits) -> FrozenBase:
    """A backbone before it has learnt, on text that is there."""
    model = backbone.of(plan.base)
    for split in ("train", "select"):
        data.of(model.domain, split)
    config = model_config(model.architecture, model.model, data.tokenizer)
    for schedule in (model.schedule, plan.schedule):
        must_read(config, schedule.seq_len)
    made = untrained(model, data.tokenizer)
    stacks = list(block_stacks(made).values())
    if len(stacks) != 1 or backbone.stem >= len(stacks[0]):
        raise ConfigError(
            f"backbone {backbone.name!r} has {sum(map(len, stacks))} blocks in {len(stacks)} stacks and a stem of "
            f"{backbone.stem}; take a decoder, and leave at least one block above the stem to learn"
        )
    return freeze(made, tokenizer=data.tokenizer)


def _places(base: FrozenBase) -> str:
    sites = base.sites()
    blocks = 1 + max(site.depth for site in sites)
    return f"{blocks} blocks, and sites of the roles {', '.join(sorted({site.role for site in sites}))}"


def _jobs(plan: DockingPlan, seed: int) -> list[Job]:
    """All that is done with a seed, in the order of the rows."""
    jobs: list[Job] = []
    for backbone in plan.backbones:
        jobs.append(Building(backbone=backbone.name, seed=seed))
        jobs += [
            Docking(backbone=backbone.name, module=module.name, arm=arm, seed=seed)
            for module in plan.modules
            for arm in plan.arms(backbone)
        ]
    return jobs


Demand = Generator[list[Job], list[Result], list[Result]]


def _of_seed(asking: Asking[Job], plan: DockingPlan, seed: int) -> Demand:
    """The first backbone, then what stands on it or shares with it, then the rest."""
    jobs, home = _jobs(plan, seed), plan.backbones[0].name
    yield from asking.all_of([Building(backbone=home, seed=seed)])
    yield from asking.all_of([job for job in jobs if isinstance(job, Building) or job.backbone == home])
    return (yield from asking.all_of(jobs))
