"""What a comparison found, in sentences that a terminal, a page and Markdown share."""

from collections.abc import Mapping
from typing import Any

from saint.report._spelling import spell

Row = Mapping[str, Any]


def heading_lines(record: Mapping[str, Any]) -> list[str]:
    """What was compared on what."""
    base, plan, held_out = record["base"], record["plan"], record["data"][f"{record['grown_domain']}/held_out"]
    schedule = plan["schedule"]
    tokens = schedule["num_steps"] * schedule["batch_size"] * schedule["seq_len"]
    return [
        (
            f"{record['name']}: {base['architecture']} {base['digest'][:12]}, {base['num_params']:,} parameters, "
            f"grown towards {record['grown_domain']}"
        ),
        (
            f"every run learns from {tokens:,} tokens at most; gain is on {held_out['num_documents']:,} held-out "
            f"documents ({held_out['num_bytes']:,} bytes)"
        ),
    ]


def reading_lines(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are to be read."""
    plan = record["plan"]
    num_seeds = len(plan["seeds"])
    unit = (
        f"brackets are 95 % intervals over documents and {num_seeds} seeds"
        if num_seeds > 1
        else "brackets are 95 % intervals over documents only: with one seed they say nothing about other seeds"
    )
    compared = max((row["num_compared"] for row in record["rows"]), default=0)
    lines = [
        f"bits per byte; {unit}; * marks controls",
        (
            f"up to {compared} arms of ours were held against the rival of one budget; 'corrected' intervals allow for "
            "that number (Bonferroni)"
        ),
        _rival_line(record),
        _time_line(record),
    ]
    if edges := [row for row in record["rows"] if row["lr_at_the_edge"]]:
        lines.append(
            f"{len(edges)} of {len(record['rows'])} rows have their best learning rate (marked >) at the edge of what "
            "was tried, so they may gain more with more tries"
        )
    cost = record["cost"]
    if cost["resumed"]:
        lines.append(f"{cost['num_known']} of {cost['num_jobs']} pieces of work were there already")
    return lines


def rival_at(record: Mapping[str, Any], budget: float | None) -> str | None:
    """The arm that the others are held against at a budget; None where there is none."""
    return next((one["arm"] for one in record["rivals"] if one["budget"] == budget), None)


def edge_lines(record: Mapping[str, Any]) -> list[str]:
    """A line for each budget where the rival could be stronger than it was measured."""
    return [
        f"{row['arm']}'s best rate is at the edge of its search at {spell_budget(row['budget'])}: raise tries"
        for row in record["rows"]
        if row["lr_at_the_edge"] and row["budget"] is not None and row["arm"] == rival_at(record, row["budget"])
    ]


def spell_cost(record: Mapping[str, Any]) -> str:
    """How long the command took."""
    cost = record["cost"]
    number = len(cost["sessions"])
    if cost["seconds"] is None:
        return "an unknown time, since an earlier session left no record of its own"
    return f"{cost['seconds']:.0f} s in {number} session{'s' if number > 1 else ''}"


def _rival_line(record: Mapping[str, Any]) -> str:
    kind = rival_kind(record)
    named = ", ".join(f"{one['arm']} at {spell_budget(one['budget'])}" for one in record["rivals"])
    return (
        f"the rival of a budget is the arm of kind {kind} that gains the most there: {named or 'none was measured'}; "
        "choosing it on held-out text can only make it stronger"
    )


def rival_kind(record: Mapping[str, Any]) -> str:
    """The kind whose strongest arm is the rival."""
    return next((row["kind"] for row in record["rows"] if row["arm"] == record["plan"]["rival"]), "")


def _time_line(record: Mapping[str, Any]) -> str:
    clock = "processor time" if record["machine"]["device"] == "cpu" else "wall clock"
    return (
        f"seconds are {clock} of training, birth included, on a shared machine: the median over all runs of a row; "
        "equal time admits a tenth more than the rival's"
    )


def view_sentence(view: Mapping[str, Any]) -> str:
    """Who wins a view, by how much, and where the rival is."""
    rival = view["rival"]
    where = view["view"] + (f" at {spell_budget(view['budget'])}" if view["budget"] is not None else "")
    if view["cap"] is not None:
        cap = f"{view['cap']:,.0f} bytes" if view["view"] == "equal bytes" else f"{view['cap']:.1f} s of training"
        where += f" (up to {cap})"
    if not view["ranking"]:
        return f"{where}: nothing to rank"
    first, *others = view["ranking"]
    said = f"{where}: {first['arm']} wins with {_gain_of(first, view)}"
    if first["arm"] == rival:
        ours = next((one for one in others if one["ours"]), None)
        return said + (f"; the best of ours is {ours['arm']} with {_gain_of(ours, view)}" if ours else "")
    place = next((n for n, one in enumerate(others, start=2) if one["arm"] == rival), None)
    if place is None:
        return f"{said}; {rival or 'the rival'} has no row there"
    return f"{said}; {rival} is number {place} of {len(view['ranking'])} with {_gain_of(others[place - 2], view)}"


def failure_lines(record: Mapping[str, Any]) -> list[str]:
    """What diverged, at which learning rate or seed; failures are kept."""
    lines = []
    for row in record["rows"]:
        where = f"{row['arm']} at {spell_budget(row['budget'])}"
        lines += [f"{where}, lr {one['lr']:g}: {one['failure']}" for one in row["tried"] if one["failure"]]
        lines += [f"{where}, seed {one['seed']}: {one['failure']}" for one in row["seeds"] if "failure" in one]
    return lines


def spell_budget(budget: float | None) -> str:
    """A share of the base's parameters, in per cent."""
    return "the whole base" if budget is None else f"{100 * budget:g} %"


def arm_name(row: Row) -> str:
    """An arm, marked when it is a control."""
    return f"{row['arm']}{'' if row['ours'] else '*'}"


def _gain_of(one: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    other = "" if one["budget"] in (None, view["budget"]) else f" (its {spell_budget(one['budget'])})"
    return f"{spell(one['gain_bpb'])}{other}"
