from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import final

from saint import discovery, records
from saint.candidates._policy import Policy, cheapest_among_equals
from saint.candidates._price import num_params
from saint.errors import ConfigError
from saint.records import Candidate, Interval, SensitivityMap


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """How growth chooses what to try."""

    policy: str = "sensitivity_first"
    """In which order the candidates of a proposal are tried: `sensitivity_first`, what a parameter is expected to buy,
    compared within a role; `quality_first`, the highest expected gain; `budget_first`, the most of it for what is
    scarcest; `random`, a control."""
    redundancy: bool = False
    """Whether a site counts for less where a graft would repeat what the stack changes there: its squared sensitivity
    is multiplied by 1 - the share of the gradient's leading directions that lies within what the stack spans."""
    rerank: int = 0
    """How many candidates, the policy's first, are trained for a moment and ordered anew by what they then save on
    *select*; the first of these are trained to the end. 0 for the policy's order."""
    rerank_steps: int = 10
    """Steps of that short training, which count against the budget."""

    def __post_init__(self) -> None:
        """Refuse a policy that there is not, and numbers that cannot be meant."""
        discovery.find("candidates", self.policy, Policy)
        if self.rerank < 0 or self.rerank_steps < 1:
            raise ConfigError(
                f"rerank is {self.rerank} and rerank_steps {self.rerank_steps}; give no negative number of candidates, "
                "and at least 1 step"
            )


def discounted(sensitivity: SensitivityMap, redundancy: Mapping[str, float]) -> SensitivityMap:
    """The map with less for sites where a change would repeat what the stack does.

    Squared scores are multiplied by 1 - overlap, as the expected gain is counted in them.

    Args:
        redundancy: Site key -> overlap from 0, nothing is repeated, to 1, all is, as
            `saint.composition.overlap_with` gives it; sites that are left out keep their scores.

    Raises:
        ConfigError: An overlap is not between 0 and 1.
    """
    if wrong := [(key, overlap) for key, overlap in redundancy.items() if not 0 <= overlap <= 1]:
        raise ConfigError(f"the overlap at {wrong[0][0]} is {wrong[0][1]}; expected a share between 0 and 1")
    scores = {key: score * sqrt(1 - redundancy.get(key, 0.0)) for key, score in sensitivity.scores.items()}
    return replace(sensitivity, scores=scores)


def rerank(candidates: Sequence[Candidate], measured: Mapping[str, Interval]) -> list[Candidate]:
    """The candidates by their gain on *select*, the highest first; the unmeasured ones follow in their order.

    One whose gain lies within the interval of the best is as good as it, as far as is known, and the cheapest of such
    goes first. The next is chosen in the same way among the rest.

    Args:
        measured: Digest of a candidate (`saint.records.digest`) -> gain; positive is better.
    """
    gains = [(one, measured.get(records.digest(one))) for one in candidates]
    ranked = cheapest_among_equals(
        [(one, gain) for one, gain in gains if gain is not None],
        gain=lambda pair: pair[1].estimate,
        equal_from=lambda best: best[1].low,
        price=lambda pair: num_params(pair[0]),
    )
    return [*(one for one, _ in ranked), *(one for one, gain in gains if gain is None)]
