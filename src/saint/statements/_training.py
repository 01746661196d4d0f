"""What the ledger holds of how a graft came to be."""

from collections.abc import Mapping
from typing import Any

from saint import records
from saint.registry import Entry, State
from saint.statements._statement import NOT_RECORDED


def training_of(entry: Entry, state: State) -> Mapping[str, Any] | None:
    """The entry of the trial that the graft came from; None where there is none, as for one trained elsewhere.

    A graft that is judged at another strength than it was trained at has other bytes: then the candidate and what stood
    below it say which trial it was.
    """
    trials = [trial for trial in state.trained.values() if trial.get("graft")]
    for trial in trials:
        if trial["graft"] == entry.digest:
            return trial
    if entry.digest in state.submitted:
        return None
    candidate = records.digest(entry.candidate)
    return next((trial for trial in reversed(trials) if _became(trial, candidate, entry)), None)


def _became(trial: Mapping[str, Any], candidate: str, entry: Entry) -> bool:
    below, learnt_at = tuple(trial["stack"]), trial.get("history", {}).get("strength", 1.0)
    if entry.evidence.strength == learnt_at:
        return False
    return below == entry.evidence.stack[: len(below)] and records.digest(trial["candidate"]) == candidate


def trained_where(entry: Entry, state: State) -> str:
    """Whether the graft was trained here, as far as the ledger knows."""
    if training_of(entry, state) is not None:
        return "here"
    return "elsewhere, handed in" if entry.digest in state.submitted else NOT_RECORDED


def learnt_from(state: State) -> Mapping[str, Mapping[str, Any]]:
    """Text that grafts learn from: its name, `domain/split`, -> what the ledger says of it."""
    domains = {name.partition("/")[0] for name in state.created.get("data", {}) if name.endswith("/held_out")}
    return {
        name: described
        for name, described in state.created.get("data", {}).items()
        if name.endswith("/train") and name.partition("/")[0] in domains
    }
