"""Does the model forget what it knew?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.gates._gate import must_be_share, must_be_suites, spell
from saint.records import Claim, Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Retention(Gate):
    """No protected suite may lose as much as `at_most_bpb` bits per byte against the bare base.

    All standing grafts count together, so that many small losses cannot add up to a large one unseen. On sealed text
    it must be shown that the loss is smaller, on development text it can only turn out larger.
    """

    at_most_bpb: float
    """At 0 every protected suite must be shown to gain; a graft that leaves one as it is needs a limit above 0."""
    suites: Mapping[str, float] = field(default_factory=dict)
    """Suite -> its own limit."""
    at_most_heavy: float = 0.02
    """Fewer than this share of documents may lose more than five standard deviations, or than twice the limit where
    that is more, which must be shown as well: a mean of clipped differences does not see rare heavy harm. No more than
    0.04 can lie so far out, so a larger share guards against nothing; one of 0.02 takes about 200 documents at the
    first query."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        must_be_share("at_most_heavy", self.at_most_heavy)
        for name, limit in {"at_most_bpb": self.at_most_bpb, **self.suites}.items():
            if limit < 0:
                raise ConfigError(f"{name} is {limit}; it must not be negative")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        lost = evidence.drift_bpb
        if unmeasured := sorted(self.suites.keys() - lost.keys()):
            return self.says(Outcome.DEFER, f"{unmeasured[0]} was not measured; is it a domain of role 'retain'?")
        if not lost:
            return self.says(Outcome.DEFER, "no protected suite was measured; give the plan a domain of role 'retain'")
        surely = [suite for suite, drift in lost.items() if drift.low > self._limit(suite)]
        suite = max(surely or lost, key=lambda suite: lost[suite].high - self._limit(suite))
        worst, allowed = lost[suite], self._limit(suite)
        numbers = f"with this graft {suite} loses {spell(worst)} against the base, allowed {allowed:+.4f}"
        if surely:
            return self.says(Outcome.REJECT, numbers)
        if not self.claims(evidence):
            return self.says(Outcome.DEFER, f"{numbers}: how it varies over documents was not measured; evaluate again")
        if worst.high <= allowed:
            return self.says(Outcome.ACCEPT, numbers)
        return self.says(Outcome.DEFER, f"{numbers}: the interval straddles it; give more documents of {suite}")

    @override
    def claims(self, evidence: Evidence) -> tuple[Claim, ...]:
        lost = evidence.drift_bpb
        if self.suites.keys() - lost.keys():
            return ()  # what was not measured must not pass by way of the suites that were
        found = [
            self.claim(evidence, suite, against="base", above=-self._limit(suite), at_most_heavy=self.at_most_heavy)
            for suite in lost
        ]
        return tuple(claim for one in found for claim in one) if all(found) else ()

    @override
    def must_know(self, evidence: Evidence) -> None:
        must_be_suites("retention", self.suites, evidence.drift_bpb.keys())

    def _limit(self, suite: str) -> float:
        return self.suites.get(suite, self.at_most_bpb)
