from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from saint.report._growth_curve import curve_table
from saint.report._text import (
    CHANGED_SINCE,
    arms_table,
    given_to_controls,
    judged_table,
    no_controls,
    status_lines,
    trained_elsewhere,
    what,
)
from saint.report._work import work_lines


def report_parts(summary: Mapping[str, Any]) -> list[RenderableType]:
    """The whole report for a terminal."""
    parts = [*status_lines(summary)]
    others = [graft for graft in summary["judged"] if graft["status"] != "stands" and not graft["judged_again"]]
    if others:
        parts.append(judged_table(others, title="What did not work, or has to wait its turn"))
    parts.extend(Text(f"failed: {t['candidate']['kind']}: {t['failure']}") for t in summary["failed"])
    parts.extend(Text(f"stopped: {what(t['candidate'])}: {t['stopped']}") for t in summary["stopped"])
    if summary["not_asked"]:
        rated = bool(summary["plan"].get("rates"))
        kinds = ", ".join(
            what(trial["candidate"]) + f" with learning rate {trial['candidate']['lr']:g}" * rated
            for trial in summary["not_asked"]
        )
        parts.append(Text(f"trained, but not among the finalists: {kinds}"))
    if summary["result"]:
        parts.append(arms_table(summary["result"]))
        parts.append(Text(given_to_controls(summary["result"]) or no_controls(summary)))
        if not summary["result_stands"]:
            parts.append(Text(CHANGED_SINCE))
    else:
        parts.append(Text("the vault is closed: the result is measured when growth is finished"))
    if summary["growth_curve"]:
        parts.append(curve_table(summary["growth_curve"]))
    cost = summary["cost"]
    if note := trained_elsewhere(summary):
        parts.append(Text(note))
    parts.append(
        Text(
            f"the standing grafts learnt from {cost['stack_tokens']:,} tokens; the whole search took "
            f"{cost['search_tokens']:,} tokens and {cost['search_time_s']:.0f} s of training"
        )
    )
    parts.extend(map(Text, work_lines(summary["work"])))
    return parts
