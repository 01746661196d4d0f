"""The rows of the matrix before anything is trained: which arm spends which budget on what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from saint import discovery
from saint.candidates import Filling, Preference, fill_budget
from saint.comparison._plan import ArmPlan, ComparisonPlan
from saint.errors import BudgetError, SiteError
from saint.grafts import Kind
from saint.records import Site


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One arm at one budget."""

    arm: ArmPlan
    budget: float | None
    """Share of the base's parameters; None for the whole base."""
    num_params_allowed: int
    filling: Filling | None
    """How the budget is spent (with the first seed); None for the whole base, and where nothing fits."""
    drawn: Mapping[int, Filling] = field(default_factory=dict)
    """Of an arm at random sites: run seed -> how the budget is spent at the sites that were drawn for it."""

    @property
    def can_learn(self) -> bool:
        """Whether there is anything to train."""
        return self.filling is not None or bool(self.arm.whole)


def make_entries(
    plan: ComparisonPlan, sites: Sequence[Site], base_params: int, scores: Mapping[str, float]
) -> list[Entry]:
    """Every arm at every budget, and each whole base once, in the plan's order.

    Args:
        base_params: Parameters of the base, which budgets are shares of.
        scores: Site key -> sensitivity. Whether an arm fits a budget does not depend on it.

    Raises:
        BudgetError: An arm fits none of the budgets.
        SiteError: An arm's kind cannot be at any of its sites, or a role of it is that of no site.
    """
    entries = []
    for arm in plan.arms:
        if arm.whole:
            entries.append(Entry(arm=arm, budget=None, num_params_allowed=base_params, filling=None))
            continue
        offer = _Offer(plan=plan, sites=sites, base_params=base_params, scores=scores)
        rows = [offer.entry(arm, share) for share in sorted(plan.budgets)]
        if not any(row.filling for row in rows):
            raise BudgetError(
                f"arm {arm.name!r} fits none of the budgets: the largest allows {rows[-1].num_params_allowed:,} "
                "parameters; raise budgets, give it fewer sites or other options, or leave it out"
            )
        entries += rows
    return entries


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Offer:
    """What every arm may choose from."""

    plan: ComparisonPlan
    sites: Sequence[Site]
    base_params: int
    scores: Mapping[str, float]

    def entry(self, arm: ArmPlan, share: float) -> Entry:
        """An arm at a budget; nothing fits where one of the draws of its sites does not."""
        allowed = int(share * self.base_params)
        if arm.sites != "random":
            return Entry(arm=arm, budget=share, num_params_allowed=allowed, filling=self._fill(arm, allowed, 0))
        drawn = {seed: self._fill(arm, allowed, seed) for seed in self.plan.seeds}
        fitting = {seed: filling for seed, filling in drawn.items() if filling is not None}
        if len(fitting) < len(drawn):
            return Entry(arm=arm, budget=share, num_params_allowed=allowed, filling=None)
        first = fitting[self.plan.seeds[0]]
        return Entry(arm=arm, budget=share, num_params_allowed=allowed, filling=first, drawn=fitting)

    def _fill(self, arm: ArmPlan, allowed: int, seed: int) -> Filling | None:
        prefer = _preference(arm, self.sites, self.scores, (self.plan.seed, seed))
        sites = _sites_of(arm, self.sites, prefer)
        may_drop = arm.sites != "given"
        return fill_budget(arm.kind, arm.options, arm.size, sites, allowed, prefer=prefer, may_drop=may_drop)


def _sites_of(arm: ArmPlan, sites: Sequence[Site], prefer: Preference) -> list[Site]:
    attaches_to = discovery.find("grafts", arm.kind, Kind).attaches_to
    there = {site.role for site in sites if site.sort == attaches_to}
    if unknown := sorted(set(arm.roles) - there):
        raise SiteError(
            f"arm {arm.name!r} names the role {unknown[0]!r}, which no {attaches_to} site has; the roles are "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    found = [site for site in sites if arm.belongs(site, attaches_to)]
    first = sorted(found, key=lambda site: -prefer(site, site.d_in + site.d_out))
    kept = {site.key for site in first[: max(1, round(arm.share * len(found)))]}
    return [site for site in found if site.key in kept]


def _preference(arm: ArmPlan, sites: Sequence[Site], scores: Mapping[str, float], seeds: tuple[int, int]) -> Preference:
    places = {site.key: place for place, site in enumerate(sites)}
    chosen: dict[str, Preference] = {
        "sensitive": lambda site, num_params: squared_sensitivity(site, sites, scores) / num_params,
        "random": lambda site, num_params: _chance(site, seeds),  # noqa: ARG005 - chance has no price
        "given": lambda site, num_params: -places[site.key],  # noqa: ARG005
    }
    return chosen[arm.sites]


def squared_sensitivity(site: Site, sites: Sequence[Site], scores: Mapping[str, float]) -> float:
    """The squared score of a site; where the map has none, that of the linear sites inside its module together."""
    if site.key in scores:
        return scores[site.key] ** 2
    inside = (other for other in sites if other.sort == "linear" and other.module.startswith(f"{site.module}."))
    return sum(scores.get(other.key, 0.0) ** 2 for other in inside)


def _chance(site: Site, seeds: tuple[int, int]) -> float:
    """A number in [0, 1) that depends on the site's name and the seeds of plan and run only."""
    plan_seed, run_seed = seeds
    return int.from_bytes(hashlib.sha256(f"{plan_seed}:{run_seed}:{site.key}".encode()).digest()[:6]) / 2**48


def spell_filling(filling: Filling | None) -> dict[str, Any]:
    """How a budget is spent, as plain data."""
    if filling is None:
        return {"options": {}, "sites": []}
    return {"options": filling.options, "sites": [site.key for site in filling.sites]}
