"""What says, before a candidate is trained to the end, how much it will gain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from saint.candidates import num_params
from saint.records import Candidate
from saint.search import Result
from saint.studies._plan import StudyPlan
from saint.studies._statistics import Groups, Values

CHANCE = "random"
"""Also the name of the map that is a control."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A score for every candidate; the higher, the more gain is expected."""

    name: str
    sort: Literal["map", "short run", "control"]
    scores: Values
    steps: int = 0
    """Of each candidate's training that it needs."""


def make_guesses(
    plan: StudyPlan,
    candidates: Sequence[Candidate],
    scores: Mapping[str, Mapping[str, float]],
    trained: Mapping[int, Sequence[Result]],
    bare: Result,
) -> list[Guess]:
    """Every map, every short run, and what any guess has to beat: chance, and the number of parameters."""
    found = [Guess(name=name, sort=_sort(name), scores=_worths(candidates, of)) for name, of in scores.items()]
    for steps in sorted(plan.short):
        tokens = steps * plan.schedule.tokens_per_step
        by_seed = [[select_gain(result, bare, tokens) for result in results] for results in trained.values()]
        found.append(Guess(name=f"{steps} steps", sort="short run", scores=np.mean(by_seed, axis=0), steps=steps))
    sizes = np.array([num_params(candidate) for candidate in candidates], dtype=np.float64)
    found.append(Guess(name="number of parameters", sort="control", scores=sizes))
    found.append(Guess(name="chance, expected", sort="control", scores=np.zeros(len(candidates))))
    return found


def select_gain(result: Result, bare: Result, tokens: int) -> float:
    """Bits per byte saved on *select* by the best state that was seen within so many tokens; 0 of a run that failed."""
    if "failure" in result:
        return 0.0
    curve: list[tuple[int, float]] = result["select_bpb"]
    return float(bare["select_bpb"]) - min(bpb for learnt, bpb in curve if learnt <= tokens)


def groups_of(candidates: Sequence[Candidate]) -> tuple[Groups, list[str]]:
    """The number of each candidate's group, and the groups' names: a kind with options at sites of one role."""
    kinds = list(dict.fromkeys(_kind(candidate) for candidate in candidates))
    labels = [_label(candidate, len(kinds) > 1) for candidate in candidates]
    names = list(dict.fromkeys(labels))
    return np.array([names.index(label) for label in labels], dtype=np.int64), names


def _label(candidate: Candidate, several: bool) -> str:  # noqa: FBT001
    roles = {site.role if site.stream == "decoder" else f"{site.stream} {site.role}" for site in candidate.sites}
    role = roles.pop() if len(roles) == 1 else "several roles"
    return f"{role}, {_kind(candidate)}" if several else role


def _kind(candidate: Candidate) -> str:
    options: Mapping[str, Any] = candidate.options
    return " ".join([candidate.kind, *(f"{name}={value}" for name, value in sorted(options.items()))])


def _sort(name: str) -> Literal["map", "control"]:
    return "control" if name == CHANCE else "map"


def _worths(candidates: Sequence[Candidate], scores: Mapping[str, float]) -> Values:
    """The squared score, summed over a candidate's sites: what candidates are ranked by, before the price."""
    return np.array([sum(scores.get(site.key, 0.0) ** 2 for site in one.sites) for one in candidates])
