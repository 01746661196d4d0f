from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from saint.data import DataPlan
from saint.errors import ConfigError
from saint.grafts import kind_and_options
from saint.studies._checks import each_once, must_name_text
from saint.training import BasePlan, Schedule

Equal = Literal["tokens", "time", "memory"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ScratchPlan:
    """A model that is trained from nothing; how many steps it takes, the study says."""

    name: str
    plan: BasePlan
    lrs: tuple[float, ...] = ()
    """Learning rates that are tried with the first seed at equal tokens, or in equal memory; the best on *select* is
    taken. Empty for the plan's own."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BackbonePlan:
    """A base, and the larger model of the same sort that could have been trained instead of growing it."""

    name: str
    base: BasePlan
    """Trained first, once for each seed; its own seed is not used."""
    full: ScratchPlan
    """Trained on as many tokens as base and arm together, and for as long as they take."""
    others: tuple[ScratchPlan, ...] = ()
    """What else could be trained in the memory that the arm needs: the largest that fits, `full` included, is."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StandingPlan:
    """What may be done with a base that is there: grafts on it, or going on with all of it."""

    name: str
    kind: str = ""
    """A kind of graft; empty for the whole base, which learns on."""
    options: Mapping[str, Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    stages: int = 1
    """Grafts that are trained one after the other, each on those before it, in an equal part of the steps."""
    lrs: tuple[float, ...] = ()
    """Learning rates that are tried with the first seed; the best on *select* is taken. Empty for that of the kind
    (`saint.grafts.default_lr`)."""
    control: bool = False
    """Whether it is a control, as LoRA is; the whole base always is."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.stages < 1:
            raise ConfigError(f"arm {self.name!r}: stages is {self.stages}; it must be at least 1")
        if not self.kind and (self.options or self.roles or self.stages > 1 or not self.lrs):
            raise ConfigError(
                f"arm {self.name!r} trains the whole base, which has no options, roles or stages and needs lrs; name a "
                "kind, or correct these"
            )
        if self.kind:
            kind_and_options(self.kind, self.options)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FullTargets:
    """What the best arm of ours is asked to reach on the first backbone; a figure without a target is not printed."""

    gain_nats: float | None = None
    """At least so many held-out nats per token, at the lower end of the interval."""
    held_out_tokens: float | None = None
    """On at least so many tokens."""
    graft_seconds: float | None = None
    """Training and measuring it with one seed, on one core, takes at most so long once the base is there."""
    seconds: float | None = None
    """Wall clock of all sessions of the command together."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FullPlan:
    """Grafts on small bases against larger models from nothing, at equal tokens, time and memory."""

    name: str
    data: DataPlan | None = None
    """One domain of role `grow`, which everything learns from."""
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    backbones: tuple[BackbonePlan, ...]
    arms: tuple[StandingPlan, ...]
    equal_to: str
    """The arm whose tokens, time and memory larger models are given."""
    against: tuple[Equal, ...] = ("tokens", "time", "memory")
    """What larger models are given as much of; empty to train none."""
    calibration: tuple[ScratchPlan, ...] = ()
    """Well-known architectures, trained from nothing on as many tokens as base and arm of the first backbone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each chooses the random starts and the order of the text, of bases as well."""
    schedule: Schedule = field(default_factory=Schedule)
    """Of every arm."""
    evaluation_seq_len: int = 256
    targets: FullTargets | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        must_name_text(self)
        if not self.backbones:
            raise ConfigError("backbones is empty; give at least one")
        self._check_names()
        if not self.seeds:
            raise ConfigError("seeds is empty; give at least one")
        for arm in self.arms:
            if self.schedule.num_steps % arm.stages:
                raise ConfigError(
                    f"arm {arm.name!r} has {arm.stages} stages, which do not divide the schedule's "
                    f"{self.schedule.num_steps} steps; change either"
                )

    def is_ours(self, arm: StandingPlan) -> bool:
        """Whether an arm is what the study is about."""
        return bool(arm.kind) and not arm.control

    def all_tokens(self, backbone: BackbonePlan) -> int:
        """Tokens that base and arm learn from together."""
        return backbone.base.schedule.num_tokens + self.schedule.num_tokens

    def _check_names(self) -> None:
        each_once("backbones", (one.name for one in self.backbones))
        each_once("arms", (*(arm.name for arm in self.arms), "base"))
        each_once("calibration", (one.name for one in self.calibration))
        each_once("seeds", self.seeds)
        each_once("against", self.against)
        if self.equal_to not in (arm.name for arm in self.arms):
            there = ", ".join(arm.name for arm in self.arms) or "none"
            raise ConfigError(f"equal_to is {self.equal_to!r}, which is no arm; those are {there}")
