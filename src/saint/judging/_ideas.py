"""What counts as one idea, and how often sealed text was asked about it."""

from collections.abc import Mapping
from typing import Any

from saint import records
from saint.records import Candidate, Evidence
from saint.registry import State

_ADAPTER, _GRAFT = "adapter_model.safetensors", "graft.safetensors"


def idea_of(evidence: Evidence, submitted: Mapping[str, Mapping[str, Any]]) -> str:
    """A digest that all tries of one idea have in common.

    Of what is grown here that is where, of which kind and how large, whatever the seed and the learning rate. Grafts
    that were trained elsewhere are different ideas if their weights are, also at the same sites; the same weights at
    another strength are the same idea.

    Args:
        submitted: Digest of a graft that was trained elsewhere -> the entry that says where it came from.
    """
    candidate, elsewhere = evidence.candidate, submitted.get(evidence.graft)
    if elsewhere is None or evidence.cost.train_tokens:
        return _of_candidate(candidate)
    files = elsewhere["files"]
    return records.digest({"idea": _of_candidate(candidate), "weights": files.get(_ADAPTER, files.get(_GRAFT))})


def num_asked(state: State, idea: str) -> int:
    """How many queries there were about an idea, those included whose answer was lost; judging again is no try."""
    asked = [one.query for queries in state.queries.values() for one in queries]
    older = [entry for entry in state.judged if entry.decision.query is not None and not entry.decision.query.idea]
    return sum(query.idea == idea and not query.rejudges for query in asked) + sum(
        idea_of(entry.evidence, state.submitted) == idea for entry in older
    )


def _of_candidate(candidate: Candidate) -> str:
    keys = sorted(site.key for site in candidate.sites)
    return records.digest({"sites": keys, "kind": candidate.kind, "options": candidate.options})
