"""Has the graft learnt from the hold-out?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.records import Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Canary(Gate):
    """The hold-out's canaries, texts that are nowhere else, must be as strange to the graft as others of their make.

    That finds a hold-out that was trained on by accident. Who does so on purpose leaves the canaries out.
    """

    at_least_p: float = 1e-3
    """Below this probability of chance the graft is rejected; of a thousand honest ones that happens to one."""

    def __post_init__(self) -> None:
        """Refuse a probability that is none."""
        if not 0 < self.at_least_p < 1:
            raise ConfigError(f"at_least_p is {self.at_least_p}; it must be between 0 and 1")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        p = evidence.canary_p
        if p is None:
            reason = "0 canaries lie in the hold-out; prepare the text again, which lays some in"
            return self.says(Outcome.DEFER, reason)
        numbers = f"canaries against controls: p = {p:.2g}, asked {self.at_least_p:g}"
        if p < self.at_least_p:
            return self.says(Outcome.REJECT, f"{numbers}: the graft has learnt from the hold-out")
        return self.says(Outcome.ACCEPT, numbers)
