"""The coordinator's loop, with workers that lie, die and fall silent."""

from collections.abc import Callable, Iterator

import pytest
from typing_extensions import override

from made_up_workers import Troupe, Work, honestly
from saint.errors import ConfigError, Interrupted, RefusedResultError, WorkerError
from saint.search import Crew, Heard, Job, Lease, Role, Stage

JOBS = [Job(name=name, body=name) for name in "abcd"]


class Accepted:
    """Believes those answers that are the body of the job."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str]] = []

    def __call__(self, job: Job, worker: str, answer: bytes) -> None:
        if answer != job.body.encode():
            raise RefusedResultError(f"{answer!r} is not {job.body!r}")
        self.answers.append((job.name, worker))

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.answers)


class Clock:
    """Goes on by a second whenever somebody looks."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def lying(lease: Lease) -> list[Heard]:
    return [Heard(lease.worker, "done", lease.token, b"a lie")]


def dying(lease: Lease) -> list[Heard]:
    return [Heard(lease.worker, "gone", value="it died")]


def silent(_lease: Lease) -> list[Heard]:
    return []


def failing(lease: Lease) -> list[Heard]:
    return [Heard(lease.worker, "error", lease.token, ConfigError("that cannot be"))]


def with_an_old_token(lease: Lease) -> list[Heard]:
    return [Heard(lease.worker, "done", lease.token - 1, lease.job.body.encode())]


def ready_again(lease: Lease) -> list[Heard]:
    return [Heard(lease.worker, "ready", lease.token, b"")]


@pytest.mark.parametrize("number", [1, 2, 4, 7])
def test_every_job_is_checked_once_whatever_the_number_of_workers(number: int) -> None:
    accepted, told = Accepted(), dict.fromkeys("abcd", 0)

    def tell(job: Job | None, units: int) -> None:
        if job is not None:
            told[job.name] += units

    troupe = Troupe()
    crew = Crew(troupe, number)
    crew.run(JOBS, check=accepted, tell=tell)
    assert accepted.names == list("abcd")
    assert told == dict.fromkeys("abcd", 5)
    assert len(troupe.hired) == number
    assert crew.efforts[Role.SEARCH].done == 4
    assert crew.efforts[Role.SEARCH].units == 20


@pytest.mark.parametrize("fault", [lying, dying, silent, failing, with_an_old_token, ready_again])
def test_a_worker_that_lies_dies_or_falls_silent_changes_nothing_but_who_does_its_job(fault: Work) -> None:
    accepted, troupe = Accepted(), Troupe(fault)
    crew = Crew(troupe, 2, lease_s=30.0, clock=Clock())
    crew.run(JOBS, check=accepted)
    assert accepted.names == list("abcd")
    assert troupe.dismissed == ["worker 1"]
    assert crew.num_lost == 1
    assert crew.num_refused == (fault in (lying, with_an_old_token, ready_again))
    assert "worker 1" in crew.said[0]


def test_a_place_whose_workers_always_lie_is_not_filled_again() -> None:
    accepted = Accepted()
    troupe = Troupe(lying, honestly, lying, lying)
    Crew(troupe, 2).run([Job(name=f"{index}", body=f"{index}") for index in range(20)], check=accepted)
    assert len(accepted.answers) == 20
    assert len(troupe.hired) == 4  # the liars' place was filled three times


def test_where_all_lie_the_work_ends() -> None:
    with pytest.raises(WorkerError, match=r"no worker is left: .*b'a lie' is not 'a'"):
        Crew(Troupe(*[lying] * 9), 1).run(JOBS, check=Accepted())


def test_a_job_that_every_worker_dies_of_ends_the_work() -> None:
    with pytest.raises(WorkerError, match="lost with its worker again and again"):
        Crew(Troupe(*[dying] * 99), 1).run(JOBS[:1], check=Accepted())


def test_what_a_job_raises_twice_is_raised_here() -> None:
    with pytest.raises(ConfigError, match="that cannot be"):
        Crew(Troupe(*[failing] * 9), 1).run(JOBS, check=Accepted())


def test_a_worker_that_is_none_of_ours_is_given_no_work() -> None:
    def greet(worker: str, hello: bytes) -> None:
        raise ConfigError(f"{worker} has another base, {hello.decode()}")

    troupe = Troupe(hello=b"0123")
    with pytest.raises(ConfigError, match="another base, 0123"):
        Crew(troupe, 1, greet=greet).run(JOBS, check=Accepted())
    assert troupe.handed == []


def test_where_others_are_ours_a_stranger_is_sent_away() -> None:
    def greet(worker: str, _hello: bytes) -> None:
        if worker == "worker 2":
            raise ConfigError("another base")

    accepted, troupe = Accepted(), Troupe()
    Crew(troupe, 2, greet=greet).run(JOBS, check=accepted)
    assert accepted.names == list("abcd")
    assert "worker 2" not in {lease.worker for lease in troupe.handed}


def test_a_long_check_does_not_make_others_late() -> None:
    clock, accepted = Clock(), Accepted()

    def slowly(job: Job, worker: str, answer: bytes) -> None:
        clock.now += 100.0
        accepted(job, worker, answer)

    crew = Crew(Troupe(), 2, lease_s=50.0, clock=clock)
    crew.run(JOBS, check=slowly)
    assert crew.num_lost == 0
    assert accepted.names == list("abcd")


def test_one_long_check_after_the_other_does_not_make_others_late() -> None:
    """What comes while the first is looked at is looked at as well before anybody is listened to again."""
    clock, accepted = Clock(), Accepted()

    def slowly(job: Job, worker: str, answer: bytes) -> None:
        clock.now += 100.0
        if (worker, job.name) == ("worker 1", "a"):
            troupe.say(Heard("worker 3", "beat", leases["worker 3"].token, 1))
            troupe.say(Heard("worker 2", "done", leases["worker 2"].token, b"b"))
        if worker == "worker 2":
            troupe.say(Heard("worker 3", "done", leases["worker 3"].token, b"c"))
        accepted(job, worker, answer)

    def later(lease: Lease) -> list[Heard]:
        leases[lease.worker] = lease
        return [] if lease.job.name in "bc" else honestly(lease)

    leases: dict[str, Lease] = {}
    troupe = Troupe(later, later, later)
    crew = Crew(troupe, 3, lease_s=50.0, clock=clock)
    crew.run(JOBS[:3], check=slowly)
    assert crew.num_lost == 0
    assert accepted.names == list("abc")


def test_jobs_that_are_handed_in_for_later_are_done_while_others_are_waited_for() -> None:
    first, second = Accepted(), Accepted()
    crew = Crew(Troupe(), 1)
    crew.submit([Job(name="later", role=Role.VALIDATION, body="later")], check=second)
    crew.run(JOBS, check=first)
    assert first.names == list("abcd")
    crew.finish()
    assert second.names == ["later"]


def test_a_check_may_hand_in_more() -> None:
    accepted = Accepted()
    crew = Crew(Troupe(), 2)

    def check(job: Job, worker: str, answer: bytes) -> None:
        accepted(job, worker, answer)
        if job.name == "a":
            crew.submit([Job(name="next", body="next")], check=check)

    crew.submit(JOBS, check=check)
    crew.finish()
    assert accepted.names == ["a", "b", "c", "d", "next"]


def test_nothing_is_leased_while_it_is_paused_and_a_stop_ends_it() -> None:
    troupe, turns = Troupe(), 0
    crew = Crew(troupe, 2)
    crew.is_paused = True

    def tell(_job: Job | None, _units: int) -> None:
        nonlocal turns
        turns += 1
        if turns == 5:
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        crew.run(JOBS, check=Accepted(), tell=tell)
    assert troupe.handed == []
    crew.is_paused = False
    accepted = Accepted()
    crew.run(JOBS[:1], check=accepted)
    crew.finish()


def test_a_crew_has_somebody() -> None:
    with pytest.raises(WorkerError, match="at least 1 worker"):
        Crew(Troupe(), 0)


def test_nobody_waits_while_an_answer_is_looked_at() -> None:
    troupe, handed_then = Troupe(), []

    def check(_job: Job, _worker: str, _answer: bytes) -> None:
        handed_then.append(len(troupe.handed))

    with Crew(troupe, 1) as crew:
        crew.run([Job(name=name) for name in ("one", "two", "three")], check=check)
    assert handed_then == [2, 3, 3]


def test_what_a_liar_was_given_next_is_done_by_another() -> None:
    troupe = Troupe()

    def check(job: Job, worker: str, _answer: bytes) -> None:
        if worker == "worker 1":
            raise RefusedResultError("it lies")
        done.append(job.name)

    done: list[str] = []
    with Crew(troupe, 1) as crew:
        crew.run([Job(name=name) for name in ("one", "two")], check=check)
    assert sorted(done) == ["one", "two"]
    assert troupe.dismissed == ["worker 1"]
    assert crew.efforts[Role.SEARCH].done == 2


def test_answers_that_others_look_at_are_over_when_these_know() -> None:
    """The worker goes on meanwhile; one whose first answer turns out a lie loses what it works at."""
    looked: dict[str, int] = {}

    def check(job: Job, worker: str, answer: bytes) -> Callable[[], bool]:
        looked[job.name + worker] = 0

        def look() -> bool:
            looked[job.name + worker] += 1
            if looked[job.name + worker] < 3:
                return False
            if answer != job.body.encode():
                raise RefusedResultError(f"{answer!r} is not {job.body!r}")
            return True

        return look

    def first_lying(lease: Lease) -> list[Heard]:
        return lying(lease) if lease.job.name == "a" else silent(lease)

    troupe = Troupe(first_lying)
    crew = Crew(troupe, 1)
    crew.run(JOBS, check=check)
    assert troupe.dismissed == ["worker 1"]
    assert [(lease.job.name, lease.worker) for lease in troupe.handed[:2]] == [("a", "worker 1"), ("b", "worker 1")]
    assert looked == {"aworker 1": 3, "aworker 2": 3, "bworker 2": 3, "cworker 2": 3, "dworker 2": 3}
    assert (crew.num_refused, crew.efforts[Role.SEARCH].done) == (1, 4)
    assert [worker.num_done for worker in crew.workers] == [4]


def test_no_more_is_given_out_than_can_be_looked_at() -> None:
    most: list[int] = []
    is_known = [False]

    def check(_job: Job, _worker: str, _answer: bytes) -> Callable[[], bool]:
        return lambda: is_known[0]

    troupe = Troupe()
    with Crew(troupe, 2) as crew:
        crew.submit([Job(name=f"{number}", body="") for number in range(40)], check=check)
        for _ in range(10):
            crew.turn()
        most.append(len(troupe.handed))
        is_known[0] = True
        crew.finish()
    assert most == [10], "four for each of two, and one of each that was at work"
    assert len(troupe.handed) == 40


def test_an_answer_may_turn_out_a_lie_after_its_worker_is_gone() -> None:
    def check(_job: Job, _worker: str, answer: bytes) -> Callable[[], bool]:
        def look() -> bool:
            if answer == b"a lie" and "worker 1" not in troupe.dismissed:
                return False
            if answer == b"a lie":
                raise RefusedResultError("it is a lie")
            return True

        return look

    def lies_and_dies(lease: Lease) -> list[Heard]:
        return lying(lease) if lease.job.name == "a" else dying(lease)

    troupe = Troupe(lies_and_dies)
    crew = Crew(troupe, 1)
    crew.run(JOBS, check=check)
    assert crew.queue.counts[Stage.CHECKED] == 4
    assert (crew.num_refused, crew.num_lost) == (1, 1)
    assert "what worker 1 had answered was refused" in crew.said[-1]


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_worker_may_not_do_is_done_by_another_or_by_who_takes_its_place(number: int) -> None:
    troupe, by, names = Troupe(), dict[str, str](), ["a"]
    given: list[int] = []

    def check(job: Job, worker: str, _answer: bytes) -> None:
        by[job.name] = worker
        if job.name == "a":
            crew.submit([Job(name="again", not_by=frozenset({worker}))], check=check)
            names.append("again")

    with Crew(troupe, number, clock=Clock()) as crew:
        crew.submit([Job(name="a")], check=check, before=lambda: given.append(len(troupe.handed)))
        crew.finish(names)
        assert given == [0]
        assert by == {"a": "worker 1", "again": "worker 2"}
        assert troupe.dismissed == (["worker 1"] if number == 1 else [])
        assert crew.num_lost == crew.num_refused == 0
        assert crew.seconds_of("a") > 0
        assert crew.seconds_of("nothing") == 0
        crew.refuse("worker 2", "it turned out later")
        crew.refuse("worker 2", "it is gone already")
        assert crew.num_refused == 1


def test_a_worker_without_a_machine_is_waited_for_and_the_others_work() -> None:
    class HalfThere(Troupe):
        """The second worker has no machine as long as there is work."""

        @override
        def hire(self) -> str:
            name = super().hire()
            if name == "worker 2":
                self._said.pop()
            return name

        @override
        def hear(self, patience_s: float) -> Iterator[Heard]:
            if "worker 2" in self.hired:
                yield Heard("worker 2", "waiting")
            yield from super().hear(patience_s)

    clock = Clock(step=40.0)
    troupe, accepted = HalfThere(), Accepted()
    crew = Crew(troupe, 2, lease_s=1e9, clock=clock)
    crew.run(JOBS, check=accepted)
    assert accepted.names == list("abcd")
    assert clock.now > 2 * 600
    assert crew.num_lost == 0
    assert [worker.state for worker in crew.workers] == ["idle", "starting"]
