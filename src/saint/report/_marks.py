"""What a graft leaves its mark on: where it changes what is said, what it does beside others, and to safety suites."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from saint.report._spelling import spell


class MarkTable(NamedTuple):
    """A table of a page."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def mark_tables(graft: Mapping[str, Any]) -> list[MarkTable]:
    """Footprint, interactions and safety suites of a graft, each as far as there is something to say of it."""
    tables = [_footprint_table(graft["footprint"]), _interaction_table(graft["interactions"]), _safety_table(graft)]
    return [table for table in tables if table.rows]


def _footprint_table(footprint: Mapping[str, Any] | None) -> MarkTable:
    columns = ("text", "KL, nats per token", "nats saved per token, by class", "by eighth of a window")
    if footprint is None:
        return MarkTable("Footprint: not measured", columns, [])
    size = footprint_lines(footprint)[0].removeprefix("changes").strip()
    rows = [(suite, f"{kl:.4g}", *_saved(suite, footprint)) for suite, kl in footprint["kl_nats"].items()]
    return MarkTable(f"Footprint on development text: changes {size}", columns, rows)


def _interaction_table(interactions: Sequence[Mapping[str, Any]] | None) -> MarkTable:
    found = interactions or ()
    suites = list(dict.fromkeys(suite for one in found for suite in one["gain_bpb"]))
    rows = [
        (
            one["graft"][:12],
            *(spell(one["gain_bpb"].get(suite)) for suite in suites),
            "nothing shared" if one["angle"] is None else f"{one['angle']:.3f}",
        )
        for one in found
    ]
    title = "Together with each graft that stood, beyond the sum of both: bits per byte saved"
    return MarkTable(title, ("graft", *suites, "largest cosine"), rows)


def _safety_table(graft: Mapping[str, Any]) -> MarkTable:
    rows = [
        (suite, one["sort"], spell(one["rise"]), spell(one["rate"]) if one["rate"] else f"{one['after']:.4f}")
        for suite, one in graft["safety"].items()
    ]
    rows += [(suite, "", "not measured", why) for suite, why in graft["unmeasured"].items()]
    title = "Safety suites, development items: nats per token, or a share of violations and refusals"
    return MarkTable(title, ("suite", "sort", "rises by", "with the graft"), rows)


def safety_lines(graft: Mapping[str, Any]) -> list[str]:
    """What a graft does to each safety suite."""
    return [
        *(f"{suite:<8} {one['sort']}, rises by {spell(one['rise'])}" for suite, one in graft["safety"].items()),
        *(f"{suite:<8} was not measured: {why}" for suite, why in graft["unmeasured"].items()),
    ]


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
    parts = dict(zip(("", "by eighth of a window "), _saved(suite, footprint), strict=True))
    saved = "; ".join(name + said for name, said in parts.items() if said)
    return f"{suite:<8} KL {kl:.4g} nats per token{'; saved per token: ' * bool(saved)}{saved}"


def _saved(suite: str, footprint: Mapping[str, Any]) -> tuple[str, str]:
    """Nats saved per token: by class of token, and by eighth of a window."""
    classes = (f"{name} {nats:+.4f}" for name, nats in footprint["saved_by_class"].get(suite, {}).items())
    places = (f"{nats:+.4f}" for nats in footprint["saved_by_position"].get(suite, ()))
    return ", ".join(classes), " ".join(places)
