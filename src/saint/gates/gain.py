"""Is the graft worth having at all?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.gates import Gate
from saint.gates._gate import spell
from saint.records import Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Gain(Gate):
    """On held-out text the composed model must save at least `at_least_bpb` bits per byte against the present stack."""

    at_least_bpb: float

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        gain = evidence.gain_bpb
        numbers = f"gain {spell(gain)}, asked {self.at_least_bpb:+.4f}"
        if gain.low >= self.at_least_bpb:
            return self.says(Outcome.ACCEPT, numbers)
        if gain.high < self.at_least_bpb:
            return self.says(Outcome.REJECT, numbers)
        return self.says(Outcome.DEFER, f"{numbers}: the interval straddles it; give more held-out documents")
