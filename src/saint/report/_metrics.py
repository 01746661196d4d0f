"""A search and the growth that it is part of, in the text format that Prometheus reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from saint.report._top import rate
from saint.search import SearchStatus, Seen

_STATES = ("starting", "idle", "busy")
_Samples = Iterable[tuple[Mapping[str, str], float]]


def metrics_text(summary: Mapping[str, Any], seen: Seen) -> str:
    """How a search stands, and where growth has come to (Prometheus' text exposition format 0.0.4).

    What a search alone knows is left out where none ever was.
    """
    status, curve = seen.status, summary["growth_curve"]
    families: list[tuple[str, str, str, _Samples]] = [
        ("saint_search_up", "gauge", "Whether a coordinator is at work.", [({}, not seen.nobody)]),
        *([] if status is None else _search_metrics(status, is_up=not seen.nobody)),
        ("saint_ledger_entries", "gauge", "Entries of the ledger.", [({}, summary["num_entries"])]),
        ("saint_rounds_done", "gauge", "Rounds of growth that are over.", [({}, summary["rounds_done"])]),
        ("saint_growth_finished", "gauge", "Whether the result was measured.", [({}, summary["finished"])]),
        ("saint_grafts_standing", "gauge", "Grafts that stand.", [({}, len(summary["stack"]))]),
        (
            "saint_grafts_judged",
            "gauge",
            "Grafts by what came of them.",
            [({"outcome": name}, number) for name, number in summary["outcomes"].items()],
        ),
        (
            "saint_development_bits_per_byte",
            "gauge",
            "Bits per byte of development text, by the last point of the growth curve.",
            [({}, curve[-1]["grown_bpb"])] if curve else [],
        ),
    ]
    return "".join(_family(*family) for family in families)


def _search_metrics(status: SearchStatus, *, is_up: bool) -> list[tuple[str, str, str, _Samples]]:
    workers = status.workers if is_up else ()
    states: list[str] = [one.state for one in workers]
    roles = [({"role": name}, one) for name, one in status.roles.items()]
    rates = [({"worker": one.name, "role": one.role}, rate(one, status) or 0.0) for one in workers]
    return [
        ("saint_search_paused", "gauge", "Whether nothing new is leased.", [({}, is_up and status.paused)]),
        ("saint_search_told_seconds", "gauge", "When the coordinator last spoke, since 1970.", [({}, status.written)]),
        ("saint_workers", "gauge", "Workers by state.", [({"state": one}, states.count(one)) for one in _STATES]),
        ("saint_worker_tokens_per_second", "gauge", "Of the job under way.", rates),
        ("saint_jobs", "gauge", "Jobs by how far they are.", [({"stage": one}, n) for one, n in status.jobs.items()]),
        ("saint_jobs_done_total", "counter", "Jobs by role.", [(name, one.done) for name, one in roles]),
        ("saint_worker_seconds_total", "counter", "Of workers.", [(name, one.seconds) for name, one in roles]),
        ("saint_tokens_total", "counter", "Learnt from.", [(name, one.units) for name, one in roles]),
        ("saint_leases_lost_total", "counter", "Leases that came to nothing.", [({}, status.lost)]),
        ("saint_answers_refused_total", "counter", "Answers that were not believed.", [({}, status.refused)]),
    ]


def _family(name: str, sort: str, explained: str, samples: _Samples) -> str:
    lines = [f"# HELP {name} {explained}\n", f"# TYPE {name} {sort}\n"]
    for labels, value in samples:
        spelled = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{f'{{{spelled}}}' if spelled else ''} {float(value)!r}\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
