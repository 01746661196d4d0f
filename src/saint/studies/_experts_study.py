from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, final

from saint.data import Corpus, Splits
from saint.errors import ConfigError, DataError
from saint.models import must_read
from saint.progress import Progress, Silent
from saint.search import Result
from saint.studies._asking import Asking, fulfilled, workers_at
from saint.studies._experts_bench import JOINT, JOINT_SHORT, Composing, ExpertsBench, Learning
from saint.studies._experts_plan import CompositionPlan, ExpertsPlan
from saint.training import model_config

Sort = Literal["part", "mixture", "average", "joint"]
Job = Learning | Composing


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsOutcome:
    """What came of one model, with every seed."""

    group: str
    name: str
    sort: Sort
    results: Mapping[int, Result] = field(default_factory=dict)
    """Seed -> result."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsFindings:
    """All that such a study has found."""

    data: Splits
    domains: list[str]
    """Those that have an expert each; the others are unseen."""
    judged: Mapping[str, Corpus]
    """Domain -> the text that all models are measured on."""
    outcomes: list[ExpertsOutcome]
    num_known: int
    """Jobs that an earlier run had done."""


def study_composition(
    plan: CompositionPlan,
    data: Path,
    cells: Path,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> ExpertsFindings:
    """Train experts, compose them in all ways, and measure; each result is on the disk before the next.

    What was stopped or killed goes on where it was when it is called again with the same arguments.

    Args:
        data: Prepared splits.
        cells: Where results go, and experts.
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        ConfigError, DataError: Text and plan do not fit together.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = ExpertsBench(data, cells, plan)
    check_composition(plan, bench.data)
    asking = Asking[Job](bench)
    demands = [_of_group(asking, bench, group, seed) for group in plan.groups for seed in plan.seeds]
    with (
        workers_at(partial(ExpertsBench, data, cells, plan), num_workers, prepare) as workers,
        progress.task("training experts and composing them", total=None, unit="tokens") as task,
    ):
        found = fulfilled(demands, workers, task)
    each = iter(found)
    outcomes = [outcome for _ in plan.groups for outcome in _by_seed({seed: next(each) for seed in plan.seeds})]
    return ExpertsFindings(
        data=bench.data,
        domains=bench.domains,
        judged=bench.judged,
        outcomes=outcomes,
        num_known=asking.num_known,
    )


def check_composition(plan: CompositionPlan, data: Splits) -> None:
    """Refuse text and a plan that do not fit together, before anything is trained.

    Raises:
        ConfigError, DataError: They do not; the message says why.
    """
    taught = [name for name, role in data.roles.items() if role != "safety"]
    if len(taught) < 2:
        raise DataError(
            f"experts need at least 2 domains to learn from, got {', '.join(taught) or 'none'}; give two of role "
            "'retain'"
        )
    for domain in taught:
        for split in ("train", "select"):
            data.of(domain, split)
    for group in plan.groups:
        config = model_config(group.architecture, group.model, data.tokenizer)
        must_read(config, plan.schedule.seq_len)
        if "gate" in group.ways:
            must_read(config, plan.gate.schedule.seq_len)
        if group.apart == "chance" and any(name.startswith("part ") for name in taught):
            raise ConfigError("a domain's name begins with 'part ', as those of experts by chance do; rename it")


Demand = Generator[list[Job], list[Result], list[tuple[str, str, Sort, Result]]]


def _of_group(asking: Asking[Job], bench: ExpertsBench, group: ExpertsPlan, seed: int) -> Demand:
    """The experts and the joint models, then what is composed of the experts."""
    parts = bench.parts(group)
    joint = [JOINT, JOINT_SHORT] if group.joint else []
    learning: list[Job] = [Learning(group=group.name, part=name, seed=seed) for name in (*parts, *joint)]
    composing: list[Job] = [Composing(group=group.name, way=way, seed=seed) for way in group.ways]
    learnt = yield from asking.all_of(learning)
    composed = (yield from asking.all_of(composing)) if composing else []
    sorts: list[Sort] = ["part" for _ in parts]
    sorts += ["joint" for _ in joint]
    sorts += ["average" if way == "weight_average" else "mixture" for way in group.ways]
    names = [*parts, *joint, *group.ways]
    rows = zip(names, sorts, [*learnt, *composed], strict=True)
    return [(group.name, name, sort, result) for name, sort, result in rows]


def _by_seed(found: Mapping[int, list[tuple[str, str, Sort, Result]]]) -> list[ExpertsOutcome]:
    """The models of a group, each with the results of all its seeds."""
    first = next(iter(found.values()))
    return [
        ExpertsOutcome(
            group=group, name=name, sort=sort, results={seed: rows[place][3] for seed, rows in found.items()}
        )
        for place, (group, name, sort, _) in enumerate(first)
    ]
