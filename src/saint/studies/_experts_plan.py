"""What a study of composed experts is to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final, get_args

from saint.data import DataPlan
from saint.errors import ConfigError
from saint.studies._checks import must_name_text
from saint.training import BasePlan, Schedule

Apart = Literal["domains", "chance"]
Way = Literal["logit_mean", "probability_mean", "posterior", "gate", "weight_average"]
WAYS: tuple[Way, ...] = get_args(Way)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertsPlan:
    """A group of experts of one architecture, each trained on a part of the text."""

    name: str
    architecture: str = "saint_layered"
    """A model type of transformers."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that architecture's configuration; the vocabulary comes from the tokenizer."""
    lr: float = 3e-3
    apart: Apart = "domains"
    """What tells the experts' text apart: its domain, or chance alone."""
    ways: tuple[Way, ...] = WAYS
    """How the experts are composed."""
    joint: bool = False
    """Whether a model of this sort is trained on the text of all experts together: once on as many tokens as all of
    them, once on as many as one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.apart not in get_args(Apart):
            raise ConfigError(f"group {self.name!r}: apart is {self.apart!r}, expected 'domains' or 'chance'")
        for way in self.ways:
            if way not in WAYS or self.ways.count(way) > 1:
                raise ConfigError(
                    f"group {self.name!r}: ways holds {way!r}; give each of {', '.join(WAYS)} once at most"
                )

    def base(self, domain: str, seed: int, schedule: Schedule) -> BasePlan:
        """One expert, before it is known which."""
        return BasePlan(
            architecture=self.architecture, model=self.model, domain=domain, lr=self.lr, seed=seed, schedule=schedule
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GatePlan:
    """How a gate learns, above frozen experts, from the text of all of them."""

    lr: float = 1e-2
    schedule: Schedule = field(default_factory=lambda: Schedule(num_steps=50))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CompositionTargets:
    """What is asked of the composed experts; a figure without a target is not printed.

    All are differences in nats per byte at the end of their 95 % interval that is the harder one to reach.
    """

    posterior_saves_on_mix: float | None = None
    """The first group's posterior mixture against its better part, on the mix, at least."""
    logit_mean_saves_on_mix: float | None = None
    """The mean of logits likewise."""
    posterior_loses_at_home: float | None = None
    """The most that the posterior mixture is worse than a specialist on the specialist's own text, at most."""
    saves_with_own_embeddings: float | None = None
    """What the posterior mixture of the first further group by domains saves on the mix, at least: the control for
    whether a shared interface is needed."""
    domains_beat_chance: float | None = None
    """How much more the posterior mixture saves on the mix with experts by domain than by chance, at least."""
    average_loses_on_mix: float | None = None
    """How much worse the average of the weights is than the better part, at least."""
    joint_beats_posterior: float | None = None
    """How much better one model on all tokens is on the mix than the posterior mixture, at least: what composing
    costs."""
    seconds: float | None = None
    """Wall clock of all sessions of the command together, at most."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CompositionPlan:
    """Experts on parts of a text, composed in all ways, and measured on their own, on mixed and on unseen text."""

    name: str
    data: DataPlan | None = None
    """The domains of role `retain` or `grow` have an expert each; those of role `safety` are unseen by all."""
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    groups: tuple[ExpertsPlan, ...]
    """The first is what the study is about, the others are controls."""
    seeds: tuple[int, ...] = (0, 1, 2)
    schedule: Schedule = field(default_factory=Schedule)
    """Of every expert."""
    gate: GatePlan = field(default_factory=GatePlan)
    evaluation_seq_len: int = 256
    targets: CompositionTargets | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        must_name_text(self)
        if not self.groups or not self.seeds:
            raise ConfigError("groups and seeds must not be empty; give at least one of each")
        for what, names in (("groups", [one.name for one in self.groups]), ("seeds", list(self.seeds))):
            if len(set(names)) < len(names):
                raise ConfigError(f"{what} are {', '.join(map(str, names))}; give each once, under a name of its own")
