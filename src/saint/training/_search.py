"""How many candidates are trained together, and which of them to the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float64, Int64

from saint.errors import ConfigError
from saint.statistics import paired_interval

_TOGETHER = {"cpu": 1024}
_TOGETHER_ELSEWHERE = 16384


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """A place in the schedule where candidates are held against each other."""

    at: float
    """Share of the steps."""
    keep: float = 0.5
    """Share of the candidates that come to it which go on, the best on *select*; at least one."""
    in_doubt: float = 0.0
    """Share that goes on besides where it cannot be told from the last of these: the interval of the paired difference
    holds 0."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.at < 1:
            raise ConfigError(f"a rung is at {self.at} of the steps; give a share between 0 and 1")
        if not 0 < self.keep <= 1 or not 0 <= self.in_doubt <= 1:
            raise ConfigError("a rung's keep must be above 0 and up to 1, its in_doubt between 0 and 1")

    def step_of(self, num_steps: int) -> int:
        """The step of a schedule that it is at."""
        return max(1, round(self.at * num_steps))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """How the candidates of a round are trained: how many at once, and which to the end."""

    max_cohort: int = 8
    """Most candidates that share their passes."""
    tokens_together: int = 0
    """Most tokens in a shared pass, for a pass that fills the caches gains nothing from being wider; 0 for 1,024 on a
    processor and 16,384 on an accelerator."""
    exact: bool = True
    """Whether candidates that share passes are computed in an order that gives each the bits it has alone; it is
    checked before the first step, and what differs is trained alone. Without, those of one kind, options and site are
    one batched product, which rounds differently."""
    cache_prefix: bool = True
    """Whether what the frozen blocks below give is computed once for each window of text."""
    cache_dtype: Literal["float32", "bfloat16"] | None = None
    """What it is kept in; by default as it is."""
    memory_mib: int | None = None
    """Most memory for it; by default a quarter of what is free."""
    disk_mib: int | None = None
    """Most room for it on the disk; by default half of what is free."""
    rungs: tuple[Rung, ...] = ()
    """Where candidates that lose are stopped, first to last; none for training all to the end."""
    brackets: int = 1
    """Candidates are dealt to so many groups, best first in turn, and group b leaves out the first b rungs: Hyperband,
    for where short runs rank badly."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("max_cohort", "brackets"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("tokens_together", "memory_mib", "disk_mib"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
        places = [rung.at for rung in self.rungs]
        if places != sorted(set(places)):
            raise ConfigError(f"the rungs are at {places}; give each its own place, first to last")
        if self.brackets > len(self.rungs) + 1:
            raise ConfigError(
                f"brackets is {self.brackets}, and {len(self.rungs)} rungs make at most {len(self.rungs) + 1}; "
                "lower it or add rungs"
            )

    def num_together(self, tokens_per_step: int, device: torch.device) -> int:
        """Most candidates that share a pass when each learns from so many tokens a step."""
        room = self.tokens_together or _TOGETHER.get(device.type, _TOGETHER_ELSEWHERE)
        return max(1, min(self.max_cohort, room // tokens_per_step))

    def rungs_of(self, bracket: int) -> tuple[Rung, ...]:
        """The rungs that candidates of a bracket are held against each other at."""
        return self.rungs[bracket:]


def halving(*, eta: float = 3.0, first: float = 0.2, num: int = 2) -> tuple[Rung, ...]:
    """Rungs of successive halving: each keeps one in `eta`, and the steps up to it are `eta` times those before.

    Args:
        first: Share of the steps at the first rung.

    Source:
        Jamieson and Talwalkar 2016, arXiv:1502.07943; with brackets: Li et al. 2018, arXiv:1603.06560.
    """
    places = [first * eta**index for index in range(num)]
    return tuple(Rung(at=place, keep=1 / eta) for place in places if place < 1)


def promote(
    nats: Sequence[Float64[np.ndarray, " documents"]], num_bytes: Int64[np.ndarray, " documents"], rung: Rung
) -> list[int]:
    """The candidates that go on, best first.

    Args:
        nats: For each candidate that came to the rung, the total loss of each document of *select*.
        num_bytes: UTF-8 bytes of each document.
    """
    order = sorted(range(len(nats)), key=lambda index: (float(nats[index].sum()), index))
    num = max(1, ceil(rung.keep * len(nats)))
    last, most = order[num - 1], num + int(rung.in_doubt * len(nats))
    doubtful = [index for index in order[num:] if paired_interval(nats[last], nats[index], num_bytes).high > 0]
    return [*order[:num], *doubtful][:most]


def stopped_at(
    nats: Sequence[Float64[np.ndarray, " documents"]],
    num_bytes: Int64[np.ndarray, " documents"],
    rung: Rung,
    num_steps: int,
) -> list[str]:
    """For each candidate that came to a rung why it is stopped there; "" for one that goes on.

    Args:
        nats: As `promote` wants them.
        num_bytes: UTF-8 bytes of each document.
        num_steps: Of the schedule.
    """
    kept = set(promote(nats, num_bytes, rung))
    order = sorted(range(len(nats)), key=lambda index: float(nats[index].sum()))
    why = [""] * len(nats)
    for place, index in enumerate(order, 1):
        if index not in kept:
            why[index] = (
                f"at step {rung.step_of(num_steps)} of {num_steps} it was number {place} of {len(nats)} on development "
                f"text, and {len(kept)} went on"
            )
    return why


def no_number_at(step: int) -> str:
    """Why a candidate that is to be held against others at a rung fails there."""
    return f"the loss on development text is no number at step {step}; lower the learning rate"
