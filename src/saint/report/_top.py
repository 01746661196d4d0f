"""A search that is under way, beside what the ledger says of growth so far."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint import records
from saint.report._spelling import spell
from saint.search import Role, RoleStatus, SearchStatus, Seen, Stage, WorkerStatus

_T = TypeVar("_T")
_NUM_BARS, _BAR_CELLS = 10, 40
_EIGHTHS = "▏▎▍▌▋▊▉█"
_STATES = {"busy": "green", "idle": "yellow", "starting": "cyan"}
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def top_record(summary: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """How a search stands, as plain data: what its coordinator says, and where growth has come to in the ledger.

    Args:
        summary: What `summarise` gives.
        seen: What `saint.search.look` gives.
    """
    status = seen.status
    return {
        "registry": summary["registry"],
        "name": summary["name"],
        "at_work": not seen.nobody,
        "nobody": seen.nobody,
        "search": None if status is None else records.to_plain(status),
        "tokens_per_second": {} if status is None else {one.name: rate(one, status) for one in status.workers},
        "last_entry": summary["last_entry"],
        "num_entries": summary["num_entries"],
        "rounds_done": summary["rounds_done"],
        "rounds_planned": summary["rounds_planned"],
        "finished": summary["finished"],
        "num_standing": len(summary["stack"]),
        "outcomes": summary["outcomes"],
        "growth_curve": summary["growth_curve"],
    }


def top_parts(summary: Mapping[str, Any], seen: Seen, *, now: float) -> list[RenderableType]:
    """The same as a screen.

    Args:
        now: Seconds since 1970.
    """
    status = seen.status
    parts: list[RenderableType] = [
        Text(f"{summary['registry']}: {summary['name'] or 'no plan'}", style="bold"),
        Text(_growth(summary)),
        _work(summary, seen, now),
    ]
    if status is not None:
        if not seen.nobody:
            parts += [Text(""), _workers(status, now)]
        if status.roles:
            parts += [Text(""), _roles(status.roles)]
    parts += [Text(""), *_curve(summary["growth_curve"])]
    if status is not None and status.said:
        parts += [Text(""), Text("Last said", style="italic"), *(Text(f"  {one}") for one in status.said)]
    return parts


def _growth(summary: Mapping[str, Any]) -> str:
    planned, judged = summary["rounds_planned"], summary["outcomes"].items()
    rounds = f"{summary['rounds_done']} of {planned} rounds" if planned else "by hand"
    finished = ", finished" if summary["finished"] else ""
    counted = ", ".join(f"{number} {what}" for what, number in judged) or "none"
    return f"growth  {rounds}{finished}; {len(summary['stack'])} grafts stand; judged: {counted}"


def _work(summary: Mapping[str, Any], seen: Seen, now: float) -> Text:
    status = seen.status
    if status is None:
        entered = f"; the last entry of the ledger is of {summary['last_entry']}" if summary["last_entry"] else ""
        return Text(f"search  nobody is at work: {seen.nobody}{entered}", style="yellow")
    if seen.nobody:
        heard = f"last heard of {_time(status.written)}, {_long(now - status.written)} ago"
        return Text(f"search  nobody is at work: {seen.nobody}; {heard}", style="yellow")
    number = "" if status.round is None else f"round {status.round + 1}, "
    jobs = ", ".join(f"{count} {stage}" for stage, count in _in_order(status.jobs, Stage) if count) or "none"
    paused = "; paused, nothing new is leased" if status.paused else ""
    alone = "; the coordinator measures and judges" if {one.state for one in status.workers} == {"idle"} else ""
    return Text(
        f"search  {number}{len(status.workers)} workers ({status.executor}) for {_long(now - status.started)}; "
        f"jobs: {jobs}; {status.lost} leases lost, {status.refused} answers refused{paused}{alone}; "
        f"told {_long(now - status.written)} ago",
        style="yellow" if status.paused else "",
    )


def _workers(status: SearchStatus, now: float) -> Table:
    words, numbers = ("worker", "state", "role", "job", "what", "group"), ("for", "tokens", "tokens/s", "done")
    table = _table("Workers", words, numbers)
    for one in status.workers:
        is_busy = one.state == "busy"
        table.add_row(
            Text(one.name),
            Text(one.state, style=_STATES[one.state]),
            *(Text(cell) for cell in (one.role, one.job[:12], one.label, one.group)),
            Text(_long(now - one.since)),
            Text(f"{one.units:,}" if is_busy else ""),
            Text(f"{speed:,.0f}" if (speed := rate(one, status)) else ""),
            Text(f"{one.done:,}"),
        )
    return table


def _roles(roles: Mapping[str, RoleStatus]) -> Table:
    table = _table("What each role took", ("role",), ("jobs done", "worker time", "tokens", "tokens/s"))
    for name, one in _in_order(roles, Role):
        speed = f"{one.units / one.seconds:,.0f}" if one.units and one.seconds > 0 else ""
        table.add_row(*map(Text, (name, f"{one.done:,}", _long(one.seconds), f"{one.units:,}", speed)))
    return table


def _in_order(named: Mapping[str, _T], order: Iterable[str]) -> list[tuple[str, _T]]:
    """As we count them; a file has them by the alphabet."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(named.items(), key=lambda one: places.get(one[0], len(places)))


def _table(title: str, words: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in words:
        table.add_column(Text(name))
    for name in numbers:
        table.add_column(Text(name), justify="right")
    return table


def _curve(points: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """A bar for each point, as long as what was saved of the bare base's bits per byte."""
    if not points:
        return [Text("Growth curve: nothing was measured yet")]
    base = points[0]["grown_bpb"]
    most = max(base - point["grown_bpb"] for point in points)
    table = Table(title="Growth curve: bits per byte of development text", title_justify="left", box=None)
    for name in ("after", "bits/byte", "saved", ""):
        table.add_column(Text(name))
    for point in points[-_NUM_BARS:]:
        share = (base - point["grown_bpb"]) / most if most > 0 else 0.0
        after = "the bare base" if point["round"] is None else f"round {point['round'] + 1}"
        saved = "" if point["gain_bpb"] is None else spell(point["gain_bpb"])
        table.add_row(Text(after), Text(f"{point['grown_bpb']:.4f}"), Text(saved), Text(_bar(share), style="green"))
    return [table]


def _bar(share: float) -> str:
    eighths = round(8 * _BAR_CELLS * max(share, 0.0))
    return _EIGHTHS[-1] * (eighths // 8) + (_EIGHTHS[eighths % 8 - 1] if eighths % 8 else "")


def rate(worker: WorkerStatus, status: SearchStatus) -> float | None:
    """Tokens a second since the lease began; None where nobody knows."""
    seconds = status.written - worker.since
    return worker.units / seconds if worker.state == "busy" and worker.units and seconds > 0 else None


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"second {at:g}"  # somebody's file says so


def _long(seconds: float) -> str:
    """A time in a few characters."""
    seconds = max(seconds, 0.0)
    for unit_s, unit, part_s, part in ((_DAY_S, "d", _HOUR_S, "h"), (_HOUR_S, "h", _MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:,.0f} {unit} {seconds % unit_s // part_s:.0f} {part}"
    return f"{seconds // _MINUTE_S:.0f} min {seconds % _MINUTE_S:.0f} s" if seconds >= _MINUTE_S else f"{seconds:.0f} s"
