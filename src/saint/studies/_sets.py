"""Ways to come to several sites at once: joined after training apart, in stages, or everywhere and then pruned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, final

import torch

from saint import records
from saint.data import Splits
from saint.errors import ConfigError
from saint.evaluation import Losses, site_by_site, taylor_by_site
from saint.grafts import Graft, joined, part_of
from saint.models import FrozenBase
from saint.records import Candidate
from saint.search import Result
from saint.training import Schedule, Trained

SetWay = Literal["joined", "in stages", "overgrown"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SetPlan:
    """Ways to come to several sites at once, each with the same number of them, held against each other."""

    num: int = 6
    """How many sites each way ends with."""
    strength: float = 0.5
    """What the best that were trained apart are multiplied by as they are joined."""
    joint_steps: int = 30
    """How long they are then trained together."""
    retrain_steps: int = 30
    """How long what is left of an overgrown graft is trained further."""
    lr: float | None = None
    """Peak learning rate of the overgrown graft; by default what its candidates' come to at all their sites."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.num < 2:
            raise ConfigError(f"sets.num is {self.num}; a set has at least 2 sites, or leave `sets` out")
        if not 0 < self.strength <= 1:
            raise ConfigError(f"sets.strength is {self.strength}; it must be above 0 and up to 1")
        for name in ("joint_steps", "retrain_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sets.{name} is {getattr(self, name)}; it must be at least 1")
        if self.lr is not None and self.lr <= 0:
            raise ConfigError(f"sets.lr is {self.lr}; it must be positive")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SetJob:
    """What is done in one go, and stored as one result: a result for each way that it tries."""

    way: SetWay
    candidates: tuple[Candidate, ...]
    """The best that were trained apart, best first; or the one that is everywhere."""


class Workplace(Protocol):
    """What a study has in one process."""

    base: FrozenBase
    data: Splits

    @property
    def schedule(self) -> Schedule:
        """Of a candidate's training."""

    @property
    def sets(self) -> SetPlan:
        """How sets are made."""

    @property
    def losses(self) -> Losses:
        """As held-out text is measured."""

    def measured(self, stack: Sequence[Graft], *, train_tokens: int) -> Result:
        """What a stack costs and pays for held-out text."""

    def train(
        self,
        candidates: Sequence[Candidate],
        *,
        stack: Sequence[Graft] = (),
        schedule: Schedule | None = None,
        starts: Mapping[str, Graft] | None = None,
    ) -> list[Trained]:
        """Each candidate on the bare base or a stack, in their order."""


def num_tokens_of(job: SetJob, schedule: Schedule, plan: SetPlan) -> int:
    """Tokens that a job learns from at most."""
    steps = {"joined": plan.joint_steps, "in stages": 0, "overgrown": len(_CHOICES) * plan.retrain_steps}[job.way]
    return len(job.candidates) * schedule.num_tokens + steps * schedule.tokens_per_step


def tokens_of_sets(schedule: Schedule, plan: SetPlan | None) -> int:
    """Tokens that all jobs of one seed learn from at most."""
    if plan is None:
        return 0
    steps = plan.joint_steps + len(_CHOICES) * plan.retrain_steps
    return (2 * plan.num + 1) * schedule.num_tokens + steps * schedule.tokens_per_step


def do_sets(place: Workplace, job: SetJob) -> dict[str, Result]:
    """Name of a way -> what came of it; tokens are those that were learnt from besides the candidates trained apart."""
    return {"joined": _joined, "in stages": _in_stages, "overgrown": _overgrown}[job.way](place, job)


def sites_everywhere(candidates: Sequence[Candidate], plan: SetPlan) -> Candidate:
    """One candidate at the sites of all of the first one's kind and options."""
    first = candidates[0]
    alike = [one for one in candidates if _kind(one) == _kind(first)]
    sites = {site.key: site for one in alike for site in one.sites}
    lr = first.lr * (len(first.sites) / len(sites)) ** 0.5 if plan.lr is None else plan.lr
    return replace(first, sites=tuple(sites.values()), lr=lr)


def best_apart(
    candidates: Sequence[Candidate], gains: Sequence[float], num: int, *, like: Candidate
) -> tuple[Candidate, ...]:
    """The candidates of one kind and options that gained most, at different sites, best first.

    Args:
        candidates: Those that did not fail.
        gains: Of these, on development text.
        like: Of this kind and with these options.
    """
    chosen: list[Candidate] = []
    taken: set[str] = set()
    for place in sorted(range(len(candidates)), key=lambda place: -gains[place]):
        keys = {site.key for site in candidates[place].sites}
        if len(chosen) < num and _kind(candidates[place]) == _kind(like) and not keys & taken:
            chosen.append(candidates[place])
            taken |= keys
    return tuple(chosen)


def _kind(candidate: Candidate) -> tuple[str, str]:
    return candidate.kind, records.digest(candidate.options)


def _joined(place: Workplace, job: SetJob) -> dict[str, Result]:
    """As a stack of what was trained apart, and as one graft that is trained further."""
    grafts = [one.graft for one in place.train(job.candidates) if one.graft is not None]
    if len(grafts) < place.sets.num:
        return {"composed": _FAILED, "joined": _FAILED}
    start = joined(grafts)
    start.set_strength(place.sets.strength)
    return {
        "composed": place.measured(grafts, train_tokens=0),
        "joined": _further(place, start, place.sets.joint_steps, 0),
    }


def _in_stages(place: Workplace, job: SetJob) -> dict[str, Result]:
    """Each trained on top of those before; the first is what it was apart."""
    stack: list[Graft] = []
    tokens = 0
    for number, candidate in enumerate(job.candidates):
        [one] = place.train([candidate], stack=stack)
        stack += [one.graft] if one.graft is not None else []
        tokens += one.train_tokens if number else 0
    return {"in stages": place.measured(stack, train_tokens=tokens) if len(stack) == place.sets.num else _FAILED}


def _overgrown(place: Workplace, job: SetJob) -> dict[str, Result]:
    """Trained everywhere, and pruned in each of the ways to choose what is left."""
    [whole] = place.train(job.candidates)
    if whole.graft is None:
        return dict.fromkeys(_CHOICES, _FAILED)
    found = {}
    for name, scores in _scores(place, whole.graft, job.candidates[0].seed):
        kept = sorted(scores, key=lambda key: -scores[key])[: place.sets.num]
        result = _further(place, part_of(whole.graft, kept), place.sets.retrain_steps, whole.train_tokens)
        found[name] = {**result, "kept": kept, "scores": scores}
    return found


_CHOICES = ("leave-one-out", "taylor", "chance")
_FAILED: Result = {"failure": "what it is made of failed to train"}


def _scores(place: Workplace, graft: Graft, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    select = place.data.select[place.data.grown_domain]
    worths = site_by_site(place.base, (), graft, select, losses=place.losses)
    yield "leave-one-out", {key: one.estimate for key, one in worths.items()}
    yield "taylor", taylor_by_site(place.base, (), graft, select, losses=place.losses)
    chance = torch.rand(len(worths), generator=torch.Generator().manual_seed(seed)).tolist()
    yield "chance", dict(zip(worths, chance, strict=True))


def _further(place: Workplace, start: Graft, num_steps: int, before: int) -> Result:
    """A graft trained further, on text in another order.

    Args:
        before: Tokens that are counted as well.
    """
    candidate = replace(start.candidate, seed=start.candidate.seed + 1)
    schedule = replace(place.schedule, num_steps=num_steps, fade_in=0.0)
    [one] = place.train([candidate], schedule=schedule, starts={records.digest(candidate): start})
    if one.graft is None:
        return {"failure": one.failure}
    return place.measured([one.graft], train_tokens=before + one.train_tokens)
