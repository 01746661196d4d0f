"""Two compositions side by side: which grafts, what they cost, and what the ledger has of them."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint import records
from saint.records import Scaled
from saint.registry import Composition, Registry, State
from saint.report._compositions import described, standing_of
from saint.report._spelling import spell
from saint.report._text import add_row

_NONE = "not recorded"


def difference(registry: Registry, one: str, other: str) -> dict[str, Any]:
    """How two compositions differ, as plain data from the ledger alone.

    Args:
        one: Name of a composition, or the start of the digest of a graft: then it is the stack that it was judged with.
        other: The same.

    Raises:
        UnknownNameError: Nothing is called so.
        LedgerError: The ledger does not verify.
    """
    state = registry.state
    sides = {"a": registry.composition(one), "b": registry.composition(other)}
    return {
        "registry": str(registry.folder),
        **{side: {**described(found, state), "recorded": _recorded(found)} for side, found in sides.items()},
        "same": sides["a"].digest == sides["b"].digest,
        "grafts": [*_changes(sides["a"], sides["b"], state)],
        "measured": None,
    }


def _changes(a: Composition, b: Composition, state: State) -> Iterator[dict[str, Any]]:
    """What is not in both alike: A's in its order, then what only B has."""
    of_a, of_b = ({one.graft: one for one in found.grafts} for found in (a, b))
    moved = _moved([one for one in of_a if one in of_b], [one for one in of_b if one in of_a])
    for graft in [*of_a, *(one for one in of_b if one not in of_a)]:
        change = _change(of_a.get(graft), of_b.get(graft), is_moved=graft in moved)
        if not change:
            continue
        entry = next(one for one in reversed(state.judged) if one.digest == graft)
        yield {
            "graft": graft,
            "change": change,
            "scale": {"a": _scale(of_a.get(graft)), "b": _scale(of_b.get(graft))},
            "kind": entry.candidate.kind,
            "num_params": entry.evidence.cost.num_params,
            "num_bytes": entry.evidence.cost.num_bytes,
            "decision": entry.number,
            "outcome": entry.decision.outcome,
            "on_that_stack": any(_is_judged_there(graft, entry.evidence.stack, found) for found in (a, b)),
            "gain_bpb": records.to_plain(entry.evidence.gain_bpb),
            "regression_bpb": records.to_plain(entry.evidence.regression_bpb),
        }


def _moved(in_a: Sequence[str], in_b: Sequence[str]) -> set[str]:
    """Those whose place among the grafts that both have is another: as few as explain it."""
    kept = SequenceMatcher(None, in_a, in_b, autojunk=False).get_matching_blocks()
    return set(in_a) - {graft for start, _, size in kept for graft in in_a[start : start + size]}


def _change(in_a: Scaled | None, in_b: Scaled | None, *, is_moved: bool) -> list[str]:
    if in_a is None or in_b is None:
        return ["only in a" if in_b is None else "only in b"]
    return ["moved"] * is_moved + ["scale changed"] * (in_a.scale != in_b.scale)


def _scale(one: Scaled | None) -> float | None:
    return None if one is None else one.scale


def _is_judged_there(graft: str, stack: Sequence[str], found: Composition) -> bool:
    """Whether just what it was judged on is below it, all at full scale."""
    return list(found.grafts[: len(stack) + 1]) == [Scaled(graft=one) for one in (*stack, graft)]


def _recorded(found: Composition) -> dict[str, Any] | None:
    """What was measured of the whole when it was judged; None if just that was never judged."""
    if (entry := found.judgement) is None:
        return None
    evidence = entry.evidence
    return {
        "decision": entry.number,
        "graft": entry.digest,
        "outcome": entry.decision.outcome,
        "status": entry.status,
        "grown": evidence.grown,
        "gain_bpb": records.to_plain(evidence.gain_bpb),
        "drift_bpb": records.to_plain(evidence.drift_bpb),
    }


def difference_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """For a terminal."""
    parts: list[RenderableType] = [_sides(record)]
    if record["same"]:
        return [*parts, Text("the same composition: nothing differs")]
    if record["grafts"]:
        parts.append(_grafts(record))
        if any(not one["on_that_stack"] for one in record["grafts"]):
            parts.append(Text("*: judged on other grafts than are below it here"))
    if record["measured"] is not None:
        parts.append(_measured(record))
    return [*parts, Text(_READING)]


_READING = (
    "Bits per byte; brackets are 95 % intervals with the document as the unit. Gain and what is lost of a graft are "
    "against the grafts that it was judged on, what a whole has lost against the bare base; all on development text."
)


def _sides(record: Mapping[str, Any]) -> Table:
    suites = list(dict.fromkeys(suite for one in _recorded_sides(record) for suite in one["drift_bpb"]))
    heads = ("", "name", "digest", "grafts", "params", "bytes", "judged together", "decision")
    table = _table("Compositions", (*heads, *(f"{suite} lost in all" for suite in suites)))
    for side in ("a", "b"):
        one, recorded = record[side], record[side]["recorded"]
        add_row(
            table,
            side,
            one["name"],
            one["digest"][:12],
            str(len(one["grafts"])),
            f"{one['num_params']:,}",
            f"{one['num_bytes']:,}",
            standing_of(one),
            f"entry {recorded['decision']}: {recorded['outcome']}" if recorded else _NONE,
            *(spell(recorded["drift_bpb"].get(suite)) if recorded else _NONE for suite in suites),
        )
    return table


def _recorded_sides(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [record[side]["recorded"] for side in ("a", "b") if record[side]["recorded"] is not None]


def _grafts(record: Mapping[str, Any]) -> Table:
    suites = list(dict.fromkeys(suite for one in record["grafts"] for suite in one["regression_bpb"]))
    heads = ("graft", "kind", "change", "scale in a", "scale in b", "params", "bytes", "decision", "gain")
    table = _table("Grafts that differ", (*heads, *(f"{suite} lost" for suite in suites)))
    for one in record["grafts"]:
        add_row(
            table,
            one["graft"][:12],
            one["kind"],
            ", ".join(one["change"]),
            *("" if one["scale"][side] is None else f"{one['scale'][side]:g}" for side in ("a", "b")),
            f"{one['num_params']:,}",
            f"{one['num_bytes']:,}",
            f"entry {one['decision']}: {one['outcome']}{'' if one['on_that_stack'] else ' *'}",
            spell(one["gain_bpb"]),
            *(spell(one["regression_bpb"].get(suite)) for suite in suites),
        )
    return table


def _measured(record: Mapping[str, Any]) -> Table:
    title = f"Measured now on development text: b against a, positive is better ({record['base'][:12]})"
    table = _table(title, ("suite", "documents", "b saves", "max |logit difference|", "likeliest token changed"))
    for suite, one in record["measured"].items():
        saved = one["saved_bpb"]
        numbers = (spell(saved), f"{one['max_logit']:.4g}", f"{one['changed']:.2%} of {one['num_tokens']:,}")
        add_row(table, suite, str(saved["num_documents"]), *numbers)
    return table


def _table(title: str, heads: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(Text(head))
    return table
