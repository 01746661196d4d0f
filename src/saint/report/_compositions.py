"""Compositions as plain data and as a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.registry import Composition, Registry, State, compositions_in
from saint.report._spelling import scaled
from saint.report._summary import where
from saint.report._text import add_row

_STYLES = {"validated": "green", "unvalidated": "yellow"}


def compositions(registry: Registry) -> list[dict[str, Any]]:
    """Every composition that has a name, `base` and `standing` first.

    Raises:
        LedgerError: The ledger does not verify.
    """
    state = registry.state
    return [described(found, state) for found in compositions_in(state)]


def described(found: Composition, state: State) -> dict[str, Any]:
    """A composition as plain data, with what each of its grafts is and costs."""
    judged = {entry.digest: entry for entry in state.judged}
    grafts = []
    for one in found.grafts:
        entry = judged[one.graft]
        cost = entry.evidence.cost
        about = {"kind": entry.candidate.kind, "where": where(entry), "status": entry.status}
        size = {"num_params": cost.num_params, "num_bytes": cost.num_bytes}
        grafts.append({"graft": one.graft, "scale": one.scale, **about, **size})
    return {
        "name": found.name,
        "digest": found.digest,
        "grafts": grafts,
        "validated": found.is_validated,
        "withdrawn": list(found.withdrawn),
        "decision": found.judgement.number if found.judgement else None,
        "num_params": sum(one["num_params"] for one in grafts),
        "num_bytes": sum(one["num_bytes"] for one in grafts),
        "reason": found.reason,
        "entry": found.number,
        "time": found.time,
    }


def composition_parts(found: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """A row for each, as `compositions` describes them, and what its marks mean."""
    table = Table(title="Compositions", title_justify="left")
    for head in ("name", "digest", "grafts, first one first", "params", "bytes", "judged together", "reason"):
        table.add_column(Text(head))
    for one in found:
        mark = standing_of(one)
        add_row(
            table,
            one["name"],
            one["digest"][:12],
            ", ".join(map(scaled, one["grafts"])) or "none",
            f"{one['num_params']:,}",
            f"{one['num_bytes']:,}",
            Text(mark, style=_STYLES.get(mark, "magenta")),
            one["reason"],
        )
    return [table, *map(Text, _meanings(map(standing_of, found)))]


def standing_of(found: Mapping[str, Any]) -> str:
    """In a few words whether a composition was judged as it is, and whether it can be used."""
    if found["withdrawn"]:
        return f"holds {', '.join(graft[:12] for graft in found['withdrawn'])}, which does not stand"
    return "validated" if found["validated"] else "unvalidated"


def _meanings(marks: Iterable[str]) -> list[str]:
    marks = set(marks)
    said = []
    if "unvalidated" in marks:
        said.append("unvalidated: no decision accepted just these grafts together, in this order and at full scale")
    if marks - {"validated", "unvalidated"}:
        said.append("what holds a graft that does not stand cannot be used; name what is left of it anew")
    return said
