from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

from saint import config, records
from saint.candidates import Proposal, Routing
from saint.data import DataPlan
from saint.errors import ConfigError
from saint.gates import build_gates
from saint.grafts import kind_and_options
from saint.growth._layerwise import Layerwise
from saint.growth._sets import Joint, Overgrow
from saint.judging import Judging, Policy
from saint.records import Budget
from saint.sensitivity import Sensitivity
from saint.training import Schedule, Search


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
    random: bool = False
    """Whether LoRA is also trained at sites drawn by chance, as many as the stack's: what the choice of places is
    worth. Left out where the stack is at all of them, as that is LoRA everywhere."""

    def __post_init__(self) -> None:
        """Refuse rates that cannot teach."""
        if self.lora_lr <= 0 or self.full_lr <= 0:
            raise ConfigError("lora_lr and full_lr must be positive")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Some rounds that grow in one way; what stands at their end is frozen, and the next stage grows on it.

    What a stage does not say, the plan says for all.
    """

    name: str = ""
    """For people."""
    rounds: int = 0
    """0 for as many as the plan says."""
    accept: int = 1
    """How many of a round's grafts may come to stand: each time one does, the others that passed are measured and
    judged again on the new stack."""
    sites: Literal["all", "refined"] = "all"
    """`refined`: only the sites of grafts that stand, and the linear maps inside a block that one of them is at."""
    proposals: tuple[Proposal, ...] = ()
    """Empty for the plan's."""
    schedule: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the plan's schedule."""
    candidates_per_round: int = 0
    """0 for as many as the plan says."""
    finalists_per_round: int = 0
    """0 for as many as the plan says."""
    at_most_inside: float = 1.0
    """The gates are not asked about a graft of whose change a larger share lies within what the stack spans."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("rounds", "candidates_per_round", "finalists_per_round"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1, or leave it out for the plan's")
        if self.accept < 1:
            raise ConfigError(f"accept is {self.accept}; it must be at least 1")
        if not 0 <= self.at_most_inside <= 1:
            raise ConfigError(f"at_most_inside is {self.at_most_inside}; it must be between 0 and 1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that decides how a registry grows; stored in its ledger with its digest."""

    name: str
    seed: int = 0
    data: DataPlan
    budget: Budget
    proposals: tuple[Proposal, ...] = ()
    """What is tried, unless a stage has proposals of its own."""
    gates: Mapping[str, Mapping[str, Any]]
    """Gate -> its settings."""
    judging: Judging = field(default_factory=Judging)
    """How sealed text is asked whether they are met, and who must agree."""
    rounds: int = 2
    """Each round grows on the stack that the one before left."""
    candidates_per_round: int = 3
    """How many are trained."""
    finalists_per_round: int = 2
    """How many of them, the best on *select* first, the gates are asked about."""
    retry_steps: int = 0
    """How many steps longer a graft is trained in the next round if sealed text did not show enough of it; 0 for never.
    `judging.at_most_retries` says how often."""
    rates: tuple[float, ...] = ()
    """What each candidate's learning rate is multiplied by in turn, as [0.33, 1, 3]: all these tries are trained, their
    tokens count, and the best on *select* goes on. Empty for its learning rate alone."""
    strengths: tuple[float, ...] = (1.0, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.35)
    """What a trained graft's change may be multiplied by; chosen on *select*."""
    schedule: Schedule = field(default_factory=Schedule)
    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    routing: Routing = field(default_factory=Routing)
    search: Search = field(default_factory=Search)
    controls: Controls = field(default_factory=Controls)
    stages: tuple[Stage, ...] = ()
    """Grown one after the other; empty for one stage of the settings above, in which one graft a round may stand."""
    joint: Joint | None = None
    """Whether the best grafts of each round are also tried as one; by default they are not."""
    overgrow: Overgrow | None = None
    """Whether a graft at every site, pruned, is tried in each round as well; by default none is."""
    evaluation_seq_len: int = 256
    layerwise: Layerwise | None = field(default=None, metadata=records.LATER)
    """Growth by layers instead: each stage after the first is a round with one candidate, whole blocks on top."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        for name in ("rounds", "candidates_per_round", "finalists_per_round", "evaluation_seq_len"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.retry_steps < 0:
            raise ConfigError(f"retry_steps is {self.retry_steps}; it must not be negative")
        if not self.strengths or not all(0 < strength <= 1 for strength in self.strengths):
            raise ConfigError(f"strengths is {self.strengths}; give numbers above 0 and up to 1")
        if len(set(self.rates)) < len(self.rates) or any(rate <= 0 for rate in self.rates):
            raise ConfigError(f"rates is {self.rates}; give each factor of the learning rate once, all above 0")
        self._check_layerwise()
        for number, stage in enumerate(self.in_full):
            self._check(stage, f"stages[{number}]: " if self.stages else "")
        if self.joint is not None and all(stage.candidates_per_round < 2 for stage in self.in_full):
            raise ConfigError("joint makes one graft of several of a round, and candidates_per_round is 1; raise it")
        build_gates(self.gates)

    @property
    def policy(self) -> Policy:
        """By what the registry's decisions are made, unless that is changed later."""
        return Policy(gates=self.gates, judging=self.judging)

    @property
    def num_tries(self) -> int:
        """How often each candidate is trained, at another learning rate each time."""
        return len(self.rates) or 1

    @property
    def in_full(self) -> tuple[Stage, ...]:
        """The stages with all that they leave to the plan; of growth by layers those after the first, the base's."""
        if (layers := self.layerwise) is not None:
            return tuple(
                Stage(
                    name=layers.name_of(index),
                    rounds=1,
                    schedule=layers.changes_to(self.schedule, index),
                    candidates_per_round=1,
                    finalists_per_round=1,
                )
                for index in range(1, len(layers.stages))
            )
        return tuple(
            replace(
                stage,
                rounds=stage.rounds or self.rounds,
                proposals=stage.proposals or self.proposals,
                candidates_per_round=stage.candidates_per_round or self.candidates_per_round,
                finalists_per_round=stage.finalists_per_round or self.finalists_per_round,
            )
            for stage in self.stages or (Stage(),)
        )

    def schedule_of(self, stage: Stage) -> Schedule:
        """The schedule that grafts of `stage` are trained with.

        Raises:
            ConfigError: The stage changes what a schedule does not have.
        """
        return config.build({**records.to_plain(self.schedule), **stage.schedule}, Schedule, where="schedule")

    @property
    def layer_schedules(self) -> tuple[Schedule, ...]:
        """The schedule of each stage of growth by layers, the first included; empty for other growth."""
        layers, plain = self.layerwise, records.to_plain(self.schedule)
        if layers is None:
            return ()
        changes = [layers.changes_to(self.schedule, index) for index in range(len(layers.stages))]
        return tuple(config.build({**plain, **change}, Schedule, where="schedule") for change in changes)

    def _check_layerwise(self) -> None:
        """Refuse what growth by layers would not look at."""
        if self.layerwise is None:
            return
        for name, default in (
            ("proposals", ()),
            ("stages", ()),
            ("rates", ()),
            ("joint", None),
            ("overgrow", None),
            ("retry_steps", 0),
        ):
            if getattr(self, name) != default:
                raise ConfigError(f"{name} has no effect on growth by layers; leave it or the table [layerwise] out")
        if self.schedule.fade_in:
            raise ConfigError("schedule.fade_in has no effect on a first stage, which is a base; leave it out")

    def _check(self, stage: Stage, where: str) -> None:
        if not stage.proposals and self.layerwise is None:
            raise ConfigError(f"{where}proposals is empty; name at least one kind of graft to try")
        if 0 < self.routing.rerank <= stage.candidates_per_round:
            raise ConfigError(
                f"{where}routing.rerank is {self.routing.rerank}, and a round trains {stage.candidates_per_round} "
                "candidates anyway; raise it, or leave it out"
            )
        if stage.accept > stage.finalists_per_round:
            raise ConfigError(
                f"{where}accept is {stage.accept}, and the gates are asked about {stage.finalists_per_round} a round; "
                "raise finalists_per_round"
            )
        try:
            self.schedule_of(stage)
            for proposal in stage.proposals:
                kind_and_options(proposal.kind, proposal.options)
        except ConfigError as error:
            raise type(error)(f"{where}{error}") from error
