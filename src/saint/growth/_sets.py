from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint.candidates import Proposal
from saint.errors import ConfigError
from saint.grafts import kind_and_options


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """The best grafts of a round as one: trained apart they do not add up, so they are re-tuned and judged together."""

    num: int = 4
    """How many, the best on *select* first: of one kind, at different sites, as far as together they fit the budget."""
    strength: float = 0.5
    """What their changes are multiplied by from then on; at full strength they overshoot together."""
    num_steps: int = 30
    """How long the set is trained, with the rest of the schedule."""
    lr: float | None = None
    """Peak learning rate; by default what those of its grafts come to at all their sites together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.num < 2:
            raise ConfigError(f"joint.num is {self.num}; a set has at least 2 grafts, or leave `joint` out")
        if not 0 < self.strength <= 1:
            raise ConfigError(f"joint.strength is {self.strength}; it must be above 0 and up to 1")
        if self.num_steps < 1:
            raise ConfigError(f"joint.num_steps is {self.num_steps}; it must be at least 1")
        if self.lr is not None and self.lr <= 0:
            raise ConfigError(f"joint.lr is {self.lr}; it must be positive")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Overgrow:
    """One graft at every site, trained and pruned to the few sites that matter, which are then trained further."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the kind may choose, as in a proposal."""
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    lr: float | None = None
    """Peak learning rate at all sites; by default that of the kind. What is pruned takes the root of how many times
    fewer its sites are as much again."""
    keep: int = 6
    """At most so many sites are left: those that are worth something on *select* and together fit the budget. The
    overgrown graft itself need not fit it."""
    by: Literal["leave_one_out", "taylor"] = "leave_one_out"
    """What a site is worth: the loss on *select* without it, or a guess at that from one backward pass."""
    num_steps: int = 0
    """How long the overgrown graft is trained; 0 for as long as the schedule says."""
    retrain_steps: int = 30
    """How long what is left is trained further."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("keep", "retrain_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"overgrow.{name} is {getattr(self, name)}; it must be at least 1")
        if self.num_steps < 0:
            raise ConfigError(f"overgrow.num_steps is {self.num_steps}; give at least 1, or 0 for the schedule's")
        if self.lr is not None and self.lr <= 0:
            raise ConfigError(f"overgrow.lr is {self.lr}; it must be positive")
        try:
            kind_and_options(self.kind, self.options)
        except ConfigError as error:
            raise type(error)(f"overgrow: {error}") from error

    @property
    def proposal(self) -> Proposal:
        """The overgrown graft as what is proposed."""
        return Proposal(kind=self.kind, options=self.options, roles=self.roles, bundle="all", lr=self.lr)
