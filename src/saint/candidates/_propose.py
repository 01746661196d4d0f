from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch

from saint import grafts, records
from saint.errors import BudgetError, ConfigError, SiteError
from saint.grafts import check_at, kind_and_options
from saint.records import Budget, Candidate, SensitivityMap, Site, Stream


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A sort of candidate that growth may try."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the kind may choose; under `at`, role or site key -> what is chosen otherwise there."""
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    streams: tuple[Stream, ...] = ()
    """Only sites of the encoder, or of the decoder (cross-attention included); empty for both."""
    bundle: Literal["site", "role", "depth", "all"] = "role"
    """One candidate per site, per role over all depths, per depth over all roles, or all sites in one."""
    lr: float = 1e-2
    """Peak learning rate of its training."""

    def __post_init__(self) -> None:
        """Refuse a rate that cannot teach."""
        if self.lr <= 0:
            raise ConfigError(f"lr is {self.lr}; it must be positive")


def propose(
    sites: Sequence[Site],
    sensitivity: SensitivityMap,
    proposals: Sequence[Proposal],
    budget: Budget,
    *,
    top: int = 4,
    seed: int = 0,
    without: Collection[Candidate] = (),
    within: Collection[Site] | None = None,
) -> list[Candidate]:
    """The candidates most worth trying that fit the budget, at most `top`.

    Within one proposal, candidates are ranked by squared sensitivity per parameter, summed over their sites: to first
    order that is what a parameter buys. Scores of different kinds are not comparable, so the proposals take turns.

    Args:
        budget: What is left of it: a candidate must fit on its own.
        seed: The candidates' seed.
        without: Candidates that are not to be proposed again, whatever their seed.
        within: The only sites that candidates may be at; None for all. A proposal that fits none of them is left out.

    Raises:
        BudgetError: Nothing fits and nothing was tried before; the message names the cheapest.
        SiteError: A proposal names a role or a stream that no site has, or a kind or options that cannot be there.
    """
    tried = {_place(candidate) for candidate in without}
    queues, too_dear = [], []
    for proposal in proposals:
        kind, _ = kind_and_options(proposal.kind, proposal.options)
        ranked = []
        for bundle in _bundles(sites, proposal, kind, within):
            candidate = Candidate(
                sites=tuple(bundle), kind=proposal.kind, options=proposal.options, lr=proposal.lr, seed=seed
            )
            if _place(candidate) in tried:
                continue
            _check_sites(proposal, bundle)
            if (price := num_params(candidate)) > budget.num_params:
                too_dear.append((price, candidate))
                continue
            worth = sum(sensitivity.scores.get(site.key, 0.0) ** 2 for site in bundle) / price
            ranked.append((worth, candidate))
        queues.append([candidate for _, candidate in sorted(ranked, key=lambda pair: -pair[0])])
    found = _take_turns(queues)[:top]
    if not found and too_dear and not tried:
        price, cheapest = min(too_dear, key=lambda pair: pair[0])
        raise BudgetError(
            f"no candidate fits the {budget.num_params:,} parameters that are left: the cheapest is {cheapest.kind} at "
            f"{len(cheapest.sites)} sites with {price:,}; raise budget.num_params or propose smaller options"
        )
    return found


def num_params(candidate: Candidate) -> int:
    """What a candidate would train, before anything is built."""
    return grafts.num_params(candidate.kind, candidate.options, candidate.sites)


def lora_control(sites: Iterable[Site], num_params_wanted: int, *, lr: float, seed: int = 0) -> Candidate:
    """LoRA at every linear site, of the smallest rank that trains at least `num_params_wanted` parameters.

    A control gets no fewer parameters than what it is held against, and at most one rank's worth more; only where that
    rank would exceed the smallest site, it stays at what the smallest site takes.

    Raises:
        SiteError: There is no linear site.
    """
    linear = tuple(site for site in sites if site.sort == "linear")
    if not linear:
        raise SiteError("the base has no linear site, so there is no LoRA to hold its grafts against")
    highest = min(min(site.d_in, site.d_out) for site in linear)
    per_rank = sum(site.d_in + site.d_out for site in linear)
    rank = min(max(1, -(-num_params_wanted // per_rank)), highest)
    return Candidate(sites=linear, kind="lora", options={"rank": rank}, lr=lr, seed=seed)


def _bundles(sites: Sequence[Site], proposal: Proposal, kind: Any, within: Collection[Site] | None) -> list[list[Site]]:
    fitting = _fitting(sites, proposal, kind)
    groups: dict[str, list[Site]] = defaultdict(list)
    for site in fitting if within is None else [site for site in fitting if site in within]:
        if not proposal.roles or site.role in proposal.roles:
            groups[_GROUP_OF[proposal.bundle](site)].append(site)
    return list(groups.values())


def _fitting(sites: Sequence[Site], proposal: Proposal, kind: Any) -> list[Site]:
    """The base's sites of the kind's sort, once it is sure that what the proposal names is among them."""
    there = f"{kind.attaches_to} site"
    fitting = [site for site in sites if site.sort == kind.attaches_to]
    if not fitting:
        raise SiteError(f"the base has no {there}, where {proposal.kind} would attach; leave that proposal out")
    if absent := set(proposal.streams) - {site.stream for site in fitting}:
        raise SiteError(
            f"no {there} is in the {min(absent)}, which a proposal of kind {proposal.kind} names in streams; "
            "leave that stream out"
        )
    if proposal.streams:
        fitting = [site for site in fitting if site.stream in proposal.streams]
        there = f"{there} of the {' or '.join(proposal.streams)}"
    if unknown := set(proposal.roles) - {site.role for site in fitting}:
        known = ", ".join(sorted({site.role for site in fitting}))
        raise SiteError(
            f"no {there} has the role {min(unknown)!r}, which a proposal of kind {proposal.kind} names; "
            f"the roles are {known}"
        )
    check_at(proposal.kind, proposal.options, fitting)
    return fitting


def _check_sites(proposal: Proposal, sites: Iterable[Site]) -> None:
    """Let the kind refuse a site that its options do not fit, at no cost: the meta device has shapes only."""
    with torch.device("meta"):
        for site in sites:
            kind, options = kind_and_options(proposal.kind, proposal.options, site)
            kind(site, options)


_GROUP_OF: Mapping[str, Callable[[Site], str]] = {
    "site": lambda site: site.key,
    "role": lambda site: f"{site.stream}:{site.role}",
    "depth": lambda site: f"{site.stream}:{site.depth}",
    "all": lambda site: "",  # noqa: ARG005
}


def _place(candidate: Candidate) -> tuple[object, ...]:
    """What makes two candidates the same idea."""
    return candidate.kind, records.digest(candidate.options), candidate.sites


def _take_turns(queues: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
