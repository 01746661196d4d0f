"""By what decisions are made: fixed in the ledger before the first, and changed only by an entry of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint import config, records
from saint.errors import ConfigError
from saint.gates import Gate, build_gates
from saint.records import Candidate
from saint.registry import State


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RiskClass:
    """Grafts that people have to approve. What a class does not say does not matter; what it says must all hold."""

    name: str
    kinds: tuple[str, ...] = ()
    """Of one of these kinds."""
    roles: tuple[str, ...] = ()
    """At some site of one of these roles."""
    above_params: int = 0
    """With more trained parameters than this."""
    approvals: int = 1
    """How many people must approve."""

    def __post_init__(self) -> None:
        """Refuse a class that asks for nothing."""
        if self.approvals < 1:
            raise ConfigError(f"approvals is {self.approvals}; it must be at least 1, or leave the class out")

    def has(self, candidate: Candidate, num_params: int) -> bool:
        """Whether a graft is of this class."""
        return (
            (not self.kinds or candidate.kind in self.kinds)
            and (not self.roles or any(site.role in self.roles for site in candidate.sites))
            and num_params > self.above_params
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """How sealed text is asked, and who must agree."""

    alpha: float = 0.05
    """By mode `holdout`: the most that the probability of any false acceptance on one hold-out is, ever, however many
    candidates are tried; other text is another account. By mode `stream`: the expected share of false acceptances
    among all."""
    mode: Literal["holdout", "stream"] = "holdout"
    """`holdout`: every query is asked of all sealed text, again and again, with tree alpha-spending. `stream`: every
    query is asked of documents that none was asked of before, with e-LOND."""
    documents_per_query: int = 0
    """In mode `stream`: how many documents of each suite a query takes."""
    at_most_queries: int = 0
    """The hold-out expires after so many queries; 0 for never."""
    at_most_retries: int = 2
    """How often the same idea may be asked about again after its first query, answered or not. What is grown at the
    same sites, of the same kind and size, is one idea; what was trained elsewhere is one for each file of weights."""
    early_stopping: bool = field(default=False, metadata=records.LATER)
    """Whether sealed documents are read in a secret order, and no further than until all is shown. That saves time, and
    whoever can see how much it saved learns more than the one bit."""
    approval: tuple[RiskClass, ...] = ()
    """Grafts that people have to approve before they stand; the first class that one is of counts."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha is {self.alpha}; it must be between 0 and 1, such as 0.05")
        if (self.mode == "stream") != (self.documents_per_query > 0):
            raise ConfigError(
                f"documents_per_query is {self.documents_per_query} in mode {self.mode!r}; a stream needs at least 1, "
                "and a hold-out takes none"
            )
        if self.documents_per_query == 1:
            raise ConfigError("documents_per_query is 1; evidence needs at least 2 documents")
        for name in ("documents_per_query", "at_most_queries", "at_most_retries"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")

    def risk_of(self, candidate: Candidate, num_params: int) -> RiskClass | None:
        """The class of a graft that people have to approve; None for one that needs no approval."""
        return next((risk for risk in self.approval if risk.has(candidate, num_params)), None)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Everything that a decision follows from, besides what was measured."""

    gates: Mapping[str, Mapping[str, Any]]
    """Gate -> its settings."""
    judging: Judging = field(default_factory=Judging)

    def __post_init__(self) -> None:
        """Refuse gates that do not exist, or none."""
        build_gates(self.gates)

    @property
    def digest(self) -> str:
        """What a decision says that it was made by."""
        return records.digest(self)

    def build(self) -> list[Gate]:
        """The gates, ready to be asked."""
        return build_gates(self.gates)


def policy_of(state: State) -> Policy:
    """The policy that is in force.

    Raises:
        ConfigError: None was ever set.
    """
    if not state.policy:
        raise ConfigError("this registry has no policy to judge by; set one with `saint policy REGISTRY --set FILE`")
    return config.build(state.policy["policy"], Policy, where="the ledger's policy")
