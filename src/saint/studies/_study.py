from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

from saint import records
from saint.candidates import propose
from saint.data import Splits
from saint.errors import ConfigError, DataError
from saint.models import FrozenBase, must_read
from saint.progress import Progress, Silent, Task
from saint.records import Budget, Candidate, SensitivityMap, Site
from saint.search import Result
from saint.studies._asking import workers_at
from saint.studies._bench import Bench, Cohort, Materials
from saint.studies._guesses import select_gain
from saint.studies._plan import StudyPlan
from saint.studies._sets import SetJob, best_apart, num_tokens_of, sites_everywhere, tokens_of_sets
from saint.training import check_tokenizer

_FEWEST_CANDIDATES = 3
_TOGETHER = 8
_NO_LIMIT = 1 << 52


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a study has found, before it is made into numbers about guesses."""

    base: FrozenBase
    data: Splits
    bare: Result
    """The losses of the bare base."""
    candidates: list[Candidate]
    """With the first seed."""
    trained: dict[int, list[Result]]
    """Seed -> what came of each candidate."""
    scores: dict[str, dict[str, float]]
    """Map -> site key -> score."""
    num_known: int
    """Trainings that an earlier run had done."""
    sets: dict[int, dict[str, Result]] = field(default_factory=dict)
    """Seed -> way to come to several sites at once -> what came of it; empty if the plan wants none."""


def study(
    plan: StudyPlan,
    materials: Materials,
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
) -> Findings:
    """Train every candidate to the end with every seed, and measure all maps and each gain.

    Maps see the train split, trainings that and *select*, gains are of the held-out split. Each finished training is on
    the disk before the next is measured, so that a study which was stopped or killed goes on from there when it is
    called again with the same arguments.

    Args:
        prepare: A function of a module, called first in each worker process.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        ConfigError, DataError, SiteError: Base, text and plan do not fit together.
        WorkerError: A process died.
    """
    progress = progress or Silent()
    bench = Bench(materials, plan)
    check_materials(plan, bench.base, bench.data)
    candidates = candidates_of(plan, bench.base.sites())
    bare, scores = bench.bare(), bench.scores()
    wanted = {seed: [replace(candidate, seed=seed) for candidate in candidates] for seed in plan.seeds}
    missing = {seed: [one for one in all_ if bench.result(one) is None] for seed, all_ in wanted.items()}
    num_known = sum(map(len, wanted.values())) - sum(map(len, missing.values()))
    cohorts = [cohort for seed in plan.seeds for cohort in _cohorts(missing[seed])]
    total = len(plan.seeds) * (len(candidates) * plan.schedule.num_tokens + tokens_of_sets(plan.schedule, plan.sets))
    with (
        workers_at(partial(Bench, materials, plan), num_workers, prepare) as workers,
        progress.task("training every candidate", total=total, unit="tokens") as task,
    ):
        meter = _Meter(task, plan)
        task.advance(num_known * plan.schedule.num_tokens)
        workers.fulfil([_all(bench, cohorts, wanted)], tell=meter.tell, done=meter.done)
    return Findings(
        base=bench.base,
        data=bench.data,
        bare=bare,
        candidates=candidates,
        trained={seed: [_known(bench, one) for one in all_] for seed, all_ in wanted.items()},
        scores=scores,
        num_known=num_known,
        sets={seed: _found(bench, jobs) for seed, jobs in _set_jobs(bench, wanted).items()},
    )


def check_materials(plan: StudyPlan, base: FrozenBase, data: Splits) -> None:
    """Refuse a base, text or plan that do not fit together, before anything is trained.

    Raises:
        BaseModelError, ConfigError, DataError, SiteError: They do not; the message says why.
    """
    must_read(base.model.config, plan.schedule.seq_len)
    data.train.batches(batch_size=plan.schedule.batch_size, seq_len=plan.schedule.seq_len, seed=0)
    for name in (f"{data.grown_domain}/select", f"{data.grown_domain}/held_out"):
        if name not in data.corpora:
            raise DataError(f"the text has no {name}, which a study needs; give that domain the split")
    if (there := data.held_out.num_documents) < 2:
        raise DataError(f"an interval needs at least 2 held-out documents, got {there}; give more text")
    check_tokenizer(base, data)
    candidates_of(plan, base.sites())


def candidates_of(plan: StudyPlan, sites: Sequence[Site]) -> list[Candidate]:
    """All candidates of the plan's proposals, with its first seed, in the order of depth: neighbours share a prefix.

    Raises:
        ConfigError: There are too few to be ranked.
        SiteError: A proposal does not fit the base's sites.
    """
    everything = Budget(num_params=_NO_LIMIT, train_tokens=_NO_LIMIT)
    none = SensitivityMap(method="none", scores={})
    found = propose(sites, none, plan.proposals, everything, top=_NO_LIMIT, seed=plan.seeds[0])
    if len(found) < _FEWEST_CANDIDATES:
        raise ConfigError(
            f"the proposals make {len(found)} candidates, and a ranking needs at least {_FEWEST_CANDIDATES}; "
            'propose at each site with bundle = "site"'
        )
    place = {site.key: number for number, site in enumerate(sites)}
    found.sort(key=lambda one: min(place[site.key] for site in one.sites))
    if plan.sets is not None and (there := len(sites_everywhere(found, plan.sets).sites)) <= plan.sets.num:
        raise ConfigError(
            f"sets.num is {plan.sets.num}, and the candidates like the first one are at {there} sites; lower it"
        )
    return found


def _cohorts(candidates: Sequence[Candidate]) -> Iterable[Cohort]:
    for start in range(0, len(candidates), _TOGETHER):
        yield Cohort(candidates=tuple(candidates[start : start + _TOGETHER]))


def _all(
    bench: Bench, cohorts: list[Cohort], wanted: Mapping[int, Sequence[Candidate]]
) -> Generator[list[Any], list[Result], None]:
    """Candidates apart, and then what is made of the best of them."""
    if cohorts:
        yield cohorts
    jobs = [job for of_seed in _set_jobs(bench, wanted).values() for job in of_seed]
    if missing := [job for job in jobs if bench.store.read(bench.name_of(job)) is None]:
        yield missing


def _set_jobs(bench: Bench, wanted: Mapping[int, Sequence[Candidate]]) -> dict[int, list[SetJob]]:
    """Seed -> what is to be made of candidates that were all trained with it."""
    if (plan := bench.plan.sets) is None:
        return {}
    jobs = {}
    for seed, candidates in wanted.items():
        finished = [one for one in candidates if "failure" not in _known(bench, one)]
        gains = [select_gain(_known(bench, one), bench.bare(), bench.schedule.num_tokens) for one in finished]
        jobs[seed] = [SetJob(way="overgrown", candidates=(sites_everywhere(candidates, plan),))]
        best = best_apart(finished, gains, plan.num, like=candidates[0])
        if len(best) == plan.num:
            jobs[seed] += [SetJob(way=way, candidates=best) for way in ("joined", "in stages")]
    return jobs


def _found(bench: Bench, jobs: Sequence[SetJob]) -> dict[str, Result]:
    """Way -> what came of it, of jobs that are done."""
    return {way: result for job in jobs for way, result in (bench.store.read(bench.name_of(job)) or {}).items()}


def _known(bench: Bench, candidate: Candidate) -> Result:
    found = bench.result(candidate)
    assert found is not None  # its cohort is done
    return found


@final
class _Meter:
    """Counts each training as the same number of tokens, also one that stops early."""

    def __init__(self, task: Task, plan: StudyPlan) -> None:
        self._task, self._plan = task, plan
        self._heard: dict[str, int] = {}

    def tell(self, job: Cohort | SetJob, num_tokens: int) -> None:
        """Report tokens that were learnt from for a job."""
        if num_tokens:
            name = records.digest(job)
            self._heard[name] = self._heard.get(name, 0) + num_tokens
        self._task.advance(num_tokens)

    def done(self, job: Cohort | SetJob) -> None:
        """Report a job as learnt to the end."""
        self.tell(job, max(0, self._asked(job) - self._heard.get(records.digest(job), 0)))

    def _asked(self, job: Cohort | SetJob) -> int:
        if isinstance(job, SetJob) and self._plan.sets is not None:
            return num_tokens_of(job, self._plan.schedule, self._plan.sets)
        return self._plan.schedule.num_tokens * len(job.candidates)
