"""Does the graft change what it is for, and little else?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.errors import ConfigError
from saint.gates import Gate
from saint.records import Evidence, Footprint, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Interpretability(Gate):
    """Every graft that stands has a footprint, and outside of what was grown it is a small one.

    The divergence is KL(with the graft || without it) of the next token, in nats per token, a mean over development
    text. It has no interval: it is about what the graft does to this text, as a figure that people can read.
    """

    at_most_off_domain_kl: float
    """On each suite other than the grown one."""
    at_most_on_domain_kl: float | None = None
    """On the grown suite."""
    at_most_energy: float | None = None
    """Squared size of its changes of weights over that of the weights; what changes no weight keeps any limit."""
    at_most_effective_rank: float | None = None
    """Of its changes of weights, a mean over the sites; what changes no weight keeps any limit."""

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        limits = {
            "at_most_off_domain_kl": self.at_most_off_domain_kl,
            "at_most_on_domain_kl": self.at_most_on_domain_kl,
        }
        limits |= {"at_most_energy": self.at_most_energy, "at_most_effective_rank": self.at_most_effective_rank}
        for name, limit in limits.items():
            if limit is not None and limit < 0:
                raise ConfigError(f"{name} is {limit}; it must not be negative")

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        found = evidence.footprint
        if found is None:
            return self.says(Outcome.DEFER, "the footprint was not measured; evaluate the graft again")
        off_domain = {suite: kl for suite, kl in found.kl_nats.items() if suite != evidence.grown}
        if not off_domain:
            return self.says(
                Outcome.DEFER, "no text but the grown one was read; give the plan a domain of role 'retain'"
            )
        if self.at_most_on_domain_kl is not None and evidence.grown not in found.kl_nats:
            return self.says(
                Outcome.DEFER, f"the footprint has no figure on {evidence.grown}; evaluate the graft again"
            )
        worst = max(off_domain, key=lambda suite: off_domain[suite])
        limits = self._limits(evidence, found, worst)
        over = any(figure > limit for _, figure, limit in limits)
        numbers = "; ".join(f"{what} {figure:.4g}, allowed {limit:.4g}" for what, figure, limit in limits)
        return self.says(Outcome.REJECT if over else Outcome.ACCEPT, numbers)

    def _limits(self, evidence: Evidence, found: Footprint, worst: str) -> list[tuple[str, float, float]]:
        """What is limited, as (what, figure, limit)."""
        figures = (
            (f"KL per token on {worst}", found.kl_nats[worst], self.at_most_off_domain_kl),
            (f"KL per token on {evidence.grown}", found.kl_nats.get(evidence.grown), self.at_most_on_domain_kl),
            ("relative energy", found.energy, self.at_most_energy),
            ("effective rank", found.effective_rank, self.at_most_effective_rank),
        )
        return [(what, figure, limit) for what, figure, limit in figures if figure is not None and limit is not None]
