"""Asking sealed text: each query is an entry of the ledger before anything is measured for it."""

from collections.abc import Mapping
from typing import Any, Protocol

from saint import config
from saint.errors import DataError, HoldOutError, StaleEvidenceError
from saint.judging._ideas import idea_of
from saint.judging._policy import Judging, Policy, policy_of
from saint.records import Claim, Evidence, Query, SuiteLosses
from saint.registry import Registry, State
from saint.statistics import e_lond_log_threshold, log_threshold


class HoldOut(Protocol):
    """Sealed text about one graft, which answers a query that is in the ledger."""

    @property
    def digest(self) -> str:
        """Of all the sealed text together."""
        ...

    @property
    def num_documents(self) -> Mapping[str, int]:
        """Suite -> its documents."""
        ...

    def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
        """What the documents that the query may look at cost, in each suite that it claims something of.

        All of them, or where the query may stop early those that `read_until_shown` reads.
        """
        ...


def ask(
    registry: Registry,
    evidence: Evidence,
    policy: Policy,
    claims: tuple[Claim, ...],
    holdout: HoldOut,
    *,
    rejudges: bool = False,
) -> Query:
    """Write the next query to a hold-out down: from then on it counts, whether or not it is ever answered.

    One that judges a graft again, and that a process wrote down and died over, is not written down twice: it is asked
    as it is, for the same text says the same.

    Raises:
        HoldOutError: The hold-out was retired, has expired, or has too few documents left.
        StaleEvidenceError: Something else stands than the evidence is about, or the policy was changed meanwhile.
        DataError: There is no sealed text of a suite that is asked about.
    """
    sealed = holdout.num_documents
    if missing := [claim for claim in claims if claim.suite not in sealed]:
        raise DataError(
            f"gate {missing[0].gate!r} asks about {missing[0].suite}, of which there is no sealed text; there is "
            f"{', '.join(sealed) or 'none'}"
        )
    sizes = {claim.suite: sealed[claim.suite] for claim in claims}
    if rejudges and (begun := _begun(registry.state, evidence, policy, claims, holdout.digest)) is not None:
        return begun

    def body(state: State) -> Query:
        if policy_of(state).digest != policy.digest:
            raise StaleEvidenceError("the policy was changed while this was being judged; judge it again")
        must_answer(state, policy.judging, holdout.digest, sizes)
        others = tuple(digest for digest in state.standing if not rejudges or digest != evidence.graft)
        if evidence.stack != others or (rejudges and evidence.graft not in state.standing):
            raise StaleEvidenceError("other grafts stand now than this one was measured on; evaluate it again")
        return _query(state, policy, evidence, claims, holdout.digest, sizes, rejudges=rejudges)

    event = registry.append("queried", lambda state: _plain(body(state)))
    return config.build(event.body, Query, where=f"entry {event.number}")


def _begun(state: State, evidence: Evidence, policy: Policy, claims: tuple[Claim, ...], holdout: str) -> Query | None:
    """The query that judges just this again and has no answer yet; None for none, or where no answer may be had."""
    if holdout in state.retired or policy_of(state).digest != policy.digest:
        return None
    wanted = (evidence.graft, evidence.base, evidence.stack, policy.digest, claims)
    open_ones = [one.query for one in state.queries.get(holdout, ()) if one.passed is None and one.query.rejudges]
    same = (one for one in open_ones if (one.graft, one.base, one.stack, one.policy, one.claims) == wanted)
    return next(same, None)


def must_answer(state: State, judging: Judging, holdout: str, num_documents: Mapping[str, int]) -> None:
    """Refuse a hold-out that may not be asked any more.

    Args:
        num_documents: Suite -> documents of the whole hold-out.

    Raises:
        HoldOutError: It was retired, has expired, or has too few documents left for another query.
    """
    number = len(state.queries.get(holdout, ())) + 1
    if reason := state.retired.get(holdout):
        raise HoldOutError(f"hold-out {holdout[:12]} was retired ({reason}); start a registry with new text")
    if judging.at_most_queries and number > judging.at_most_queries:
        raise HoldOutError(
            f"hold-out {holdout[:12]} expired: the policy lets it be asked {judging.at_most_queries} times; start a "
            "registry with new text"
        )
    if judging.mode == "stream":
        for suite, size in num_documents.items():
            read = _num_read(state, holdout, suite)
            if size < read + judging.documents_per_query:
                raise HoldOutError(
                    f"{suite} has {size} sealed documents, of which earlier queries may have read {read}, and query "
                    f"{number} takes {judging.documents_per_query} new ones; give more text"
                )


def num_left(state: State, judging: Judging, holdout: str, num_documents: Mapping[str, int]) -> int | None:
    """How often a hold-out may still be asked; None for as often as one likes, at a level that rises each time.

    Args:
        num_documents: Suite -> documents of the whole hold-out.
    """
    if holdout in state.retired:
        return 0
    left = []
    if judging.at_most_queries:
        left.append(judging.at_most_queries - len(state.queries.get(holdout, ())))
    if judging.mode == "stream":
        sizes = num_documents.items()
        left += [(size - _num_read(state, holdout, suite)) // judging.documents_per_query for suite, size in sizes]
    return max(0, min(left)) if left else None


def threshold(judging: Judging, number: int, num_passed: int) -> float:
    """ln(1 / alpha) of a query, from how many were asked with it and how many passed before it."""
    spend = e_lond_log_threshold if judging.mode == "stream" else log_threshold
    return spend(number, num_passed, alpha=judging.alpha)


def _query(
    state: State,
    policy: Policy,
    evidence: Evidence,
    claims: tuple[Claim, ...],
    holdout: str,
    sizes: Mapping[str, int],
    *,
    rejudges: bool,
) -> Query:
    asked = state.queries.get(holdout, ())
    number, passed, take = len(asked) + 1, state.num_passed.get(holdout, 0), policy.judging.documents_per_query
    return Query(
        number=number,
        num_passed=passed,
        holdout=holdout,
        policy=policy.digest,
        graft=evidence.graft,
        base=evidence.base,
        stack=evidence.stack,
        log_threshold=round(threshold(policy.judging, number, passed), 9),
        claims=claims,
        num_documents={suite: take or size for suite, size in sizes.items()},
        offsets={suite: _num_read(state, holdout, suite) for suite in sizes} if take else {},
        rejudges=rejudges,
        idea=idea_of(evidence, state.submitted),
        early_stopping=policy.judging.early_stopping,
    )


def _num_read(state: State, holdout: str, suite: str) -> int:
    """How many documents of a suite earlier queries may have read, whatever the policy was then."""
    asked = [one.query for one in state.queries.get(holdout, ())]
    return max((one.offsets.get(suite, 0) + one.num_documents.get(suite, 0) for one in asked), default=0)


def _plain(query: Query) -> dict[str, Any]:
    from saint import records

    plain: dict[str, Any] = records.to_plain(query)
    return plain
