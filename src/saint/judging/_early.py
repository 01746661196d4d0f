"""How far sealed documents are read where a query may stop early, and whether it stopped where it had to."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64

from saint import records
from saint.judging._answer import differences, violations
from saint.records import Claim, Query, SuiteLosses
from saint.statistics import running_log_e_values, running_log_tail_e_values

_FIRST_BLOCK = 64
_GROWTH = 4  # each block is as long as a quarter of all before it


def read_until_shown(query: Query, read: Callable[[str, int, int], SuiteLosses]) -> dict[str, SuiteLosses]:
    """Read sealed documents block by block, each suite until all that is claimed of it is shown or there are no more.

    A suite that was read whole and does not show it settles the answer: it is no, and nothing else is read.

    Args:
        query: In the ledger already.
        read: (suite, first, last) -> what the documents from place `first` to before place `last` cost, in an order
            that is the same for every query to the hold-out and that nobody who proposes grafts knows.

    Returns:
        Suite -> what was read of it, in the order that it was read in.
    """
    found: dict[str, SuiteLosses] = {}
    for suite in _suites(query):
        for first, last in pairwise((0, *block_ends(query.num_documents[suite]))):
            block = read(suite, first, last)
            found[suite] = _joined(found[suite], block) if suite in found else block
            if _when_all_shown(query, suite, found[suite]) is not None:
                break
        else:
            break
    return found


def stops_too_early_or_late(query: Query, losses: Mapping[str, SuiteLosses]) -> bool:
    """Whether a query's documents were read otherwise than `read_until_shown` reads them.

    Nothing at all may have been read: what cannot be measured is not shown.
    """
    expected = iter(_suites(query)) if losses else iter(())
    for suite in expected:
        if suite not in losses or not _is_measured(losses[suite]):
            return True
        size = query.num_documents[suite]
        num_read, shown = len(losses[suite].after), _when_all_shown(query, suite, losses[suite])
        if num_read != _end_of(shown, size):
            return True
        if shown is None:
            break
    return any(suite in losses for suite in expected)


def all_shown_early(query: Query, losses: Mapping[str, SuiteLosses]) -> bool:
    """Whether every claim was shown at some place of the order, and no more was read for it than had to be."""
    return not stops_too_early_or_late(query, losses) and all(
        suite in losses and _when_all_shown(query, suite, losses[suite]) is not None for suite in _suites(query)
    )


def block_ends(num_documents: int) -> tuple[int, ...]:
    """After how many documents of a suite it is seen whether one may stop.

    The same for every query, so that what base and stack cost in a block is measured once.
    """
    return tuple(_ends(num_documents))


def _ends(num_documents: int) -> Iterator[int]:
    end = _FIRST_BLOCK
    while end < num_documents:
        yield end
        end += end // _GROWTH
    yield num_documents


def _end_of(shown: int | None, size: int) -> int:
    """Where reading has to end, from where all was shown."""
    return next((end for end in block_ends(size) if shown is not None and end >= shown), size)


def _suites(query: Query) -> tuple[str, ...]:
    """In the order in which they are read."""
    return tuple(dict.fromkeys(claim.suite for claim in query.claims))


def _when_all_shown(query: Query, suite: str, losses: SuiteLosses) -> int | None:
    """After how many documents everything that is claimed of a suite had been shown, each thing at its own place."""
    return _latest(when_shown(claim, losses, query.log_threshold) for claim in query.claims if claim.suite == suite)


def when_shown(claim: Claim, losses: SuiteLosses, log_threshold: float) -> int | None:
    """After how many documents each part of a claim had been shown, in the order that they were read; None for never.

    Evidence that was strong enough once is enough (Ville 1939): it may be weaker by the time that the other parts are
    shown. A loss that is no number shows nothing, wherever it is.
    """
    if not _is_measured(losses):
        return None
    return _latest(_first(part >= log_threshold) for part in _evidence(claim, losses))


def _evidence(claim: Claim, losses: SuiteLosses) -> Iterator[Float64[np.ndarray, " documents"]]:
    """After each document, in nats, for each part of a claim."""
    if claim.test == "rate":
        yield running_log_tail_e_values(violations(losses), at_most=claim.above)
        return
    saved = differences(claim, losses)
    yield running_log_e_values(saved, above=claim.above, clip=claim.clip)
    if claim.at_most_heavy < 1:
        yield running_log_tail_e_values(saved < -claim.clip, at_most=claim.at_most_heavy)


def _first(is_enough: Bool[np.ndarray, " documents"]) -> int | None:
    return int(is_enough.argmax()) + 1 if is_enough.any() else None


def _latest(places: Iterable[int | None]) -> int | None:
    """The last of them, if all are."""
    found = list(places)
    known = [place for place in found if place is not None]
    return max(known) if len(known) == len(found) else None


def _is_measured(losses: SuiteLosses) -> bool:
    costs = losses.base, losses.before, losses.after
    return len({len(cost) for cost in costs}) == 1 and bool(np.isfinite(costs).all())


def _joined(read: SuiteLosses, block: SuiteLosses) -> SuiteLosses:
    return SuiteLosses(
        unit=read.unit,
        documents=records.digest([read.documents, block.documents]),
        base=read.base + block.base,
        before=read.before + block.before,
        after=read.after + block.after,
    )
