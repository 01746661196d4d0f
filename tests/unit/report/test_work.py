"""What a report says of workers."""

from saint.registry import State
from saint.registry._ledger import Event
from saint.report._work import work_in, work_lines


def event(name: str, body: dict[str, object]) -> Event:
    return Event(number=0, name=name, body=body, blobs=(), time="", digest="", leaf="")


def done(seconds: float, **others: int) -> Event:
    roles = {
        "search": {"jobs": 3, "seconds": seconds, "units": 10},
        "control": {"jobs": 2, "seconds": 1800.0, "units": 5},
    }
    return event("work_done", {"round": 0, "workers": 2, "lost": 1, "refused": 2, "roles": roles, **others})


def test_rounds_add_up_and_nothing_is_said_where_nobody_worked() -> None:
    assert work_in(State()) is None
    assert work_lines(None) == []
    work = work_in(State(others=[done(3600.0), done(5400.0)]))
    assert work is not None
    assert work["roles"]["search"] == {"jobs": 6, "seconds": 9000.0, "units": 20}
    first, second, last = work_lines(work)
    assert first == (
        "workers did search: 6 jobs in 2.5 worker-hours; control: 4 jobs in 1 worker-hours; 2 of them were lost, and 4 "
        "answers were refused"
    )
    assert "0 per worker-hour of search and 0 per worker-hour in all" in second
    assert last.startswith("0 of 0 grafts")
