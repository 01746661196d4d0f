"""What a study of ways is to do: models from nothing side by side, and what is claimed of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

from saint.data import DataPlan
from saint.errors import ConfigError
from saint.growth import HeadRule, Init
from saint.studies._checks import each_once, must_name_text
from saint.training import BasePlan, Plateau


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoraPhases:
    """Phases of growth by layers in which adapters on all blocks learn with the head, as a stage's blocks would."""

    share: float = 0.25
    """Of all tokens, divided among the phases evenly."""
    after: Literal["last stage", "every stage"] = "last stage"
    """Where they are; not after the first stage, whose blocks have just learnt."""
    rank: int = 0
    """As in a plan for growth by layers: 0 for the budget of a stage."""
    lr: float = 0.0
    """Peak learning rate; 0 for that of the blocks."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.share < 1:
            raise ConfigError(f"share is {self.share:g}; it must be above 0 and below 1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class InDepth:
    """A model that grows by layers on a frozen interface, and whose stages share the tokens of the schedule."""

    stages: int = 3
    """The blocks of the model are divided among them evenly."""
    init: Init = "zero"
    """As in a plan for growth by layers."""
    head: HeadRule = "carried"
    interface_learns: bool = False
    """Whether everything learns in the first stage, what tokens come in through included; frozen after it."""
    plateau: Plateau | None = None
    """When a stage is over before its cap; None for an equal part of the tokens for each. The last stage has what is
    left, on a cosine."""
    least: float = 0.5
    """With a plateau, the share of an equal part that is kept back for each stage to come."""
    lora: LoraPhases | None = None
    """Phases that readjust all blocks, of whose tokens the stages then have less; None for none."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.stages < 2:
            raise ConfigError(f"stages is {self.stages}; growth takes at least 2")
        if not 0 < self.least <= 1:
            raise ConfigError(f"least is {self.least:g}; it must be above 0 and at most 1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One model from nothing: how it differs from the plan's."""

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the architecture's configuration that replace the plan's."""
    num_steps: int = 0
    """0: as many as the plan's."""
    lrs: tuple[float, ...] = ()
    """Learning rates that are tried with the first seed; the best on *select* is taken. Empty for the plan's own."""
    grown: InDepth | None = None
    """How it grows; None for a model that is trained as a whole."""
    stacked: int = 1
    """A model with this part of the blocks is trained for this part of the steps; then its blocks are stacked so many
    times (G_stack, arXiv:2405.15319), and all learn for the other steps."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.stacked < 1 or (self.stacked > 1 and self.grown is not None):
            raise ConfigError(
                f"way {self.name!r}: stacked is {self.stacked}; give 2 or more and no `grown` beside it, or leave it "
                "out"
            )

    def of(self, base: BasePlan) -> BasePlan:
        """What is trained."""
        schedule = replace(base.schedule, num_steps=self.num_steps) if self.num_steps else base.schedule
        return replace(base, model={**base.model, **self.model}, schedule=schedule)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """That one way predicts better than another, hardly worse, or alike; one of `by`, `worse_by` and `alike` is given.

    Each is held against the end of a 95 % interval that is the harder one to reach.
    """

    name: str
    """Of the figure."""
    better: str
    """A way."""
    than: str
    """The way that it is held against."""
    by: float | None = None
    """Better by at least so many nats per byte."""
    worse_by: float | None = None
    """Worse by at most this share of the other's loss."""
    alike: float | None = None
    """Better or worse by at most this share of the other's loss."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if sum(value is not None for value in (self.by, self.worse_by, self.alike)) != 1:
            raise ConfigError(f"claim {self.name!r} needs exactly one of by, worse_by and alike; give that one")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WaysPlan:
    """Models from nothing on the same tokens, and claims about them."""

    name: str
    data: DataPlan | None = None
    """One domain of role `grow`, which everything learns from."""
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    base: BasePlan
    """What all ways are but for what they change; its seed is not used."""
    ways: tuple[Way, ...]
    claims: tuple[Claim, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each chooses the random starts and the order of the text."""
    evaluation_seq_len: int = 256
    least_stage_of: str = ""
    """A claim: every stage of this way, which grows, predicts better than the stage before. Empty for none."""
    seconds: float | None = None
    """A figure: the wall clock of all sessions of the command together, at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        must_name_text(self)
        if not self.ways or not self.seeds:
            raise ConfigError("ways and seeds must not be empty; give at least one of each")
        for what, names in (
            ("ways", [one.name for one in self.ways]),
            ("claims", [one.name for one in self.claims]),
            ("seeds", list(self.seeds)),
        ):
            each_once(what, names)
        there = {one.name for one in self.ways}
        if self.least_stage_of and self.least_stage_of not in {one.name for one in self.ways if one.grown is not None}:
            raise ConfigError(f"least_stage_of is {self.least_stage_of!r}, which is no way that grows; name one")
        for claim in self.claims:
            if missing := {claim.better, claim.than} - there:
                raise ConfigError(
                    f"claim {claim.name!r} is about {', '.join(sorted(missing))}, and the ways are "
                    f"{', '.join(sorted(there))}; name two of them"
                )
