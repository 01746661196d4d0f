"""Grafts that are made of trained ones: the best of a round as one set, and an overgrown graft pruned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from saint import config, records
from saint.candidates import fits, price, propose
from saint.evaluation import Losses, site_by_site, taylor_by_site
from saint.grafts import Graft, joined, part_of
from saint.growth._further import cannot_pay, go_on, open_as, opened_as, schedule_for
from saint.growth._journal import Journal
from saint.growth._sets import Joint, Overgrow
from saint.growth._training import train_trials
from saint.growth._trial import Trial
from saint.records import Budget, Candidate, SensitivityMap
from saint.training import Schedule, birth_tokens


def refine(
    journal: Journal, losses: Losses, number: int, stack: Sequence[Graft], grafts: Sequence[Graft | None]
) -> list[Graft | None]:
    """Make and train the sets that the plan wants of a round, as far as an earlier run has not.

    What is tried, or why nothing is, is in the ledger before it is trained, so that a run which goes on later tries the
    same although the budget has changed meanwhile.

    Args:
        stack: What the round's grafts were trained on.
        grafts: The round's own, as they were trained.

    Returns:
        More finalists; None for one that came to nothing.
    """
    plan, found = journal.plan, []
    if plan.joint is not None:
        found.append(_joint(journal, plan.joint, number, stack, grafts))
    if plan.overgrow is not None:
        found.append(_pruned(journal, losses, plan.overgrow, number, stack))
    return found


def _joint(
    journal: Journal, plan: Joint, number: int, stack: Sequence[Graft], grafts: Sequence[Graft | None]
) -> Graft | None:
    """The best grafts of the round as one, trained further."""
    schedule = schedule_for(journal, number, plan.num_steps)
    opened = opened_as(journal, number, "joint")
    if opened is None:
        members = _best_set(journal, plan, grafts)
        why_not = "no two of the round's grafts are of one kind, at different sites, and fit the budget together"
        if members:
            why_not = cannot_pay(journal, [(joined(members).candidate, schedule)])
        opened = open_as(journal, number, "joint", why_not, {"members": [graft.digest for graft in members]})
    if opened["left_out"]:
        return None
    trained = {graft.digest: graft for graft in grafts if graft is not None}
    start = joined([trained[digest] for digest in opened["members"]])
    start.set_strength(plan.strength)
    lr = start.candidate.lr if plan.lr is None else plan.lr
    return go_on(journal, stack, start, replace(start.candidate, lr=lr), schedule)


def _best_set(journal: Journal, plan: Joint, grafts: Sequence[Graft | None]) -> list[Graft]:
    """The best that can be one graft, of the kind whose best is better; fewer than two if none can."""
    ranked, left = sorted((graft for graft in grafts if graft is not None), key=_bpb), journal.settings.budget_left()
    for kind in dict.fromkeys(graft.candidate.kind for graft in ranked):
        chosen: list[Graft] = []
        for graft in ranked:
            if len(chosen) < plan.num and graft.candidate.kind == kind and _join(journal, [*chosen, graft], left):
                chosen.append(graft)
        if len(chosen) > 1:
            return chosen
    return []


def _join(journal: Journal, grafts: Sequence[Graft], left: Budget) -> bool:
    """Whether these can be one graft that fits what is left of the budget."""
    keys = [site.key for graft in grafts for site in graft.candidate.sites]
    return len(set(keys)) == len(keys) and _fits(journal, joined(grafts).candidate, left)


def _bpb(graft: Graft) -> float:
    assert graft.history is not None  # it was trained
    assert graft.history.best_bpb is not None  # with development text
    return graft.history.best_bpb


def _pruned(journal: Journal, losses: Losses, plan: Overgrow, number: int, stack: Sequence[Graft]) -> Graft | None:
    """What is left of a graft at every site, trained further."""
    grown = schedule_for(journal, number, plan.num_steps or journal.settings.schedule(number).num_steps)
    again = schedule_for(journal, number, plan.retrain_steps)
    opened = opened_as(journal, number, "overgrow") or _overgrow(journal, plan, number, stack, (grown, again))
    if opened["left_out"]:
        return None
    trial = Trial(
        candidate=config.build(opened["candidate"], Candidate, where=f"round {number}"), stack=stack, schedule=grown
    )
    [whole] = train_trials(journal, stack, [trial])
    if whole is None:
        return None
    kept = _kept(journal, losses, plan, trial, whole)
    if not kept:
        return None
    start = part_of(whole, kept)
    return go_on(journal, stack, start, start.candidate, again)


def _overgrow(
    journal: Journal, plan: Overgrow, number: int, stack: Sequence[Graft], schedules: tuple[Schedule, Schedule]
) -> Mapping[str, Any]:
    """Write down what is going to be grown everywhere, or why nothing is."""
    settings, unlimited = journal.settings, records.LARGEST_EXACT_INT
    stage = settings.stage(number)
    candidates = propose(
        journal.base.sites(),
        SensitivityMap(method="none", scores={}),
        [plan.proposal],
        Budget(num_params=unlimited, train_tokens=unlimited),
        seed=journal.plan.seed,
        within=settings.refined_sites() if stage.sites == "refined" else None,
    )
    if not candidates or len(candidates[0].sites) <= plan.keep:
        there = len(candidates[0].sites) if candidates else 0
        why_not = f"there are {there} sites, of which {plan.keep} are to be left, so there is nothing to prune"
        return open_as(journal, number, "overgrow", why_not, {})
    [candidate] = candidates
    trial = Trial(candidate=candidate, stack=stack, schedule=schedules[0])
    if journal.name_of(trial) in journal.state.trained:
        why_not = "an earlier round has grown the same on the same stack"
    else:
        planned = [(candidate, schedule) for schedule in schedules]
        why_not = cannot_pay(journal, planned, besides=birth_tokens(candidate, schedules[0]))
    return open_as(journal, number, "overgrow", why_not, {"candidate": candidate})


def _kept(journal: Journal, losses: Losses, plan: Overgrow, trial: Trial, whole: Graft) -> list[str]:
    """The keys of the sites that are left; what each was worth is in the ledger, once."""
    name = journal.name_of(trial)
    if (known := journal.state.pruned.get(name)) is not None:
        return list(known["kept"])
    select = journal.data.select[journal.data.grown_domain]
    intervals = {}
    if plan.by == "leave_one_out":
        intervals = site_by_site(journal.base, trial.stack, whole, select, losses=losses)
        scores = {key: one.estimate for key, one in intervals.items()}
    else:
        scores = taylor_by_site(journal.base, trial.stack, whole, select, losses=losses)
    kept, left = list[str](), journal.settings.budget_left()
    for key in sorted(scores, key=lambda key: -scores[key]):
        if len(kept) < plan.keep and scores[key] > 0 and _fits(journal, part_of(whole, [*kept, key]).candidate, left):
            kept.append(key)
    body = {"trial": name, "by": plan.by, "scores": scores, "intervals": intervals, "kept": kept}
    journal.registry.write("pruned", body)
    journal.progress.note(f"{plan.kind} at {len(scores)} sites is pruned to {len(kept)} by {plan.by} on select")
    return kept


def _fits(journal: Journal, candidate: Candidate, left: Budget) -> bool:
    return fits(price(candidate, journal.base.sites()), left)
