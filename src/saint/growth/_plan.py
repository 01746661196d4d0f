from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint import discovery
from saint.candidates import Proposal
from saint.data import DataPlan
from saint.errors import ConfigError
from saint.gates import build_gates
from saint.grafts import kind_and_options
from saint.records import Budget
from saint.training import Schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How the places worth growing at are found."""

    method: str = "gradient"
    num_batches: int = 4

    def __post_init__(self) -> None:
        """Refuse a map that nothing provides or that sees nothing."""
        if self.method not in (known := discovery.names("sensitivity")):
            raise ConfigError(f"method is {self.method!r}; expected {' or '.join(known)}")
        if self.num_batches < 1:
            raise ConfigError(f"num_batches is {self.num_batches}; it must be at least 1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """What the same tokens buy without grafts, at the stack's number of parameters and with all parameters."""

    after: Literal["every round", "last round", "never"] = "every round"
    """When they are trained; without any, the report says so."""
    lora_lr: float = 1e-2
    """Peak learning rate of LoRA at every linear site, with the parameters of the stack."""
    full_lr: float = 1e-3
    """Peak learning rate of training the whole base further."""

    def __post_init__(self) -> None:
        """Refuse rates that cannot teach."""
        if self.lora_lr <= 0 or self.full_lr <= 0:
            raise ConfigError("lora_lr and full_lr must be positive")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that decides how a registry grows; stored in its ledger with its digest."""

    name: str
    seed: int = 0
    data: DataPlan
    budget: Budget
    proposals: tuple[Proposal, ...]
    gates: Mapping[str, Mapping[str, Any]]
    """Gate -> its settings."""
    rounds: int = 2
    """Each round grows on the stack that the one before left."""
    candidates_per_round: int = 3
    """How many are trained."""
    finalists_per_round: int = 2
    """How many of them, the best on *select* first, the gates are asked about."""
    strengths: tuple[float, ...] = (1.0, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.35)
    """What a trained graft's change may be multiplied by; chosen on *select*."""
    schedule: Schedule = field(default_factory=Schedule)
    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    controls: Controls = field(default_factory=Controls)
    evaluation_seq_len: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        for name in ("rounds", "candidates_per_round", "finalists_per_round", "evaluation_seq_len"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.proposals:
            raise ConfigError("proposals is empty; name at least one kind of graft to try")
        if not self.strengths or not all(0 < strength <= 1 for strength in self.strengths):
            raise ConfigError(f"strengths is {self.strengths}; give numbers above 0 and up to 1")
        for proposal in self.proposals:
            kind_and_options(proposal.kind, proposal.options)
        build_gates(self.gates)

    @property
    def allowed_regression_bpb(self) -> float | None:
        """What the retention gate allows; None without that gate."""
        limit = self.gates.get("retention", {}).get("at_most_bpb")
        return None if limit is None else float(limit)
