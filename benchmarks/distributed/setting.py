"""What every group is measured on, and how much of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

from benchmarks.search.base import splits, text_folder, trained_base
from benchmarks.search.setting import Setting as SearchSetting
from saint.candidates import Proposal
from saint.data import DataPlan
from saint.growth import Controls, Hands, Plan, brief_for, open_data, opening, start
from saint.growth._journal import Journal
from saint.growth._trial import Trial
from saint.judging import Judging
from saint.models import FrozenBase
from saint.progress import Silent
from saint.records import Budget, Candidate
from saint.registry import Registry
from saint.search import Processes
from saint.training import Schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One run of the benchmarks; `tiny` shows in a minute that they work, and its ratios mean nothing."""

    work: Path
    """Where text and base are kept from one run to the next."""
    scratch: Path
    """A folder for registries, which goes afterwards."""
    size: Literal["full", "tiny"] = "full"
    cores: Sequence[int] = tuple(sorted(os.sched_getaffinity(0)))

    @property
    def search(self) -> SearchSetting:
        """The base and the text are those of the benchmarks of the search."""
        return SearchSetting(work=self.work, size=self.size)

    @property
    def num_steps(self) -> int:
        """Of a trial: about ten seconds of one core."""
        return 60 if self.size == "full" else 4

    @property
    def schedule(self) -> Schedule:
        """Of a trial."""
        search = self.search
        return Schedule(
            num_steps=self.num_steps,
            batch_size=search.batch_size,
            seq_len=search.seq_len,
            evaluate_every=max(1, self.num_steps // 2),
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A registry that is about to grow, and what it grows from."""

    registry: Registry
    base: FrozenBase
    plan: Plan
    journal: Journal

    def hands(self, number: int) -> tuple[Hands, Processes]:
        """Worker processes for it."""
        brief = brief_for(self.registry, self.base, self.plan, num_sharing=number)
        processes = Processes(opening(brief, quieten))
        return Hands(self.registry, brief, processes, number), processes

    def trials(self, seeds: Sequence[int], depth: int) -> list[Trial]:
        """Candidates that differ in their seed only, so that each is as much work as the other."""
        site = next(site for site in self.base.sites() if site.role == "q" and site.depth == depth)
        candidates = [Candidate(sites=(site,), kind="lora", options={"rank": 4}, lr=5e-3, seed=seed) for seed in seeds]
        return [Trial(candidate=candidate, stack=(), schedule=self.plan.schedule) for candidate in candidates]


def site_for(setting: Setting, name: str, *, base: FrozenBase | None = None, **changes: Any) -> Site:
    """A new registry on the common base."""
    data = splits(setting.search)
    base = base or trained_base(setting.search, data)
    plan = replace(plan_for(setting), **changes)
    registry = start(setting.scratch / name, base, plan, root=setting.work)
    return Site(
        registry=registry,
        base=base,
        plan=plan,
        journal=Journal(registry, base, open_data(registry, plan, base), plan, Silent()),
    )


def plan_for(setting: Setting) -> Plan:
    """Growth of a few rounds without controls."""
    gates = {
        "gain": {"at_least_bpb": 0.001, "at_most_heavy": 0.5},
        "retention": {"at_most_bpb": 1.0, "at_most_heavy": 0.5},
        "rollback": {},
    }
    return Plan(
        name="distributed",
        data=DataPlan(prepared=str(text_folder(setting.search).resolve())),
        budget=Budget(num_params=10**9, train_tokens=10**12),
        proposals=(Proposal(kind="lora", options={"rank": 4}, bundle="site", lr=5e-3),),
        gates=gates,
        judging=Judging(alpha=0.2),  # so that some of what little text there is comes to stand
        rounds=2,
        candidates_per_round=6 if setting.size == "full" else 3,
        evaluation_seq_len=setting.search.seq_len,
        schedule=setting.schedule,
        controls=Controls(after="never"),
    )


def quieten() -> None:
    """Keep the libraries' own bars off the terminal."""
    from saint.cli._terminal import quieten as quieten_libraries

    quieten_libraries()
