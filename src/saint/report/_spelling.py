"""Figures in a few characters."""

from collections.abc import Mapping
from typing import Any


def spell(interval: Mapping[str, Any] | None) -> str:
    """An interval as plain data, in a few characters."""
    if interval is None:
        return "not measured"
    return f"{interval['estimate']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


def scaled(graft: Mapping[str, Any]) -> str:
    """A graft of a composition by its digest, with its scale where that is not 1."""
    return f"{graft['graft'][:12]} x {graft['scale']:g}" if graft["scale"] != 1 else f"{graft['graft'][:12]}"
