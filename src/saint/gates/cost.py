"""Is the graft small enough?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.records import Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Cost(Gate):
    """One graft may not exceed any of these counts; a count that is not given is not limited."""

    at_most_params: int | None = None
    """Trained parameters."""
    at_most_bytes: int | None = None
    """Size of the stored file."""
    at_most_flops_per_token: int | None = None
    """Floating-point operations that it adds to a forward pass unless folded; a foldable graft adds none."""
    at_most_flops_ratio: float | None = None
    """Floating-point operations of a forward pass of base, stack and graft over those of the bare base, with all that
    can be folded into the weights folded: the latency of all grafts together, in counts, for no decision may depend on
    a clock. 1.1 is a tenth more than the base."""

    def __post_init__(self) -> None:
        """Refuse a gate that asks nothing, and a limit that no graft could keep."""
        if {self.at_most_params, self.at_most_bytes, self.at_most_flops_per_token, self.at_most_flops_ratio} == {None}:
            raise ConfigError(
                "the gate limits nothing; give at_most_params, at_most_bytes, at_most_flops_per_token or "
                "at_most_flops_ratio"
            )
        if self.at_most_flops_ratio is not None and self.at_most_flops_ratio < 1:
            raise ConfigError(f"at_most_flops_ratio is {self.at_most_flops_ratio}; it must be 1 or more, as grafts add")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        cost = evidence.cost
        counts = (
            ("parameters", cost.num_params, self.at_most_params),
            ("stored bytes", cost.num_bytes, self.at_most_bytes),
            ("added FLOPs per token", 0 if cost.foldable else cost.flops_per_token, self.at_most_flops_per_token),
            ("times the base's FLOPs", cost.flops_ratio, self.at_most_flops_ratio),
        )
        limited = [(what, count, limit) for what, count, limit in counts if limit is not None]
        numbers = "; ".join(f"{count:,} {what}, allowed {limit:,}" for what, count, limit in limited)
        over = any(count > limit for _, count, limit in limited)
        return self.says(Outcome.REJECT if over else Outcome.ACCEPT, numbers)
