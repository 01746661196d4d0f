"""A crew's coordinator says how it stands, and does what it is asked."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from typing_extensions import override

from made_up_workers import Troupe, honestly
from saint.errors import Interrupted
from saint.progress import Progress, Task
from saint.search import Attentive, Control, Crew, Heard, Job, Lease, Lookout, RoleStatus, SearchStatus, Word, look

FIRST, SECOND = (Job(name=name * 64, group="b1", label="phi at 1 site") for name in "ab")


def once(lease: Lease) -> list[Heard]:
    """It falls silent in the middle of the second job."""
    return honestly(lease) if lease.job is FIRST else [Heard(lease.worker, "beat", lease.token, 640)]


def seen(work: Path) -> SearchStatus:
    status, nobody = look(work)
    assert status is not None
    assert not nobody
    return status


def test_the_course_of_a_search_is_told_and_it_does_what_it_is_asked(tmp_path: Path) -> None:
    Control(tmp_path).ask(Word.STOP)  # of a coordinator that is gone
    troupe, time = Troupe(once), [1000.0]
    with Crew(troupe, 1, clock=lambda: time[0]) as crew, Lookout(tmp_path, executor="played") as lookout:
        lookout.round = 2
        crew.submit([FIRST, SECOND], check=lambda *_: None)
        for _ in range(3):  # the worker is ready, does the first job, begins the second
            crew.turn()
        time[0] += 4
        lookout(crew)
        status = seen(tmp_path)
        assert (status.pid, status.executor, status.round, status.paused) == (os.getpid(), "played", 2, False)
        [worker] = status.workers
        assert (worker.name, worker.state, worker.role, worker.job) == ("worker 1", "busy", "search", SECOND.name)
        assert (worker.label, worker.group, worker.units, worker.done) == ("phi at 1 site", "b1", 640, 1)
        assert status.written - worker.since == pytest.approx(4, abs=1e-3)
        assert {stage: count for stage, count in status.jobs.items() if count} == {"leased": 1, "measured": 1}

        Control(tmp_path).ask(Word.PAUSE)
        lookout(crew)
        assert seen(tmp_path).paused, "it is said at once"
        time[0] += 100  # the worker has said nothing: another takes its place
        for _ in range(3):
            crew.turn()
        assert [worker.state for worker in seen(tmp_path).workers] == ["busy"], "it is said twice a second at most"
        assert [worker.state for worker in crew.workers] == ["idle"]
        assert len(troupe.handed) == 2, "nothing new is leased"
        Control(tmp_path).ask(Word.RESUME)
        lookout(crew)
        assert not seen(tmp_path).paused
        crew.turn()
        assert crew.queue.is_over
        Control(tmp_path).ask(Word.STOP)
        with pytest.raises(Interrupted, match="where it can go on"):
            lookout(crew)
    last, nobody = look(tmp_path)
    assert last is not None
    assert nobody == "the search ended"
    assert last.roles == {"search": RoleStatus(done=2, seconds=104.0, units=650)}
    assert (last.lost, last.refused, last.paused) == (1, 0, False)
    assert "said nothing" in last.said[-1]


def test_a_coordinator_that_works_itself_hears_what_is_asked_at_its_next_step(tmp_path: Path) -> None:
    shown: list[int] = []

    class Shown(Progress):
        def advance(self, amount: int) -> None:
            shown.append(amount)

        @override
        def task(self, description: str, *, total: int | None, unit: str) -> AbstractContextManager[Task]:
            return nullcontext(self)

        @override
        def note(self, message: str) -> None:
            raise AssertionError(message)

    with Crew(Troupe(honestly), 1) as crew, Lookout(tmp_path, executor="played") as lookout:
        progress = Attentive(Shown(), lambda: lookout(crew))
        with progress.task("judging", total=9, unit="tokens") as task:
            task.advance(3)
            assert not seen(tmp_path).paused
            Control(tmp_path).ask(Word.PAUSE)
            task.advance(3)
            assert crew.is_paused
            Control(tmp_path).ask(Word.STOP)
            with pytest.raises(Interrupted, match="where it can go on"):
                task.advance(3)
    assert shown == [3, 3, 3]
