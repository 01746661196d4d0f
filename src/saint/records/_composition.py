"""What a composition is known by: the base, and the grafts upon it in their order, each with its scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, final

from saint.errors import ConfigError
from saint.records._canonical import digest
from saint.records._nouns import Interval

_LARGEST_SCALE = 1000.0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Scaled:
    """A graft of a composition."""

    graft: str
    """Its digest."""
    scale: float = 1.0
    """What the strength that it was stored with is multiplied by; every kind of graft has a strength."""

    def __post_init__(self) -> None:
        """Refuse a scale that says nothing, or that no weight survives."""
        if not isfinite(self.scale) or not 1 / _LARGEST_SCALE <= abs(self.scale) <= _LARGEST_SCALE:
            raise ConfigError(
                f"the scale of graft {self.graft[:12]} is {self.scale}; expected a number whose size is from "
                f"{1 / _LARGEST_SCALE:g} to {_LARGEST_SCALE:g}, and a graft that is not to be in it is left out"
            )


def composition(base: str, grafts: Iterable[Scaled | str]) -> dict[str, Any]:
    """Base and grafts by their digests, first graft first; one that is given by its digest alone has scale 1.

    What a graft is multiplied by besides is part of its bytes.
    """
    scaled = [Scaled(graft=graft) if isinstance(graft, str) else graft for graft in grafts]
    return {"base": base, "grafts": [{"graft": one.graft, "scale": one.scale} for one in scaled]}


def composition_digest(base: str, grafts: Iterable[Scaled | str]) -> str:
    """SHA-256 of the canonical spelling of `composition`: the one name by which everything knows it."""
    return digest(composition(base, grafts))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextDifference:
    """How two compositions differ on one text."""

    saved_bpb: Interval
    """Bits per byte that the second saves against the first, document by document; positive is better."""
    max_logit: float
    """The largest difference of a logit."""
    changed: float
    """Share of the tokens in whose place another one is the likeliest."""
    num_tokens: int
