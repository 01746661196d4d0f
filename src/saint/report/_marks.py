"""What a graft leaves its mark on, as lines: where it changes what is said, and what it does beside others."""

from collections.abc import Mapping, Sequence
from typing import Any

from saint.report._spelling import spell


def interaction_lines(interactions: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """What a graft and each one that stood do together beyond the sum of both."""
    if interactions is None:
        return ["beside   interactions were not measured"]
    return [
        f"beside   {one['graft'][:12]}: "
        + ", ".join(f"{suite} {spell(gain)}" for suite, gain in one["gain_bpb"].items())
        + " beyond the sum of both"
        + ("" if one["angle"] is None else f", largest cosine {one['angle']:.3f}")
        for one in interactions
    ]


def footprint_lines(footprint: Mapping[str, Any] | None) -> list[str]:
    """Which suites, classes of token and places a graft changes, and by how much."""
    if footprint is None:
        return ["changes  a footprint was not measured"]
    size = (
        "changes  no weight"
        if footprint["energy"] is None
        else f"changes  weights by {footprint['energy']:.3g} of their energy, at effective rank "
        f"{footprint['effective_rank']:.2f}"
    )
    return [size, *(_suite_line(suite, kl, footprint) for suite, kl in footprint["kl_nats"].items())]


def _suite_line(suite: str, kl: float, footprint: Mapping[str, Any]) -> str:
    classes = (f"{name} {nats:+.4f}" for name, nats in footprint["saved_by_class"].get(suite, {}).items())
    places = (f"{nats:+.4f}" for nats in footprint["saved_by_position"].get(suite, ()))
    parts = {"": ", ".join(classes), "by eighth of a window ": " ".join(places)}
    saved = "; ".join(name + said for name, said in parts.items() if said)
    return f"{suite:<8} KL {kl:.4g} nats per token{'; saved per token: ' * bool(saved)}{saved}"
