"""Is the graft worth having at all?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.gates import Gate
from saint.gates._gate import must_be_share, spell
from saint.records import Claim, Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Gain(Gate):
    """The composed model must save at least `at_least_bpb` bits per byte against the present stack.

    That is the mean over documents on sealed text, where it must be shown; development text can only reject it.
    """

    at_least_bpb: float
    at_most_heavy: float = 0.02
    """Fewer than this share of documents may lose more than five standard deviations, or than twice the limit where
    that is more, which must be shown as well: a mean of clipped differences does not see rare heavy harm. No more than
    0.04 can lie so far out, so a larger share guards against nothing; one of 0.02 takes about 200 documents at the
    first query."""

    def __post_init__(self) -> None:
        """Refuse a share that nothing can be."""
        must_be_share("at_most_heavy", self.at_most_heavy)

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        gain = evidence.gain_bpb
        numbers = f"gain {spell(gain)}, asked {self.at_least_bpb:+.4f}"
        if gain.high < self.at_least_bpb:
            return self.says(Outcome.REJECT, numbers)
        if not self.claims(evidence):
            return self.says(Outcome.DEFER, f"{numbers}: how it varies over documents was not measured; evaluate again")
        if gain.low >= self.at_least_bpb:
            return self.says(Outcome.ACCEPT, numbers)
        return self.says(Outcome.DEFER, f"{numbers}: the interval straddles it; give more development documents")

    @override
    def claims(self, evidence: Evidence) -> tuple[Claim, ...]:
        return self.claim(
            evidence, evidence.grown, against="stack", above=self.at_least_bpb, at_most_heavy=self.at_most_heavy
        )
