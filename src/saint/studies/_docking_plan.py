"""What a study of docking is to do: modules that learn on one backbone, and are moved to others."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final, get_args

from saint.data import DataPlan
from saint.errors import ConfigError
from saint.grafts import kind_and_options
from saint.studies._checks import each_once, must_name_text
from saint.training import BasePlan, Schedule

Arm = Literal["own", "moved", "shuffled", "retrained", "as short"]
"""own: learnt on this backbone; moved: learnt on the first one, and put here as it is; shuffled: the same, with the
numbers of each of its tensors in another order; retrained: moved, and then learnt here for a few steps; as short:
learnt here for as few steps from nothing."""
ARMS: tuple[Arm, ...] = get_args(Arm)
ALONE = "alone"
"""A backbone without a module."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockBackbone:
    """A base that modules stand on, and how it differs from the plan's `base`; each starts from a seed of its own."""

    name: str
    domain: str = ""
    """Whose train split it learns from; empty for that of `base`."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the architecture's configuration that replace those of `base`."""
    stem: int = 0
    """So many first blocks, with what tokens come in through, are those of the first backbone, and do not learn."""
    head: bool = False
    """Whether the last norm and the output head are those of the first backbone as well, and do not learn."""
    forced: bool = False
    """A control: it has another token interface, so that no module could be moved to it, and all are."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.stem < 0:
            raise ConfigError(f"backbone {self.name!r}: stem is {self.stem}; it must not be negative")
        if self.shares and (self.model or self.forced):
            raise ConfigError(
                f"backbone {self.name!r} shares blocks or the head with the first one, and has another model or "
                "interface; leave out model and forced, or stem and head"
            )

    @property
    def shares(self) -> bool:
        """Whether a part of it is the first backbone's."""
        return bool(self.stem) or self.head

    def of(self, base: BasePlan) -> BasePlan:
        """What is trained, but for its seed."""
        return replace(base, model={**base.model, **self.model}, domain=self.domain or base.domain)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockModule:
    """A graft that learns on the first backbone and is moved to the others."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    blocks: tuple[int, ...] = ()
    """Only sites in these blocks, from 0 on, or from -1 on backwards; empty for all."""
    lr: float | None = None
    """None for that of the kind (`saint.grafts.default_lr`)."""

    def __post_init__(self) -> None:
        """Refuse a kind, or options, that there are not."""
        kind_and_options(self.kind, self.options)
        if self.lr is not None and self.lr <= 0:
            raise ConfigError(f"module {self.name!r}: lr is {self.lr:g}; it must be positive")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockClaim:
    """That one row gains at least `share` of what another gains, and `by` more, each over its own backbone alone.

    A row is called `backbone: module, arm`, or `backbone: alone`, which gains nothing. The claim is held against the
    lower end of a 95 % interval.
    """

    name: str
    """Of the figure."""
    better: str
    """A row."""
    than: str
    """The row that it is held against."""
    share: float = 1.0
    """Of the other's gain."""
    by: float = 0.0
    """Nats per byte."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DockingPlan:
    """Backbones that are trained apart, modules that learn on the first of them, and claims about moving these."""

    name: str
    data: DataPlan | None = None
    """One domain of role `grow`, which modules learn from and all is measured on; others for backbones to learn
    from."""
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    base: BasePlan
    """What all backbones are but for what they change; its seed is not used."""
    backbones: tuple[DockBackbone, ...]
    """Modules come from the first, which is the plan's `base`."""
    modules: tuple[DockModule, ...]
    schedule: Schedule = field(default_factory=Schedule)
    """Of every module."""
    retraining: float = 0.1
    """The share of the steps that a moved module may learn for on its new backbone."""
    claims: tuple[DockClaim, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each chooses the random starts and the order of the text."""
    evaluation_seq_len: int = 256
    seconds: float | None = None
    """A figure: the wall clock of all sessions of the command together, at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        must_name_text(self)
        if len(self.backbones) < 2 or not self.modules or not self.seeds:
            raise ConfigError("give at least two backbones, one module and one seed")
        for what, names in (
            ("backbones", [one.name for one in self.backbones]),
            ("modules", [one.name for one in self.modules]),
            ("claims", [one.name for one in self.claims]),
            ("seeds", list(self.seeds)),
        ):
            each_once(what, names)
        first = self.backbones[0]
        if first != DockBackbone(name=first.name):
            raise ConfigError(
                f"backbone {first.name!r} is the first, which is the plan's base as it is; change [base] instead, or "
                "put another backbone first"
            )
        if not 0 < self.retraining < 1 or not round(self.retraining * self.schedule.num_steps):
            raise ConfigError(
                f"retraining is {self.retraining:g} of {self.schedule.num_steps} steps; give a share between 0 and 1 "
                "that comes to at least one step"
            )
        there = self.rows()
        for claim in self.claims:
            if missing := [name for name in (claim.better, claim.than) if name not in there]:
                raise ConfigError(
                    f"claim {claim.name!r} is about {missing[0]!r}, which is no row of the study; those are "
                    f"{'; '.join(there)}"
                )

    @property
    def short_schedule(self) -> Schedule:
        """Of a module that was moved, or that learns for as long as one."""
        steps = round(self.retraining * self.schedule.num_steps)
        return replace(self.schedule, num_steps=steps, evaluate_every=min(steps, self.schedule.evaluate_every))

    def arms(self, backbone: DockBackbone) -> tuple[Arm, ...]:
        """What is done with each module on a backbone."""
        return ("own",) if backbone == self.backbones[0] else ARMS

    def rows(self) -> list[str]:
        """The names of all rows."""
        return [
            name
            for backbone in self.backbones
            for name in (
                row_name(backbone.name),
                *(row_name(backbone.name, one.name, arm) for one in self.modules for arm in self.arms(backbone)),
            )
        ]


def row_name(backbone: str, module: str = "", arm: str = "") -> str:
    """What a row of the study is called."""
    return f"{backbone}: {module}, {arm}" if module else f"{backbone}: {ALONE}"
