from collections.abc import Collection, Iterable, Sequence

from saint import discovery, records
from saint.candidates._bundles import Proposal, bundles
from saint.candidates._policy import Offer, Policy, take_turns
from saint.candidates._price import Limit, check_blocks, price, tightest, too_dear
from saint.grafts import default_lr, kind_and_options
from saint.records import Budget, Candidate, SensitivityMap, Site


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
    policy: str = "sensitivity_first",
) -> list[Candidate]:
    """The candidates most worth trying that fit the budget, at most `top`.

    What a candidate is worth is its squared sensitivity, summed over its sites; in which order those of one proposal
    come is the policy's. Scores of different kinds are not comparable, so the proposals take turns.

    Args:
        sites: All sites of the base, in any order.
        sensitivity: With what the stack does already taken off, if that is wanted (`saint.candidates.discounted`).
        budget: What is left of it: a candidate must fit on its own. What all trials together may spend is not looked
            at, as one trial's cost depends on its schedule (`top`, and `saint.candidates.affordable`).
        seed: The candidates' seed, and that of a policy that draws.
        without: Candidates that are not to be proposed again, whatever their seed.
        within: The only sites that candidates may be at; None for all. A proposal that fits none of them is left out.
        policy: A name in `saint.candidates`.

    Raises:
        BudgetError: Nothing fits and nothing was tried before; the message names the cheapest.
        SiteError: A proposal names a role or a stream that no site has, or a kind or options that cannot be there; or
            the budget names a block that the base has not.
        UnknownNameError: There is no such policy or kind.
    """
    chosen = discovery.find("candidates", policy, Policy)()
    check_blocks(budget, sites)
    tried = {_idea(candidate) for candidate in without}
    queues: list[list[Candidate]] = []
    dear: list[tuple[Limit, Candidate]] = []
    for proposal in proposals:
        offers = []
        for candidate, group in _ideas(sites, proposal, within, seed):
            if _idea(candidate) in tried:
                continue
            asked = price(candidate, sites)
            if (limit := tightest(asked, budget)).share > 1:
                dear.append((limit, candidate))
                continue
            worth = sum(sensitivity.scores.get(site.key, 0.0) ** 2 for site in candidate.sites)
            offers.append(Offer(candidate=candidate, group=group, worth=worth, price=asked, share=limit.share))
        queues.append([offer.candidate for offer in chosen.order(offers, seed=seed)])
    found = take_turns(queues)[:top]
    if not found and dear and not tried:
        limit, cheapest = min(dear, key=lambda pair: (pair[0].share, pair[0].asked))
        raise too_dear(cheapest, *limit)
    return found


def _ideas(
    sites: Sequence[Site], proposal: Proposal, within: Collection[Site] | None, seed: int
) -> Iterable[tuple[Candidate, str]]:
    """The candidates of a proposal, each with the group that it compares in."""
    kind, _ = kind_and_options(proposal.kind, proposal.options)
    for bundle in bundles(sites, proposal, kind, within):
        lr = default_lr(proposal.kind, proposal.options, bundle.sites) if proposal.lr is None else proposal.lr
        candidate = Candidate(sites=bundle.sites, kind=proposal.kind, options=proposal.options, lr=lr, seed=seed)
        yield candidate, bundle.group


def _idea(candidate: Candidate) -> tuple[object, ...]:
    """What makes two candidates the same idea."""
    return candidate.kind, records.digest(candidate.options), frozenset(candidate.sites)
