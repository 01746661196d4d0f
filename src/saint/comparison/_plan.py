from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, final

from saint import config, discovery
from saint.data import DataPlan
from saint.errors import ConfigError
from saint.grafts import Kind, kind_and_options
from saint.records import Quantization, Site
from saint.sensitivity import Sensitivity
from saint.training import Schedule

_SIZES_TRIED = (1, 2, 4, 8, 16, 32, 64)  # options are checked with the first of these that the kind takes


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPlan:
    """One way of spending the parameters and the tokens: a kind of graft, or training the whole base."""

    name: str
    kind: str = ""
    """A kind of graft, or nothing where the whole base is trained."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The kind's options, but for the size."""
    size: str = ""
    """The option that is raised to fill a budget (`rank`, `width`); none for a kind without a size."""
    roles: tuple[str, ...] = ()
    """Only sites of these roles; empty for every site that the kind attaches to."""
    sites: Literal["sensitive", "random", "given"] = "sensitive"
    """Which sites come first where not all can be served: by squared sensitivity per parameter, by chance, or all of
    them or none. Chance draws anew for each run seed, so that its spread over seeds contains the draw."""
    share: float = 1.0
    """Share of these sites that are used, the first in that order."""
    whole: Literal["", "full", "continued"] = ""
    """Train the whole base, on the text that is grown towards, or further on the text of its own, retained domain."""
    lr: float = 1e-2
    """Peak learning rate in the middle of its search."""
    control: bool = False
    """Whether it is a control; every arm of the rival's kind is, and every one that trains the whole base."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if bool(self.kind) == bool(self.whole):
            raise ConfigError(f"arm {self.name!r} needs either a kind or whole, and not both")
        if self.whole and (self.options or self.size or self.roles):
            raise ConfigError(f"arm {self.name!r} trains the whole base, where options, size and roles have no effect")
        if self.lr <= 0:
            raise ConfigError(f"arm {self.name!r}: lr is {self.lr}; it must be positive")
        if not 0 < self.share <= 1:
            raise ConfigError(f"arm {self.name!r}: share is {self.share}; it must be above 0 and at most 1")
        if self.kind:
            self._check_options()

    def belongs(self, site: Site, attaches_to: str) -> bool:
        """Whether the arm may use `site`."""
        return site.sort == attaches_to and (not self.roles or site.role in self.roles)

    def _check_options(self) -> None:
        """Refuse options that the kind does not have, and values that it takes with no size."""
        where = f"arm {self.name!r}: options of {self.kind}"
        elsewhere = self.options.get("at", {})
        if not isinstance(elsewhere, Mapping) or not all(isinstance(table, Mapping) for table in elsewhere.values()):
            raise ConfigError(
                f"{where}: expected a table of tables at 'at', a role or a site key with what is chosen otherwise "
                f"there, got {elsewhere!r}"
            )
        known = [field.name for field in fields(discovery.find("grafts", self.kind, Kind).Options)]
        inner = [key for table in elsewhere.values() for key in table]
        for key in (*self.options, *inner, *((self.size,) if self.size else ())):
            if key not in (*known, "at"):
                raise config.unknown_key(key, known, where=where, what=self.kind)
        if self.size in (*self.options, *inner):
            raise ConfigError(f"{where}: {self.size!r} is the size, which the budget decides; leave it out")
        failures = []
        for size in _SIZES_TRIED if self.size else (0,):
            try:
                kind_and_options(self.kind, {**self.options, **({self.size: size} if self.size else {})})
            except ConfigError as error:
                failures.append(error)
            else:
                return
        raise ConfigError(f"arm {self.name!r}: {failures[0]}") from failures[0]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What the comparison is asked to reach; a figure without a target is not printed."""

    budgets_won: int | None = None
    """Budgets in which an arm of ours has a higher mean gain than the strongest rival, with an interval that excludes
    0; also the target of the figure `budgets_won_corrected`, whose intervals allow for the number of our arms there
    (Bonferroni)."""
    gain_per_byte_ratio: float | None = None
    """Gain per stored byte of the best of ours against the strongest rival's, at the smallest budget, among those that
    spend at least 95 % of the rival's parameters there."""
    gain_per_byte_ratio_no_less_gain: float | None = None
    """The same among all rows of ours, of whatever size, whose mean gain is no less than the rival's there."""
    seconds: float | None = None
    """Wall clock of all sessions of the command together."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonPlan:
    """A matrix of arms, budgets and seeds on one base, one text, equal tokens and one set of evaluation documents."""

    name: str
    seed: int = 0
    """Chooses the text that sensitivity is measured on, and, with the seed of a run, random sites."""
    base: str
    """A model's folder or hub name, or a base plan (a TOML file) that is trained first; relative to this file."""
    quantize: Quantization | None = None
    """Store the base's linear maps in few bits, for every arm: LoRA on such a base is QLoRA."""
    data: DataPlan | None = None
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    arms: tuple[ArmPlan, ...]
    rival: str = "lora"
    """An arm. In each budget the others are held against the arm of its kind that gains the most there."""
    budgets: tuple[float, ...] = (0.001, 0.01, 0.05)
    """Shares of the base's parameters that an arm may train."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each chooses a random start, the order of the text and random sites; rates are tuned with the first."""
    tries: int = 3
    """Learning rates that every arm tries at every budget."""
    schedule: Schedule = field(default_factory=Schedule)
    sensitivity: Sensitivity = field(default_factory=Sensitivity)
    evaluation_seq_len: int = 256
    targets: Targets | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        if (self.data is None) == (not self.data_plan):
            raise ConfigError("a comparison needs either data or data_plan, and not both")
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"two arms are called {twice[0]!r}; give each its own name")
        grafted = [arm.name for arm in self.arms if arm.kind]
        if self.rival not in grafted:
            there = ", ".join(grafted) or "none"
            raise ConfigError(f"rival is {self.rival!r}, which is no arm with a kind; those are {there}")
        if self.quantize and (whole := [arm.name for arm in self.arms if arm.whole]):
            raise ConfigError(f"arm {whole[0]!r} trains the whole base, which quantize forbids; leave one of them out")
        self._check_numbers()

    def is_ours(self, arm: ArmPlan) -> bool:
        """Whether an arm is what the comparison is about: no control, and not of the rival's kind."""
        rival = next(one for one in self.arms if one.name == self.rival)
        return not (arm.control or arm.whole) and arm.kind != rival.kind

    def _check_numbers(self) -> None:
        if not self.budgets or not all(0 < budget < 1 for budget in self.budgets):
            raise ConfigError(f"budgets is {list(self.budgets)}; give shares of the base between 0 and 1, such as 0.01")
        for name in ("budgets", "seeds"):
            if not (given := getattr(self, name)) or len(set(given)) < len(given):
                raise ConfigError(f"{name} is {list(given)}; give at least one, each once")
        for name in ("tries", "evaluation_seq_len"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
