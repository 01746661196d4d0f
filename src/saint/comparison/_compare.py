from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import final

import torch

from saint import records
from saint.comparison._bench import Bench, Job, Materials, Trial, whole_domain
from saint.comparison._code import code_digest
from saint.comparison._entries import Entry, make_entries
from saint.comparison._plan import ComparisonPlan
from saint.comparison._tuning import best_rate, rates_to_try
from saint.data import Splits
from saint.errors import DataError
from saint.models import FrozenBase, must_read
from saint.progress import Progress, Silent, Task
from saint.records import Candidate
from saint.search import Result, Workers
from saint.sensitivity import measure_sensitivity
from saint.training import check_tokenizer


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one arm at one budget."""

    entry: Entry
    tried: dict[float, Result]
    """Learning rate -> its training with the first seed."""
    lr: float | None
    """The best of them on *select*; None when every one diverged, or nothing fitted."""
    trained: dict[int, Result]
    """Seed -> its training at that rate."""
    measured: dict[int, Result]
    """Seed -> what was measured afterwards; the same as `trained` for a run that diverged."""

    @property
    def train_s(self) -> float | None:
        """The median of its trainings' seconds, tries and seeds alike; None where no clock has all of any of them."""
        first = next(iter(self.trained), None)  # its training is among those that were tried
        again = [result for seed, result in self.trained.items() if seed != first]
        found = [result.get("train_s") for result in (*self.tried.values(), *again)]
        known = [seconds for seconds in found if seconds is not None]
        return float(median(known)) if known else None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a comparison has found, before it is made into a table."""

    base: FrozenBase
    data: Splits
    bare: Result
    """The losses of the bare base."""
    outcomes: list[Outcome]
    num_jobs: int
    num_known: int
    """Jobs that an earlier run had done."""


def compare(
    plan: ComparisonPlan,
    materials: Materials,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> Findings:
    """Give every arm every budget, tune its learning rate on *select*, and measure it with every seed on held-out text.

    Each finished piece of work is on the disk before the next begins, so that a comparison which was stopped or killed
    goes on from there when it is called again with the same arguments.

    Args:
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        BudgetError, SiteError: An arm fits no budget or no site.
        ConfigError, DataError: Base, text and plan do not fit together.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = Bench(materials, plan)
    check_materials(plan, bench.base, bench.data)
    entries = make_entries(plan, bench.base.sites(), bench.base.num_params, _scores(bench, progress))
    archive = Archive(bench)
    trials = (plan.tries + len(plan.seeds) - 1) * len({_work(entry) for entry in entries if entry.can_learn})
    with (
        Workers(num_workers, partial(_open_bench, materials, plan, prepare)) as workers,
        progress.task("comparing", total=trials * plan.schedule.num_tokens, unit="tokens") as task,
    ):
        meter = _Meter(task, plan.schedule.num_tokens)
        archive.found = meter.done
        demands = [_bare(archive), *(tune_and_measure(entry, archive) for entry in entries)]
        bare, *outcomes = workers.fulfil(demands, tell=meter.tell, done=meter.done)
    return Findings(
        base=bench.base,
        data=bench.data,
        bare=bare,
        outcomes=outcomes,
        num_jobs=archive.num_jobs,
        num_known=archive.num_known,
    )


def _open_bench(
    materials: Materials, plan: ComparisonPlan, prepare: Callable[[], None] | None, progress: Progress
) -> Bench:
    """What a worker process loads; it has one thread, for processes share the cores better than threads do."""
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    return Bench(materials, plan, progress)


def check_materials(plan: ComparisonPlan, base: FrozenBase, data: Splits) -> None:
    """Refuse a base, text or plan that do not fit together, before anything is trained.

    Raises:
        BaseChangedError, BaseModelError, ConfigError, DataError: They do not; the message says why.
        BudgetError, SiteError: An arm fits no budget or no site.
    """
    must_read(base.model.config, plan.schedule.seq_len)
    data.train.batches(batch_size=plan.schedule.batch_size, seq_len=plan.schedule.seq_len, seed=0)
    for name in (f"{data.grown_domain}/select", f"{data.grown_domain}/held_out"):
        if name not in data.corpora:
            raise DataError(f"the text has no {name}, which tuning and measuring need; give that domain the split")
    check_tokenizer(base, data)
    for arm in plan.arms:
        if arm.whole:
            whole_domain(data, arm.whole)
    make_entries(plan, base.sites(), base.num_params, {})


def _scores(bench: Bench, progress: Progress) -> dict[str, float]:
    """The sensitivity map; measured once, since another number of threads may rank two sites the other way round."""
    plan = bench.plan
    measure = partial(
        measure_sensitivity,
        bench.base,
        bench.data.train,
        method=plan.sensitivity.method,
        num_batches=plan.sensitivity.num_batches,
        batch_size=plan.schedule.batch_size,
        seq_len=plan.schedule.seq_len,
        seed=plan.seed,
    )
    about = {
        "sensitivity": measure.keywords,
        "base": bench.base.digest,
        "text": bench.data.train.digest,
        "code": code_digest(),
    }
    measured = bench.store.once(records.digest(about), lambda: measure(progress=progress))
    scores: dict[str, float] = measured["scores"]
    return scores


def _work(entry: Entry) -> str:
    """The same for two entries that train the same trials."""
    arm = entry.arm
    return records.digest([arm.kind, arm.whole, arm.lr, entry.filling, list(entry.drawn.values())])


@final
class Archive:
    """Answers what an earlier run has answered, and keeps count."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.num_jobs = self.num_known = 0
        self._made: set[str] = set()
        self.found: Callable[[Job], None] = lambda job: None  # noqa: ARG005 - nobody watches yet

    def ask(self, jobs: list[Job]) -> Generator[list[Job], list[Result], list[Result]]:
        """The results of `jobs`, of which only those that are missing are demanded."""
        known = {place: found for place, job in enumerate(jobs) if (found := self.bench.result(job)) is not None}
        for place in known:
            self.found(jobs[place])
        missing = [place for place in range(len(jobs)) if place not in known]
        made = (yield [jobs[place] for place in missing]) if missing else []
        self._made |= {self.bench.digest(jobs[place]) for place in missing}
        self.num_jobs += len(jobs)
        self.num_known += sum(self.bench.digest(jobs[place]) not in self._made for place in known)
        answered = known | dict(zip(missing, made, strict=True))
        return [answered[place] for place in range(len(jobs))]


def _bare(archive: Archive) -> Generator[list[Job], list[Result], Result]:
    [result] = yield from archive.ask([Job(trial=None, step="measure")])
    return result


def tune_and_measure(entry: Entry, archive: Archive) -> Generator[list[Job], list[Result], Outcome]:
    """Tune one arm at one budget, then train and measure it with every seed; the tuned run is the first seed's."""
    plan, bench = archive.bench.plan, archive.bench
    tried: dict[float, Result] = {}
    if not entry.can_learn:
        return Outcome(entry=entry, tried={}, lr=None, trained={}, measured={})
    while rates := rates_to_try(entry.arm.lr, plan.tries, scores_of(tried)):
        jobs = [Job(trial=_trial(entry, bench.data, lr, plan.seeds[0]), step="train") for lr in rates]
        tried |= dict(zip(rates, (yield from archive.ask(jobs)), strict=True))
    lr = best_rate(scores_of(tried))
    for other in tried:
        if other != lr:
            bench.forget(_trial(entry, bench.data, other, plan.seeds[0]))
    if lr is None:
        return Outcome(entry=entry, tried=tried, lr=None, trained={}, measured={})
    trials = [_trial(entry, bench.data, lr, seed) for seed in plan.seeds]
    measured = yield from archive.ask([Job(trial=trial, step="measure") for trial in trials])
    trained = [bench.result(Job(trial=trial, step="train")) or {} for trial in trials]
    for trial in trials:
        bench.forget(trial)
    return Outcome(
        entry=entry,
        tried=tried,
        lr=lr,
        trained=dict(zip(plan.seeds, trained, strict=True)),
        measured=dict(zip(plan.seeds, measured, strict=True)),
    )


def scores_of(tried: dict[float, Result]) -> dict[float, float | None]:
    """Learning rate -> bits per byte on *select*, None for a run that diverged."""
    return {rate: result.get("select_bpb") for rate, result in tried.items()}


def _trial(entry: Entry, data: Splits, lr: float, seed: int) -> Trial:
    if entry.filling is None:
        return Trial(domain=whole_domain(data, entry.arm.whole), lr=lr, seed=seed)
    filling = entry.drawn.get(seed, entry.filling)
    candidate = Candidate(sites=filling.sites, kind=entry.arm.kind, options=filling.options, lr=lr, seed=seed)
    return Trial(candidate=candidate, lr=lr, seed=seed)


@final
class _Meter:
    """Counts each trial as the same number of tokens, whether it is learnt, known, or stops early."""

    def __init__(self, task: Task, num_tokens: int) -> None:
        self._task, self._num_tokens = task, num_tokens
        self._heard: dict[str, int] = {}

    def tell(self, job: Job, num_tokens: int) -> None:
        if num_tokens:
            name = records.digest(job.trial)
            self._heard[name] = self._heard.get(name, 0) + num_tokens
        self._task.advance(num_tokens)

    def done(self, job: Job) -> None:
        if job.trial is not None:
            self.tell(job, self._num_tokens - self._heard.get(records.digest(job.trial), 0))
