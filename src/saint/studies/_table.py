from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import log
from typing import Any, final

import numpy as np
from jaxtyping import Float64

from saint import records
from saint.candidates import num_params
from saint.evaluation import repeated_interval
from saint.studies._guesses import groups_of, make_guesses
from saint.studies._plan import StudyPlan
from saint.studies._statistics import (
    Estimate,
    Groups,
    Values,
    middle,
    rank_correlation,
    regret,
    resampled_candidates,
    resampled_gains,
)
from saint.studies._strategies import Strategy, choosing_strategies, sites_of
from saint.studies._study import Findings

VIEWS = ("all", "within role", "per parameter")


def make_results(plan: StudyPlan, found: Findings) -> dict[str, Any]:
    """What a study says, as plain data: candidates with gains, how well each guess ranks them, and strategies."""
    nats = held_out_nats(found)
    groups, names = groups_of(found.candidates)
    sizes = np.array([num_params(candidate) for candidate in found.candidates], dtype=np.float64)
    gains = _Gains(plan, found, nats, groups, sizes)
    guesses = make_guesses(plan, found.candidates, found.scores, found.trained, found.bare)
    rows = [{"guess": one.name, "sort": one.sort, "steps": one.steps, **gains.judge(one.scores)} for one in guesses]
    return {
        "candidates": list(_candidates(plan, found, nats, [names[group] for group in groups])),
        "scores": {one.name: one.scores.tolist() for one in guesses},
        "rows": [*rows, {"guess": "another seed", "sort": "control", "steps": 0, **gains.ceiling()}],
        "strategies": _with_shares(choosing_strategies(plan, found, guesses, nats)),
        "figures": make_figures(rows, plan.schedule.num_steps),
    }


def _with_shares(strategies: Sequence[Strategy]) -> list[dict[str, Any]]:
    """As plain data, with the tokens as a share of the first's, which trains everything."""
    first = max(strategies[0].train_tokens, 1)
    return [{**records.to_plain(one), "share_of_tokens": one.train_tokens / first} for one in strategies]


def held_out_nats(found: Findings) -> Float64[np.ndarray, "seeds candidates documents"]:
    """Of each training; a failed one leaves the base as it was."""
    bare = found.bare["held_out"]
    return np.array([[result.get("held_out", bare) for result in results] for results in found.trained.values()])


def make_figures(rows: Sequence[Mapping[str, Any]], num_steps: int) -> dict[str, Any]:
    """The figures that a study can be asked for, each with the guess that it is of; None where it was not measured."""
    maps = [row for row in rows if row["sort"] == "map"]
    third = [row for row in rows if row["sort"] == "short run" and 3 * row["steps"] == num_steps]
    return {
        "best_map_spearman_within_role": _extreme(maps, lambda row: row["views"]["within role"]["spearman"], sign=1),
        "short_run_third_spearman": _extreme(third, lambda row: row["views"]["all"]["spearman"], sign=1),
        "best_map_top6_regret": _extreme(maps, lambda row: row["views"]["all"]["regret"].get("6"), sign=-1),
    }


def _extreme(rows: Sequence[Mapping[str, Any]], value: Any, *, sign: int) -> dict[str, Any] | None:
    known = [(value(row)["estimate"], row["guess"]) for row in rows if value(row) is not None]
    if not known:
        return None
    best, guess = max(known, key=lambda pair: sign * pair[0])
    return {"value": best, "guess": guess}


def _candidates(
    plan: StudyPlan, found: Findings, nats: Float64[np.ndarray, "seeds candidates documents"], labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    before = np.tile(found.bare["held_out"], (len(plan.seeds), 1))
    for place, candidate in enumerate(found.candidates):
        failures = {
            str(seed): each[place]["failure"] for seed, each in found.trained.items() if "failure" in each[place]
        }
        gain = repeated_interval(before, nats[:, place], found.data.held_out.num_bytes_each)
        yield {
            "where": sites_of(candidate),
            "kind": candidate.kind,
            "options": records.to_plain(candidate.options),
            "group": labels[place],
            "depth": candidate.sites[0].depth,
            "lr": candidate.lr,
            "num_params": num_params(candidate),
            "gain_bpb": records.to_plain(gain),
            "failures": failures,
        }


@final
@dataclass(frozen=True, slots=True)
class _View:
    """One way to hold scores against gains."""

    groups: Groups | None
    prices: Values
    """What both are divided by."""


@final
class _Gains:
    """The gains of all candidates, for one guess after the other to be held against the same resamples."""

    def __init__(
        self,
        plan: StudyPlan,
        found: Findings,
        nats: Float64[np.ndarray, "seeds candidates documents"],
        groups: Groups,
        sizes: Values,
    ) -> None:
        num_bytes = found.data.held_out.num_bytes_each
        saved = (np.array(found.bare["held_out"]) - nats) / log(2)
        self._by_seed = saved.sum(-1) / float(num_bytes.sum())
        self._gains = self._by_seed.mean(0)
        self._resampled = resampled_gains(saved, num_bytes, plan.num_resamples, plan.seed)
        self._top = plan.top
        ones = np.ones(len(sizes))
        self._views = dict(zip(VIEWS, (_View(None, ones), _View(groups, ones), _View(None, sizes)), strict=True))
        draws = {
            name: list(resampled_candidates(len(sizes), plan.num_resamples, plan.seed, view.groups))
            for name, view in self._views.items()
        }
        self._draws: dict[str, list[Groups]] = draws

    def judge(self, scores: Values) -> dict[str, Any]:
        """How well scores order the mean gains over all seeds, in every view."""
        views = {}
        for name, view in self._views.items():
            worth, gains = scores / view.prices, self._gains / view.prices
            views[name] = {
                "spearman": _plain(self._correlation(name, worth, gains)),
                "regret": {
                    str(top): _plain(
                        middle(
                            float(regret(worth, gains, top, view.groups)),
                            regret(worth, self._resampled / view.prices, top, view.groups),
                        )
                    )
                    for top in self._top
                },
            }
        return {"views": views}

    def ceiling(self) -> dict[str, Any]:
        """How well the gains with one seed order those with another, over all pairs: what a guess can reach."""
        views = {}
        for name, view in self._views.items():
            gains = self._by_seed / view.prices
            pairs = list(permutations(range(len(gains)), 2))
            correlations = [
                found for a, b in pairs if a < b if (found := self._correlation(name, gains[a], gains[b])) is not None
            ]
            views[name] = {
                "spearman": _plain(_mean(correlations)),
                "regret": {
                    str(top): _plain(
                        middle(float(np.mean([regret(gains[a], gains[b], top, view.groups) for a, b in pairs])), [])
                    )
                    for top in self._top
                },
            }
        return {"views": views}

    def _correlation(self, name: str, scores: Values, gains: Values) -> Estimate | None:
        groups = self._views[name].groups
        if len(np.unique(scores)) == 1:  # chance, whose rank correlation is expected to be this
            return Estimate(estimate=0.0)
        again: list[float | None] = [
            rank_correlation(scores[places], gains[places], None if groups is None else groups[places])
            for places in self._draws[name]
        ]
        return middle(rank_correlation(scores, gains, groups), again)


def _mean(estimates: Sequence[Estimate]) -> Estimate | None:
    """Of several pairs of seeds; with one pair its own interval."""
    if len(estimates) == 1:
        return estimates[0]
    return Estimate(estimate=float(np.mean([one.estimate for one in estimates]))) if estimates else None


def _plain(estimate: Estimate | None) -> Any:
    return None if estimate is None else records.to_plain(estimate)
