"""What one model saves against another, in nats per byte."""

from math import log
from typing import Any

from jaxtyping import Float64
from numpy import ndarray

from saint.data import Corpus
from saint.evaluation import repeated_interval
from saint.records import to_plain

Nats = Float64[ndarray, "seeds documents"]


def saved_per_byte(before: Nats, after: Nats, text: Corpus) -> dict[str, Any]:
    """Nats per byte that `after` saves against `before`, seed by seed and document by document.

    Returns:
        `estimate`, and `low` and `high` of its 95 % interval, for other documents and seeds.
    """
    interval: dict[str, Any] = to_plain(repeated_interval(before, after, text.num_bytes_each))
    return {name: value * log(2) for name, value in interval.items() if name in ("estimate", "low", "high")}
