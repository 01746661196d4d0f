"""Whether what was measured is the text that the registry was started with."""

from collections.abc import Iterator, Mapping
from typing import Any

from saint.records import Evidence, Query, SuiteLosses
from saint.registry import State


def other_development_text(evidence: Evidence, created: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the development text that evidence names; text that the registry knows nothing of may be new.

    Args:
        created: The registry's first entry.
    """
    known = {**created.get("data", {}), **created.get("suites", {})}
    for suite, digest in evidence.documents.items():
        there = known.get(f"{suite}/select")
        if there is not None and there["digest"] != digest:
            yield f"{evidence.graft[:12]} was measured on other text of {suite} than the registry was started with"


def other_sealed_text(query: Query, losses: Mapping[str, SuiteLosses], state: State) -> Iterator[str]:
    """What is wrong with the sealed text that the losses of a query are of.

    Which documents a query has of a stream, or reads before it stops early, no entry says; whoever has the text can
    work their digest out.
    """
    if query.early_stopping:
        return
    known, sizes = {**state.sealed_text, **state.sealed_items}, state.sealed_sizes
    for suite, found in losses.items():
        is_whole = suite in known and query.num_documents.get(suite) == sizes[suite]
        if is_whole and found.documents != known[suite]["digest"]:
            yield f"query {query.number} was answered on other text of {suite} than the registry was started with"
