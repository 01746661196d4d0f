"""What a composition is known by: the base, and the grafts upon it in their order."""

from collections.abc import Mapping, Sequence
from typing import Any

from saint import records


def composition(base: str, stack: Sequence[str]) -> Mapping[str, Any]:
    """Base and grafts by their digests, oldest graft first. What a graft is multiplied by is part of its bytes."""
    return {"base": base, "grafts": [{"graft": digest, "scale": 1} for digest in stack]}


def composition_digest(base: str, stack: Sequence[str]) -> str:
    """SHA-256 of the canonical spelling of `composition`."""
    return records.digest(composition(base, stack))
