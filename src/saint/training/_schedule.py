import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from saint import records
from saint.errors import ConfigError

_LATER = {
    "fade_in": 0.0,
    "shift": True,
    "accumulate": 1,
    "recompute": False,
    "autocast": False,
    "signal_tokens": 4096,
}
_MISSING = object()


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau:
    """An end that follows from development text: a constant learning rate until it gains little, then a decline.

    The number of steps is a cap: the decline begins early enough to end there. It is linear, to the schedule's
    `final_lr`; a learning rate that stays high until training is nearly over and then falls comes to what a cosine over
    just as many steps does, whose length must be known before (Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024,
    arXiv:2405.18392).
    """

    at_least_bpb: float = 0.01
    """An evaluation that is not better than the best before it by as much counts as one without an improvement."""
    patience: int = 2
    """So many of these in a row begin the decline."""
    cooldown: float = 0.25
    """Steps of the decline, as a share of those before it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.at_least_bpb < 0 or self.patience < 1:
            raise ConfigError(
                f"at_least_bpb is {self.at_least_bpb:g} and patience {self.patience}; the first must not be negative, "
                "the second at least 1"
            )
        if not 0 <= self.cooldown <= 1:
            raise ConfigError(f"cooldown is {self.cooldown:g}; it must be between 0 and 1")

    def latest(self, num_steps: int) -> int:
        """The last step at which the decline can begin and still end within `num_steps`."""
        return math.floor(num_steps / (1 + self.cooldown))

    def length(self, begun: int) -> int:
        """Steps of a decline that begins after `begun` steps."""
        return math.ceil(self.cooldown * begun)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how something learns. The peak learning rate belongs to what learns, not to the schedule."""

    num_steps: int = 200
    batch_size: int = 8
    seq_len: int = 128
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    final_lr: float = 0.1
    """Share of the peak learning rate that is left at the end of the cosine."""
    fade_in: float = 0.0
    """Share of the steps over which a new graft's strength rises to 1; *select* is always read at full strength."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    evaluate_every: int = 50
    """Steps between evaluations on *select*; the best state seen is the one that is kept."""
    patience: int = 3
    """Evaluations in a row without an improvement before training stops."""
    shift: bool = True
    """Whether each epoch cuts its windows at another place. Without, what the frozen blocks below a graft give for a
    window is the same in every epoch and for every seed, and is computed once."""
    accumulate: int = 1
    """Passes that a step's batch is divided into; more need less memory and round differently."""
    recompute: bool = False
    """Whether the backward pass computes what is inside a block again instead of keeping it (activation
    checkpointing): less memory for a third more work."""
    autocast: bool = False
    """Whether matrix products of the frozen model are made in bfloat16; what learns stays in float32."""

    signal_tokens: int = 4096
    """Least tokens that what a newborn graft is born from is measured on, for kinds that are born from gradients or
    activations: more give better directions, at the cost of a forward and a backward pass. They are the first of the
    text that it learns from, and count as learnt from besides."""
    plateau: Plateau | None = field(default=None, metadata=records.LATER)
    """Where training ends when development text says so, with `num_steps` for a cap; `patience` is then without
    effect. By default the learning rate follows a cosine over all steps."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in (
            "num_steps",
            "batch_size",
            "seq_len",
            "evaluate_every",
            "patience",
            "accumulate",
            "signal_tokens",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("warmup", "final_lr", "fade_in"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if not 0 <= min(self.beta1, self.beta2) <= max(self.beta1, self.beta2) < 1:
            raise ConfigError(f"beta1 is {self.beta1} and beta2 {self.beta2}; both must be at least 0 and below 1")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide batch_size {self.batch_size}; give a divisor"
            )
        if self.clip_norm <= 0 or self.weight_decay < 0:
            raise ConfigError("clip_norm must be positive and weight_decay must not be negative")

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one step learns from."""
        return self.batch_size * self.seq_len

    @property
    def num_tokens(self) -> int:
        """Tokens that the whole schedule learns from."""
        return self.num_steps * self.tokens_per_step

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other schedules; settings that came later count only where they are not the default."""
        plain: dict[str, Any] = records.to_plain(self)
        return {name: value for name, value in plain.items() if _LATER.get(name, _MISSING) != value}

    def strength(self, step: int) -> float:
        """What a new graft's change is multiplied by at `step`; never 0, where no gradient would reach it."""
        return min(1.0, (step + 1) / max(1, round(self.fade_in * self.num_steps)))

    def lr_share(self, step: int, *, warm: bool = False, cooling: int | None = None) -> float:
        """The learning rate of `step` as a share of the peak: a linear warm-up, then half a cosine.

        Args:
            warm: Leave the warm-up out, for what goes on with its optimiser's state.
            cooling: The step at which the decline of a plateau began; None before.
        """
        num_warmup = max(1, round(self.warmup * self.num_steps))
        if step < num_warmup and not (warm or cooling is not None):
            return (step + 1) / num_warmup
        if self.plateau is not None:
            length = max(1, self.plateau.length(cooling)) if cooling is not None else 1
            done = 0.0 if cooling is None else min(1.0, (step - cooling + 1) / length)
            return 1 - (1 - self.final_lr) * done
        if step < num_warmup:
            return 1.0
        done = (step - num_warmup) / max(1, self.num_steps - num_warmup)
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * done))

    def has_ended(self, evaluations: Sequence[tuple[int, float]], step: int) -> bool:
        """Whether what was evaluated so, as (step, bits per byte) in order, learns no further at `step`."""
        best, num_worse, cooling = math.inf, 0, None
        for evaluated, bpb in evaluations:
            is_better = bpb < best - (self.plateau.at_least_bpb if self.plateau else 0.0)
            best, num_worse = min(best, bpb), 0 if is_better else num_worse + 1
            if self.plateau and cooling is None and num_worse >= self.plateau.patience:
                cooling = evaluated
        if self.plateau is None:
            return step >= self.num_steps or num_worse >= self.patience
        latest = self.plateau.latest(self.num_steps)
        cooling = latest if step > latest and (cooling is None or cooling > latest) else cooling
        return step >= self.num_steps or (cooling is not None and step >= cooling + self.plateau.length(cooling))
