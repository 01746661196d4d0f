"""Ways to spend tokens on one decision, held against each other: what each finds, and what it costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float64

from saint.evaluation import repeated_interval
from saint.records import Candidate, RepeatedInterval
from saint.studies._guesses import Guess, select_gain
from saint.studies._plan import StudyPlan
from saint.studies._study import Findings


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """One way of growing, with what came of it on held-out text that it never looked at."""

    name: str
    num_params: tuple[int, ...]
    """Trained parameters of what it kept, with each seed."""
    train_tokens: int
    """Tokens that all its trainings learnt from, the mean over seeds."""
    gain_bpb: RepeatedInterval
    """Against the bare base."""


def choosing_strategies(
    plan: StudyPlan, found: Findings, guesses: Sequence[Guess], nats: Float64[np.ndarray, "seeds candidates documents"]
) -> list[Strategy]:
    """Train all and keep the best on *select*; or only those that a guess puts first.

    Args:
        nats: Held-out losses; those of the base for a training that failed.
    """
    judge = _Judge(plan, found, nats)
    everyone = range(len(found.candidates))
    strategies = [judge.keep_best(f"train all {len(everyone)}", [list(everyone)] * len(plan.seeds))]
    top = max(plan.top)
    for guess in guesses:
        if top < len(everyone) and guess.sort != "control":
            chosen = list(judge.first(guess, top))
            name = f"train the first {top} by {guess.name}" if guess.sort == "map" else f"halve after {guess.name}"
            strategies.append(judge.keep_best(name, chosen, steps=guess.steps))
    return [*strategies, *judge.sets(len(everyone))]


_OVERGROWN = {
    "leave-one-out": "overgrow, prune to {num} by leave-one-out",
    "taylor": "overgrow, prune to {num} by taylor",
    "chance": "overgrow, prune to {num} by chance",
}
_SET_WAYS = {
    "composed": "train all {all}, compose the best {num}",
    "joined": "train all {all}, join the best {num} and train on",
    "in stages": "train all {all}, then the best {num} in stages",
    **_OVERGROWN,
}
"""What came of it is called -> the way as it is written."""


@final
class _Judge:
    def __init__(
        self, plan: StudyPlan, found: Findings, nats: Float64[np.ndarray, "seeds candidates documents"]
    ) -> None:
        self._plan, self._found, self._nats = plan, found, nats
        self._seeds = list(found.trained)

    def first(self, guess: Guess, top: int) -> Iterator[list[int]]:
        """For each seed the candidates that a guess puts first; a short run guesses from that seed's own training."""
        for seed in self._seeds:
            scores = guess.scores
            if guess.sort == "short run":
                scores = np.array(self._select_gains(seed, guess.steps))
            yield np.argsort(-scores, kind="stable")[:top].tolist()

    def keep_best(self, name: str, trained: Sequence[Sequence[int]], *, steps: int = 0) -> Strategy:
        """Of those that were trained with each seed, the best on *select*, measured on held-out text.

        Args:
            steps: Of training that the others had.
        """
        kept = [self._best(seed, those) for seed, those in zip(self._seeds, trained, strict=True)]
        after = np.stack([self._nats[row, place] for row, place in enumerate(kept)])
        tokens = [self._tokens(seed, those, steps) for seed, those in zip(self._seeds, trained, strict=True)]
        return Strategy(
            name=name,
            num_params=tuple(
                self._result(seed, place, "num_params") for seed, place in zip(self._seeds, kept, strict=True)
            ),
            train_tokens=round(sum(tokens) / len(tokens)),
            gain_bpb=self._gain(after),
        )

    def sets(self, num_apart: int) -> Iterator[Strategy]:
        """Ways to come to several sites at once, which were trained for themselves."""
        found, plan = self._found.sets, self._plan.sets
        for way in _SET_WAYS if plan is not None and found else ():
            results = [found[seed].get(way, {"failure": "too few were trained"}) for seed in self._seeds]
            is_after = way not in _OVERGROWN
            apart = [self._tokens(seed, range(num_apart), 0) if is_after else 0 for seed in self._seeds]
            tokens = [int(one.get("train_tokens", 0)) + before for one, before in zip(results, apart, strict=True)]
            assert plan is not None
            yield Strategy(
                name=_SET_WAYS[way].format(num=plan.num, all=num_apart),
                num_params=tuple(int(one.get("num_params", 0)) for one in results),
                train_tokens=round(sum(tokens) / len(tokens)),
                gain_bpb=self._gain([one.get("held_out", self._found.bare["held_out"]) for one in results]),
            )

    def _gain(self, after: Any) -> RepeatedInterval:
        """Against the bare base.

        Args:
            after: Held-out losses, a row for each seed.
        """
        before = np.tile(self._found.bare["held_out"], (len(after), 1))
        return repeated_interval(before, np.array(after), self._found.data.held_out.num_bytes_each)

    def _best(self, seed: int, those: Sequence[int]) -> int:
        gains = self._select_gains(seed, self._plan.schedule.num_steps)
        return max(those, key=lambda place: gains[place])

    def _select_gains(self, seed: int, steps: int) -> list[float]:
        tokens = steps * self._plan.schedule.tokens_per_step
        return [select_gain(result, self._found.bare, tokens) for result in self._found.trained[seed]]

    def _tokens(self, seed: int, those: Sequence[int], steps: int) -> int:
        learnt = [self._result(seed, place, "train_tokens") for place in range(len(self._found.candidates))]
        short = steps * self._plan.schedule.tokens_per_step
        return sum(tokens if place in those else min(tokens, short) for place, tokens in enumerate(learnt))

    def _result(self, seed: int, place: int, key: str) -> int:
        """0 of a training that failed."""
        return int(self._found.trained[seed][place].get(key, 0))


def sites_of(candidate: Candidate) -> str:
    """Where a candidate is, in a few words."""
    return candidate.sites[0].key if len(candidate.sites) == 1 else f"{len(candidate.sites)} sites"
