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
from saint.growth._trial import Leg, Trial
from saint.training import Schedule

PerDocument = Float64[np.ndarray, " documents"]
_FEWEST = 16
"""Documents that are looked at, however small the share."""
_LETTERS = 4000
_DRIFT = 1.01
"""How much faster another machine's clock may be."""


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

    def seconds(self, name: str, *, at_most: float) -> float:
        found = self._header.get(name)
        if not isinstance(found, float) or not 0 <= found < math.inf:
            raise RefusedResultError(f"expected seconds at {name!r}, got {str(found)[:40]}")
        must_be_in_time(found, at_most)
        return found

    def number(self, name: str) -> float | None:
        """A figure, or None for what is no number."""
        found = self._header.get(name, "")
        if found is not None and not _is_finite(found):
            raise RefusedResultError(f"expected a number at {name!r}, got {str(found)[:40]!r}")
        return None if found is None else float(found)

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
        found = self.measured(number)
        if np.isnan(found).any():
            raise RefusedResultError(f"it says that its graft costs no number on {np.isnan(found).sum()} documents")
        return found

    def measured(self, number: int) -> PerDocument:
        """What it found that a graft costs on each document of *select*, in nats; NaN for what is no number."""
        found = self._header.get("costs")
        if not isinstance(found, list) or len(found) != number or not all(map(_is_cost, found)):
            raise RefusedResultError(f"expected what the graft costs on each of {number} documents")
        return np.array(found, dtype=np.float64)

    def table(self, name: str) -> dict[str, Any]:
        found = self._header.get(name)
        if not isinstance(found, dict):
            raise RefusedResultError(f"expected a table at {name!r}, got {type(found).__name__}")
        return found


def history_in(schedule: Schedule, told: Answer, trial: Trial | None, leg: Leg | None = None) -> History:
    """How it says that it learnt, which has to be a way in which the schedule lets it learn.

    Args:
        trial: None for the whole base.
        leg: The part of it that this is about; None for all.
    """
    try:
        history = config.build(told.table("history"), History, where="history")
        records.to_canonical(history)
    except (SaintError, ValueError) as error:
        raise RefusedResultError(f"expected how it learnt, got something else ({error})") from error
    _must_be_due(schedule, history, leg or Leg())
    before = trial.start.history if trial is not None and trial.start is not None else None
    strength = trial.start.strength if trial is not None and trial.start is not None else 1.0
    if history.earlier_tokens != (before.all_tokens if before is not None else 0) or (
        trial is not None and history.strength != strength
    ):
        raise RefusedResultError("it says that it went on from something else")
    return history


def _must_be_due(schedule: Schedule, history: History, leg: Leg) -> None:
    """Refuse evaluations that are not those that the schedule has up to where it came, and an end that is none."""
    each = schedule.tokens_per_step
    evaluations = [(tokens / each, bpb) for tokens, bpb in history.select_bpb]
    step, end = history.train_tokens / each, schedule.num_steps if leg.until is None else leg.until
    if not step.is_integer() or not 1 <= step <= end:
        raise RefusedResultError(f"it says that it came to step {step:g} of {end}")
    has_ended = schedule.has_ended([(int(at), bpb) for at, bpb in evaluations], int(step))
    due = [at for at in range(1, int(step) + 1) if at % schedule.evaluate_every == 0 or (has_ended and at == step)]
    if [at for at, _ in evaluations] != due:
        raise RefusedResultError("it was evaluated at steps that the schedule does not have")
    if step < end and not has_ended:
        raise RefusedResultError("it stopped before the schedule's end, or the rung, although it still came lower")
    best = min((bpb for _, bpb in history.select_bpb), default=math.nan)
    is_at_best = (history.best_tokens, best) in history.select_bpb
    if not (is_at_best if leg.until is None else history.best_tokens == history.train_tokens):
        raise RefusedResultError("it says that it was best where it was not evaluated, or not lowest")


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


def must_be_in_time(time_s: float, at_most_s: float) -> None:
    """Refuse a training that took longer than it can have.

    Raises:
        RefusedResultError: It did.
    """
    if time_s > at_most_s * _DRIFT:
        raise RefusedResultError(f"it says that training took {time_s:.6g} s, and it had the job for {at_most_s:.6g} s")


def _is_cost(number: Any) -> bool:
    return number is None or (_is_finite(number) and number >= 0)


def _is_finite(number: Any) -> bool:
    return type(number) is float and math.isfinite(number)


def with_measured(history: History, measured: float, tolerance: Tolerance) -> History:
    """The same with the coordinator's own figure for the weights that it was sent, where these were evaluated.

    Raises:
        RefusedResultError: The worker's differs.
    """
    at = history.best_tokens
    if (claimed := dict(history.select_bpb).get(at)) is None:
        return history
    must_agree(claimed, measured, "bits per byte", tolerance)
    figures = tuple((tokens, measured if tokens == at else bpb) for tokens, bpb in history.select_bpb)
    return replace(history, select_bpb=figures)


def must_agree(claimed: float | None, measured: float, unit: str, tolerance: Tolerance) -> None:
    """Refuse what a worker says that its graft costs if it was found to cost something else.

    Args:
        claimed: None for what is no number.

    Raises:
        RefusedResultError: It does.
    """
    is_number = math.isfinite(measured)
    if claimed is None and not is_number:
        return
    if claimed is None or not is_number or abs(claimed - measured) > tolerance.whole * abs(measured):
        said = "no number" if claimed is None else f"{claimed:.6f}"
        raise RefusedResultError(f"it said that its graft costs {said} {unit}; it costs {measured:.6f}")
