"""How a round begins: where the model would answer, what is proposed there, and which of it is trained."""

import shutil
from collections.abc import Sequence
from typing import Any

from saint.candidates import discounted, propose
from saint.errors import BudgetError
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth._journal import Journal
from saint.growth._redundancy import measure_redundancy
from saint.growth._rerank import rerank_on_select, why_no_rerank
from saint.records import Candidate
from saint.sensitivity import measure_sensitivity
from saint.training import birth_tokens


def open_round(journal: Journal, losses: Losses, number: int, stack: Sequence[Graft]) -> list[Candidate]:
    """The candidates of round `number`: those that the ledger has, or else new ones, which it then has.

    Raises:
        BudgetError: Nothing was tried before, and no candidate fits the budget.
    """
    candidates = journal.candidates(number)
    if number not in journal.state.rounds:
        base, text, settings = journal.base, journal.data.train, journal.settings
        looking: dict[str, Any] = {"stack": stack, "progress": journal.progress, **settings.sensitivity(number)}
        told: dict[str, Any] = {}
        if journal.plan.routing.redundancy:
            sensitivity, redundancy = measure_redundancy(base, text, **looking)
            told["redundancy"] = redundancy
        else:
            sensitivity, redundancy = measure_sensitivity(base, text, **looking), {}
        proposed = propose(base.sites(), discounted(sensitivity, redundancy), **settings.proposing(number))
        candidates, reranked = _chosen(journal, losses, number, stack, proposed)
        again = settings.to_retrain()
        if again:
            candidates = settings.within_tokens(number, [*(one for _, one in again), *candidates])
            told["retrained"] = [graft for graft, one in again if one in candidates]
        journal.open_round(number, stack, sensitivity, candidates, **told, **reranked)
    shutil.rmtree(journal.rerank_folder, ignore_errors=True)  # what it came to is in the ledger
    return candidates


def _chosen(
    journal: Journal, losses: Losses, number: int, stack: Sequence[Graft], proposed: Sequence[Candidate]
) -> tuple[list[Candidate], dict[str, Any]]:
    """The proposed candidates that are trained, and what the ledger is told of how they were chosen."""
    settings = journal.settings
    first = settings.within_tokens(number, proposed)
    if proposed and not first and not journal.state.trained:
        raise BudgetError(_too_few_tokens(journal, number, proposed[0]))
    if not journal.plan.routing.rerank or len(proposed) <= len(first):
        return settings.affordable(number, first), {}
    if reason := why_no_rerank(journal, number, proposed):
        journal.progress.note(f"no second look at the candidates: {reason}")
        return settings.affordable(number, first), {"rerank": {"left_out": reason}}
    found = rerank_on_select(journal, losses, number, stack, proposed)
    candidates = settings.affordable(number, found.order, besides=found.train_flops)
    return settings.within_tokens(number, candidates, besides=found.train_tokens), {"rerank": found.entry}


def _too_few_tokens(journal: Journal, number: int, candidate: Candidate) -> str:
    schedule = journal.settings.schedule(number)
    return (
        f"budget.train_tokens is {journal.plan.budget.train_tokens:,}, and the first candidate learns from "
        f"{schedule.num_tokens:,} tokens and is shown {birth_tokens(candidate, schedule):,} before, at each of "
        f"{journal.plan.num_tries} learning rates; raise the budget, shorten the schedule or lower its signal_tokens"
    )
