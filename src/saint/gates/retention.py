"""Does the model forget what it knew?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.gates._gate import spell
from saint.records import Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Retention(Gate):
    """No protected suite may lose more than `at_most_bpb` bits per byte against the bare base.

    All standing grafts count together, so that many small losses cannot add up to a large one unseen.
    """

    at_most_bpb: float

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can keep."""
        if self.at_most_bpb < 0:
            raise ConfigError(f"at_most_bpb is {self.at_most_bpb}; it must not be negative")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        if not evidence.drift_bpb:
            return self.says(Outcome.DEFER, "no protected suite was measured; give the plan a domain of role 'retain'")
        lost = evidence.drift_bpb
        surely = [suite for suite, drift in lost.items() if drift.low > self.at_most_bpb]
        suite = max(surely or lost, key=lambda suite: lost[suite].high)
        worst = lost[suite]
        numbers = f"with this graft {suite} loses {spell(worst)} against the base, allowed {self.at_most_bpb:+.4f}"
        if worst.high <= self.at_most_bpb:
            return self.says(Outcome.ACCEPT, numbers)
        if surely:
            return self.says(Outcome.REJECT, numbers)
        return self.says(Outcome.DEFER, f"{numbers}: the interval straddles it; give more documents of {suite}")
