"""What growth has spent, as the ledger says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What all training of trials took, of those that came to nothing as well."""

    train_tokens: int
    """Tokens learnt from."""
    train_flops: float
    """Operations on paper; 0 for trials from before these were written down."""
    train_seconds: float
    """The trials' own seconds of training, one after the other, however often the process was stopped."""


def spent_in(bodies: Iterable[Mapping[str, Any]]) -> Spent:
    """Add up what entries of the ledger say of their training."""
    bodies = list(bodies)
    return Spent(
        train_tokens=sum(body.get("train_tokens", 0) for body in bodies),
        train_flops=float(sum(body.get("train_flops", 0.0) for body in bodies)),
        train_seconds=float(sum(map(_seconds, bodies))),
    )


def _seconds(body: Mapping[str, Any]) -> float:
    """Of one trial; entries from before all had their own seconds have those of trials that came to an end."""
    return float(body["train_seconds"] if "train_seconds" in body else body.get("history", {}).get("time_s", 0.0))
