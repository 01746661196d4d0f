"""Leases: nothing is lost, nothing is done twice, and whoever has what a job needs gets it."""

import weakref

import pytest

from saint.errors import WorkerError
from saint.search import Job, Queue, Role, Stage


def queue_of(*jobs: Job, lease_s: float = 10.0, at_most_fruitless: int = 3) -> Queue:
    queue = Queue(lease_s=lease_s, at_most_fruitless=at_most_fruitless)
    for job in jobs:
        queue.propose(job)
    return queue


def names_asked(queue: Queue, worker: str, number: int) -> list[str]:
    leases = [queue.ask(worker, now=0.0) for _ in range(number)]
    return [lease.job.name for lease in leases if lease is not None]


def test_a_job_is_leased_to_one_worker_and_checked_once() -> None:
    queue = queue_of(Job(name="a"))
    lease = queue.ask("one", now=0.0)
    assert lease is not None
    assert queue.ask("two", now=0.0) is None
    assert queue.tell(lease.token) == lease.job
    assert queue.tell(lease.token) is None
    queue.check("a")
    assert queue.is_over
    with pytest.raises(WorkerError, match="checked once"):
        queue.check("a")


def test_the_same_job_is_proposed_once_until_it_is_over() -> None:
    queue = queue_of(Job(name="a"))
    assert not queue.propose(Job(name="a"))
    lease = queue.ask("one", now=0.0)
    assert lease is not None
    assert not queue.propose(Job(name="a"))
    queue.tell(lease.token)
    queue.check("a")
    assert queue.propose(Job(name="a"))
    assert names_asked(queue, "one", 1) == ["a"]


def test_a_lease_that_is_not_renewed_is_lost_and_what_comes_with_it_is_not_heard() -> None:
    queue = queue_of(Job(name="a"))
    first = queue.ask("one", now=0.0)
    assert first is not None
    assert queue.beat(first.token, now=9.0)
    assert queue.expire(now=18.9) == []
    assert [late.job.name for late in queue.expire(now=19.0)] == ["a"]
    assert not queue.beat(first.token, now=19.0)
    second = queue.ask("two", now=19.0)
    assert second is not None
    assert queue.tell(first.token) is None
    assert queue.tell(second.token) == second.job
    assert queue.num_lost == 1


def test_a_lost_job_goes_before_those_that_were_never_leased() -> None:
    queue = queue_of(*(Job(name=name) for name in "abcd"))
    assert names_asked(queue, "one", 2) == ["a", "b"]
    assert {job.name for job in queue.lose("one")} == {"a", "b"}
    assert names_asked(queue, "two", 4) == ["a", "b", "c", "d"]


def test_workers_keep_to_groups_that_they_have_as_long_as_they_can() -> None:
    groups = {"a": "deep", "b": "low", "c": "low", "d": "deep"}
    queue = queue_of(*(Job(name=name, group=group) for name, group in groups.items()))
    one, two = names_asked(queue, "one", 1), names_asked(queue, "two", 1)
    assert (one, two) == (["a"], ["b"])
    assert names_asked(queue, "one", 2) == ["d", "c"]


def test_what_a_lost_worker_had_is_nobodys() -> None:
    queue = queue_of(Job(name="a", group="low"), Job(name="b", group="deep"), Job(name="c", group="low"))
    assert names_asked(queue, "one", 1) == ["a"]
    queue.lose("one")
    assert names_asked(queue, "two", 3) == ["a", "c", "b"]


def test_searching_goes_before_controls_and_these_before_validation() -> None:
    queue = queue_of(*(Job(name=role.value, role=role) for role in reversed(Role)))
    assert names_asked(queue, "one", 3) == ["search", "control", "validation"]


def test_a_job_whose_workers_die_again_and_again_without_progress_is_given_up() -> None:
    queue = queue_of(Job(name="a"), at_most_fruitless=2)
    for worker in ("one", "two"):
        lease = queue.ask(worker, now=0.0)
        assert lease is not None
        if worker == "one":
            queue.beat(lease.token, now=0.0)  # it came further, so its death says nothing of the job
        queue.lose(worker)
    assert queue.hopeless() == []
    queue.ask("three", now=0.0)
    queue.lose("three")
    assert [job.name for job in queue.hopeless()] == ["a"]
    assert queue.is_over


def test_a_refused_answer_is_leased_anew_however_often() -> None:
    queue = queue_of(Job(name="a"), at_most_fruitless=2)
    for _ in range(4):
        lease = queue.ask("one", now=0.0)
        assert lease is not None
        queue.tell(lease.token)
        queue.refuse("a")
    assert queue.stage_of("a") is Stage.PROPOSED


@pytest.mark.parametrize("leased", [False, True])
def test_a_job_that_cannot_be_done_is_not_leased_any_more(*, leased: bool) -> None:
    queue = queue_of(Job(name="a"), Job(name="b"))
    if leased:
        queue.ask("one", now=0.0)
    queue.fail("a")
    assert names_asked(queue, "two", 2) == ["b"]
    assert queue.counts[Stage.FAILED] == 1


def test_what_is_not_for_everybody_is_leased_first_to_others() -> None:
    queue = queue_of(Job(name="a"), Job(name="b", not_by=frozenset({"one"})))
    assert names_asked(queue, "one", 2) == ["a"]
    assert queue.awaits_others_than({"one"})
    assert not queue.awaits_others_than({"one", "two"})
    lease = queue.ask("two", now=0.0)
    assert lease is not None
    assert lease.job.name == "b"
    assert not queue.awaits_others_than({"one"})
    queue.tell(lease.token)
    queue.refuse("b")
    assert names_asked(queue, "one", 1) == []
    queue.fail("b")
    assert names_asked(queue, "two", 1) == []


def test_whoever_does_a_job_next_can_be_told_something_else() -> None:
    queue = queue_of(Job(name="a", body="first"))
    lease = queue.ask("one", now=0.0)
    assert lease is not None
    queue.tell(lease.token)
    queue.amend(Job(name="a", body="second"))
    queue.refuse("a")
    again = queue.ask("two", now=0.0)
    assert again is not None
    assert (lease.job.body, again.job.body) == ("first", "second")


def test_what_is_over_is_not_kept_in_memory() -> None:
    class Body:
        """Much."""

    body = Body()
    kept = weakref.ref(body)
    queue = queue_of(Job(name="a", body=body))
    lease = queue.ask("one", now=0.0)
    assert lease is not None
    queue.tell(lease.token)
    queue.check("a")
    del body, lease
    assert kept() is None
    assert queue.counts[Stage.CHECKED] == 1


def test_a_lease_has_to_last() -> None:
    with pytest.raises(WorkerError, match="more than 0 seconds"):
        Queue(lease_s=0.0)
