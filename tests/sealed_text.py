"""Sealed text without a model: what a graft saves on it is drawn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saint.records import Evidence, Query, SuiteLosses
from saint.testing import an_evidence

GATES: dict[str, dict[str, Any]] = {
    "gain": {"at_least_bpb": 0.05},
    "retention": {"at_most_bpb": 0.1},
    "cost": {"at_most_params": 100},
    "rollback": {},
}


@dataclass(frozen=True)
class Weights:
    """A graft, as far as a registry knows one."""

    content: bytes = b"weights"

    def to_bytes(self) -> bytes:
        return self.content

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Text:
    """Sealed text on which the graft saves so much, and code loses so little."""

    gain: float = 0.2
    loss: float = 0.0
    seed: int = 0
    digest: str = "f" * 64
    num_documents: Mapping[str, int] = field(default_factory=lambda: {"prose": 200, "code": 200})
    asked: list[Query] = field(default_factory=list)

    def measure(self, query: Query) -> Mapping[str, SuiteLosses]:
        self.asked.append(query)
        random = np.random.default_rng(self.seed)
        before = random.normal(2.0, 0.3, 200)
        saved = {"prose": random.normal(self.gain, 0.1, 200), "code": random.normal(-self.loss, 0.1, 200)}
        cost = tuple(before.tolist())
        return {
            suite: SuiteLosses(
                unit="bits per byte",
                documents="d" * 64,
                base=cost,
                before=cost,
                after=tuple((before - saved[suite]).tolist()),
            )
            for suite in dict.fromkeys(claim.suite for claim in query.claims)
        }


def evidence(weights: Weights | None = None, **changes: Any) -> Evidence:
    return an_evidence(graft=(weights or Weights()).digest, **changes)
