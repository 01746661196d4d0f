from collections.abc import Callable, Sequence
from math import log
from statistics import fmean
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float64, Int64

from saint.records import to_plain
from saint.statistics import Stratum, stratified_interval
from saint.studies._experts_bench import JOINT
from saint.studies._experts_plan import CompositionPlan, ExpertsPlan
from saint.studies._experts_study import ExpertsFindings, ExpertsOutcome

Row = dict[str, Any]
MIX = "mix"
"""The text of all experts, each domain counting the same."""

_IN_BITS = ("estimate", "low", "high", "standard_error", "standard_error_of_documents", "standard_error_of_seeds")


def make_composition_results(plan: CompositionPlan, found: ExpertsFindings) -> Row:
    """What the study says, as plain data: a row for each model, and the figures.

    Losses are nats per byte, the mean over seeds; what is saved is against the better part of the same group on the
    same text. Intervals are for other documents and seeds.
    """
    table, judged = _Table(found), found.judged
    return {
        "domains": list(found.domains),
        "unseen": [name for name in judged if name not in found.domains],
        "judged_bytes": {name: text.num_bytes for name, text in judged.items()},
        "rows": [table.row(outcome) for outcome in found.outcomes],
        "figures": _figures(plan, table),
    }


class _Losses(NamedTuple):
    """What models pay for the documents of one domain, one model for each seed."""

    nats: Float64[np.ndarray, "seeds documents"]
    num_bytes: Int64[np.ndarray, " documents"]

    @property
    def per_byte(self) -> float:
        """Nats, the mean over seeds."""
        return float(self.nats.sum(1).mean() / self.num_bytes.sum())


@final
class _Table:
    """Losses of all models, by group and name."""

    def __init__(self, found: ExpertsFindings) -> None:
        self.domains, self._judged = found.domains, found.judged
        self._outcomes = {(one.group, one.name): one for one in found.outcomes}

    def row(self, outcome: ExpertsOutcome) -> Row:
        """One model on every text."""
        row: Row = {"group": outcome.group, "name": outcome.name, "sort": outcome.sort}
        failures = {seed: one["failure"] for seed, one in outcome.results.items() if "failure" in one}
        row |= {"status": "diverged" if failures else "measured", "failures": {str(s): f for s, f in failures.items()}}
        if failures:
            return row
        results = list(outcome.results.values())
        return row | {
            "loss": {text: self.per_byte(outcome, text) for text in self.texts},
            "saved": {text: self.saved(self.best_part(outcome.group, text), outcome, text) for text in self.texts},
            "cost": results[0]["cost"],
            "train_tokens": round(fmean(one["train_tokens"] for one in results)),
            "train_s": fmean(one["train_s"] for one in results),
        }

    @property
    def texts(self) -> list[str]:
        """Every domain, and the mix of those that have experts."""
        return [*self.domains, MIX, *(name for name in self._judged if name not in self.domains)]

    def model(self, group: str | None, name: str) -> ExpertsOutcome | None:
        """One that was measured with every seed; None where there is none such."""
        found = self._outcomes.get((group or "", name))
        return None if found is None or any("failure" in one for one in found.results.values()) else found

    def best_part(self, group: str | None, text: str) -> ExpertsOutcome | None:
        """The expert of a group that is best on a text."""
        parts = [one for one in self._outcomes.values() if one.group == group and one.sort == "part"]
        there = [one for one in parts if self.model(one.group, one.name) is not None]
        return min(there, key=lambda one: self.per_byte(one, text), default=None)

    def losses(self, outcome: ExpertsOutcome, text: str) -> list[_Losses]:
        """On each domain of a text; of the mix these are all that have experts."""
        return [
            _Losses(
                np.asarray([one["nats"][name] for one in outcome.results.values()]), self._judged[name].num_bytes_each
            )
            for name in (self.domains if text == MIX else [text])
        ]

    def per_byte(self, outcome: ExpertsOutcome, text: str) -> float:
        """Nats, the mean over seeds and domains."""
        return fmean(one.per_byte for one in self.losses(outcome, text))

    def saved(self, before: ExpertsOutcome | None, after: ExpertsOutcome | None, text: str) -> Row | None:
        """Nats per byte, seed by seed and document by document; None where it is the same model or one is missing."""
        if before is None or after is None or before is after:
            return None
        pairs = zip(self.losses(before, text), self.losses(after, text), strict=True)
        return _interval([Stratum(was.nats, now.nats, now.num_bytes) for was, now in pairs])


def _interval(strata: Sequence[Stratum]) -> Row:
    plain: Row = to_plain(stratified_interval(strata))
    return {name: value * log(2) if name in _IN_BITS else value for name, value in plain.items()}


def _figures(plan: CompositionPlan, table: _Table) -> Row:
    """Name of a target -> interval, and what it is of; None where it could not be measured."""
    first, *others = plan.groups
    own = _named(others, lambda one: one.apart == "domains")
    chance = _named(others, lambda one: one.apart == "chance")

    def on_mix(group: str | None, way: str) -> Row | None:
        return table.saved(table.best_part(group, MIX), table.model(group, way), MIX)

    joint = table.saved(table.model(first.name, "posterior"), table.model(first.name, JOINT), MIX)
    return {
        "posterior_saves_on_mix": _of(on_mix(first.name, "posterior"), first.name),
        "logit_mean_saves_on_mix": _of(on_mix(first.name, "logit_mean"), first.name),
        "posterior_loses_at_home": _worst_at_home(table, first.name),
        "saves_with_own_embeddings": _of(on_mix(own, "posterior"), own),
        "domains_beat_chance": _of(_beyond(table, first.name, chance), f"{first.name} against {chance}"),
        "average_loses_on_mix": _of(_negated(on_mix(first.name, "weight_average")), first.name),
        "joint_beats_posterior": _of(joint, first.name),
    }


def _named(groups: Sequence[ExpertsPlan], wanted: Callable[[ExpertsPlan], bool]) -> str | None:
    return next((one.name for one in groups if wanted(one)), None)


def _of(interval: Row | None, what: str | None) -> Row | None:
    return None if interval is None else {**interval, "of": what}


def _negated(interval: Row | None) -> Row | None:
    if interval is None:
        return None
    return {**interval, "estimate": -interval["estimate"], "low": -interval["high"], "high": -interval["low"]}


def _worst_at_home(table: _Table, group: str) -> Row | None:
    """Where the posterior mixture loses most against the specialist of a text."""
    found = []
    for domain in table.domains:
        lost = _negated(table.saved(table.model(group, domain), table.model(group, "posterior"), domain))
        if lost is not None:
            found.append({**lost, "of": f"{group}, {domain}"})
    return max(found, key=lambda one: one["high"], default=None)


def _beyond(table: _Table, group: str, other: str | None) -> Row | None:
    """How much more a posterior mixture saves in one group than in another, against the better part of each."""
    mine, theirs = table.model(group, "posterior"), table.model(other, "posterior")
    best = table.best_part(group, MIX), table.best_part(other, MIX)
    if mine is None or theirs is None or best[0] is None or best[1] is None:
        return None
    models = (best[0], mine, best[1], theirs)
    each = zip(*(table.losses(model, MIX) for model in models), strict=True)
    return _interval(
        [
            Stratum(part.nats - other.nats + other_mix.nats, own_mix.nats, part.num_bytes)
            for part, own_mix, other, other_mix in each
        ]
    )
