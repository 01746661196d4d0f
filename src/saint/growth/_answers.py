"""What workers say, read with suspicion."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int64

from saint import config, records
from saint.errors import RefusedResultError, SaintError
from saint.grafts import History
from saint.growth._trial import Trial
from saint.training import Schedule

PerDocument = Float64[np.ndarray, " documents"]
_FEWEST = 16
"""Documents that are looked at, however small the share."""
_LETTERS = 4000


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far what a worker says may be from what the coordinator finds; its own figure is the one that is kept."""

    whole: float = 1e-6
    """Of what a graft costs on *select*, relative: the coordinator may have other threads, and another processor
    rounds otherwise."""
    each: float = 1e-5
    """Of what it costs on one document, relative and in nats: with others beside it, it is rounded otherwise."""
    validated_bpb: float = 1e-5
    """Of what is measured again from the evidence; other numbers of threads are less far apart."""


ON_A_GPU = Tolerance(whole=1e-3, each=1e-3, validated_bpb=1e-3)
"""Where a worker computes on a GPU and the coordinator on a processor: room for bases in bfloat16; not measured."""


@final
class Answer:
    """The header of an answer, read with suspicion."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._header = header

    def must_be(self, name: str, expected: str) -> None:
        if (found := self._header.get(name)) != expected:
            raise RefusedResultError(f"expected {name} {expected[:12]}, got {str(found)[:12]!r}")

    def text(self, name: str) -> str:
        found = self._header.get(name)
        if not isinstance(found, str):
            raise RefusedResultError(f"expected words at {name!r}, got {type(found).__name__}")
        return found[:_LETTERS]

    def whole(self, name: str, *, at_most: int) -> int:
        found = self._header.get(name)
        if type(found) is not int or not 0 <= found <= at_most:
            raise RefusedResultError(f"expected at most {at_most:,} at {name!r}, got {str(found)[:40]}")
        return found

    def seconds(self, name: str) -> float:
        found = self._header.get(name)
        if not isinstance(found, float) or not 0 <= found < math.inf:
            raise RefusedResultError(f"expected seconds at {name!r}, got {str(found)[:40]}")
        return found

    def losses(self, domain: str, number: int) -> dict[str, PerDocument]:
        """Model -> nats of each document of a domain."""
        there = self.table("nats").get(domain)
        found = {}
        for name in ("bare", "before", "after"):
            nats = there.get(name) if isinstance(there, dict) else None
            if not isinstance(nats, list) or len(nats) != number or not all(map(_is_finite, nats)):
                raise RefusedResultError(f"expected {number} losses of {domain}, got something else")
            found[name] = np.array(nats)
        return found

    def costs(self, number: int) -> PerDocument:
        """What it says that its graft costs on each document of *select*, in nats."""
        found = self._header.get("costs")
        if not isinstance(found, list) or len(found) != number or not all(map(_is_finite, found)) or min(found) < 0:
            raise RefusedResultError(f"expected what the graft costs on each of {number} documents")
        return np.array(found)

    def table(self, name: str) -> dict[str, Any]:
        found = self._header.get(name)
        if not isinstance(found, dict):
            raise RefusedResultError(f"expected a table at {name!r}, got {type(found).__name__}")
        return found


def history_in(schedule: Schedule, told: Answer, trial: Trial | None) -> History:
    """How it says that it learnt, which has to be a way in which the schedule lets it learn."""
    try:
        history = config.build(told.table("history"), History, where="history")
        records.to_canonical(history)
    except (SaintError, ValueError) as error:
        raise RefusedResultError(f"expected how it learnt, got something else ({error})") from error
    each, steps = schedule.tokens_per_step, [tokens / schedule.tokens_per_step for tokens, _ in history.select_bpb]
    whole = all(step.is_integer() for step in steps) and steps == sorted(set(steps))
    if not whole or not steps or steps[0] < 1 or steps[-1] > schedule.num_steps:
        raise RefusedResultError("it was evaluated at steps that the schedule does not have")
    best = min(bpb for _, bpb in history.select_bpb)
    if history.train_tokens != steps[-1] * each or (history.best_tokens, best) not in history.select_bpb:
        raise RefusedResultError("it says that it learnt from other tokens than it was evaluated at")
    if schedule.plateau is None and steps[-1] < schedule.num_steps and not _gave_up(history, schedule.patience):
        raise RefusedResultError("it stopped before the schedule's end although it still came lower")
    before = trial.start.history if trial is not None and trial.start is not None else None
    strength = trial.start.strength if trial is not None and trial.start is not None else 1.0
    if history.earlier_tokens != (before.all_tokens if before is not None else 0) or (
        trial is not None and history.strength != strength
    ):
        raise RefusedResultError("it says that it went on from something else")
    return history


def chosen_documents(number: int, share: float) -> Int64[np.ndarray, " chosen"]:
    """Documents that a graft is measured again on; nobody can know beforehand which."""
    most = max(min(number, _FEWEST), round(share * number))
    return np.array(sorted(SystemRandom().sample(range(number), most)))


def must_be_as_said(said: PerDocument, found: PerDocument, tolerance: Tolerance) -> None:
    """Refuse costs of documents that are not what they are found to be.

    Raises:
        RefusedResultError: Of one it is not.
    """
    if not np.allclose(said, found, rtol=tolerance.each, atol=tolerance.each):
        worst = int(np.argmax(np.abs(said - found)))
        raise RefusedResultError(
            f"it said that its graft costs {said[worst]:.6f} nats on a document of {len(said)} that were looked at; it "
            f"costs {found[worst]:.6f}"
        )


def _is_finite(number: Any) -> bool:
    return type(number) is float and math.isfinite(number)


def _gave_up(history: History, patience: int) -> bool:
    """Whether the last evaluations, as many as a schedule has patience for, were no better than those before."""
    earlier = [bpb for _, bpb in history.select_bpb[:-patience]]
    return bool(earlier) and min(bpb for _, bpb in history.select_bpb[-patience:]) >= min(earlier)


def with_measured(history: History, measured: float, tolerance: Tolerance) -> History:
    """The same with the coordinator's own figure for the weights that were kept.

    Raises:
        RefusedResultError: The worker's differs.
    """
    claimed = dict(history.select_bpb)[history.best_tokens]
    if not math.isfinite(measured) or abs(claimed - measured) > tolerance.whole * abs(measured):
        raise RefusedResultError(f"it said that its graft costs {claimed:.6f} bits per byte; it costs {measured:.6f}")
    figures = tuple((tokens, measured if tokens == history.best_tokens else bpb) for tokens, bpb in history.select_bpb)
    return replace(history, select_bpb=figures)
