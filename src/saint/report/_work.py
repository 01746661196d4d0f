"""What growth's workers took, by role, and what was gained with it."""

from collections.abc import Mapping
from typing import Any

from saint.registry import State

_SECONDS_PER_HOUR = 3600.0


def work_in(state: State) -> dict[str, Any] | None:
    """The work of all rounds together; None where nobody but the coordinator worked."""
    rounds = [event.body for event in state.others if event.name == "work_done"]
    if not rounds:
        return None
    roles: dict[str, dict[str, float]] = {}
    for body in rounds:
        for role, took in body["roles"].items():
            so_far = roles.setdefault(role, {"jobs": 0, "seconds": 0.0, "units": 0})
            for name in so_far:
                so_far[name] += took[name]
    here = [entry for entry in state.judged if entry.status == "stands" and entry.digest not in state.submitted]
    gained = sum(entry.evidence.gain_bpb.estimate for entry in here)
    hours = {role: took["seconds"] / _SECONDS_PER_HOUR for role, took in roles.items()}
    validated = {event.body["graft"]: event.body["agrees"] for event in state.others if event.name == "validated"}
    found = [validated[entry.digest] for entry in here if entry.digest in validated]
    return {
        "roles": roles,
        "lost": sum(body["lost"] for body in rounds),
        "refused": sum(body["refused"] for body in rounds),
        "gain_bpb": gained,
        "gain_per_search_hour": gained / hours["search"] if hours.get("search") else None,
        "gain_per_worker_hour": gained / sum(hours.values()) if sum(hours.values()) else None,
        "standing": len(here),
        "validated": len(found),
        "as_judged": sum(found),
    }


def work_lines(work: Mapping[str, Any] | None) -> list[str]:
    """The same as sentences; none where nobody but the coordinator worked."""
    if work is None:
        return []
    roles = "; ".join(
        f"{role}: {took['jobs']:,.0f} jobs in {took['seconds'] / _SECONDS_PER_HOUR:.3g} worker-hours"
        for role, took in work["roles"].items()
    )
    lines = [f"workers did {roles}; {work['lost']} of them were lost, and {work['refused']} answers were refused"]
    if work["gain_per_worker_hour"] is not None:
        search = work["gain_per_search_hour"]
        of_search = f"{search:.3g} per worker-hour of search and " if search is not None else ""
        lines.append(
            f"what stands gained {work['gain_bpb']:+.4f} bits per byte on development text: {of_search}"
            f"{work['gain_per_worker_hour']:.3g} per worker-hour in all"
        )
    lines.append(
        f"{work['validated']} of {work['standing']} grafts that stand were measured again by a worker, and "
        f"{work['as_judged']} found to be as they were judged"
    )
    return lines
