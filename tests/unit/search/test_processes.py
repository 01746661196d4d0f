"""Workers that are processes, killed for real."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up_workers import Number, counting, doubling, refusing
from saint.errors import ConfigError, RefusedResultError, WorkerError
from saint.search import Crew, Demand, Job, Processes, Workers, described_error, pack, told_error, unpack
from saint.search._processes import understood

pytestmark = pytest.mark.distributed


class Answers:
    def __init__(self) -> None:
        self.found: dict[str, tuple[str, bytes]] = {}

    def __call__(self, job: Job, worker: str, answer: bytes) -> None:
        assert job.name not in self.found
        self.found[job.name] = worker, answer


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(Processes(counting), 2) as crew:
        yield crew


def job(name: str, **body: Any) -> Job:
    return Job(name=name, body={"to": 3, **body}, at_most_bytes=100)


def test_processes_do_jobs_and_tell_how_far_they_are(crew: Crew) -> None:
    answers, units = Answers(), 0

    def tell(_job: Job | None, more: int) -> None:
        nonlocal units
        units += more

    crew.run([job(f"job {index}") for index in range(6)], check=answers, tell=tell)
    assert {answer for _, answer in answers.found.values()} == {b"x"}
    assert len(answers.found) == 6
    assert 0 <= units <= 18
    assert all(worker.hello.isdigit() for worker in crew.workers if worker.state != "starting")


def test_the_job_of_a_process_that_is_killed_is_done_by_another(crew: Crew, tmp_path: Path) -> None:
    answers, lost = Answers(), crew.num_lost
    crew.run([job("dies", die_once=str(tmp_path / "mark"))], check=answers)
    assert answers.found["dies"][1] == b"x"
    assert crew.num_lost == lost + 1
    assert "signal 9" in crew.said[-1]


def test_each_has_an_environment_and_who_replaces_it_the_same(tmp_path: Path) -> None:
    answers = Answers()
    with Crew(Processes(counting, [{"CUDA_VISIBLE_DEVICES": "7"}]), 1) as crew:
        die = {"die_once": str(tmp_path / "mark")}
        crew.run([job("seen", variable="CUDA_VISIBLE_DEVICES", **die)], check=answers)
        assert crew.num_lost == 1
    assert answers.found["seen"] == ("worker 2", b"7")


def test_an_answer_that_is_too_long_is_not_read() -> None:
    with (
        Crew(Processes(counting), 1) as crew,
        pytest.raises(WorkerError, match=r"no worker is left.*could not be read, perhaps for its length"),
    ):
        crew.run([job("long", num_bytes=3 << 20)], check=Answers())


def test_an_unexpected_failure_is_told(crew: Crew) -> None:
    with pytest.raises(WorkerError, match="RuntimeError: fell over"):
        crew.run([job("stumbles", stumble=True)], check=Answers())


def test_a_demand_may_ask_again_for_what_it_has_just_got() -> None:
    def demand() -> Demand:
        [first] = yield [Number(1)]
        second, third = yield [Number(1), Number(2)]
        return first["twice"] + second["twice"] + third["twice"]

    done: list[Any] = []
    with Workers(1, doubling) as workers:
        assert workers.fulfil([demand()], tell=lambda _job, _tokens: None, done=done.append) == [8]
    assert done == [Number(1), Number(1), Number(2)]


def test_what_keeps_a_worker_from_beginning_is_told_before_any_work() -> None:
    with Crew(Processes(refusing), 1) as crew, pytest.raises(ConfigError, match="another base"):
        crew.run([job("never")], check=Answers())


def test_messages_are_read_back() -> None:
    assert unpack(pack({"a": 1}, [b"", b"xyz"])) == ({"a": 1}, [b"", b"xyz"])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"short",
        (99).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        pack({"a": 1}, [b"xyz"])[:-1],
        pack({"a": 1}, [b"xyz"]) + b"more",
        (35).to_bytes(8, "little") + b'{"header": {"a": NaN}, "pieces": []}'[:35] + b"}",
        (36).to_bytes(8, "little") + b'{"header": {"a": NaN}, "pieces": []}',
        (33).to_bytes(8, "little") + b'{"header": {"a": 1}, "pieces":-1}',
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        b"\xff" * 64,
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedResultError, match="expected a message"):
        unpack(message)


@pytest.mark.parametrize(
    "said", ['"token": 1e999, "units": 1', '"token": 1, "units": 1e999', '"token": "1", "units": 1']
)
def test_what_is_counted_by_no_number_is_no_message(said: str) -> None:
    spelt = f'{{"header": {{"what": "beat", {said}}}, "pieces": []}}'.encode()
    with pytest.raises(ValueError, match="expected a whole number, got"):
        understood("worker 1", len(spelt).to_bytes(8, "little") + spelt)


def test_errors_are_told_by_name_and_only_errors_of_ours_are_raised() -> None:
    told = told_error(described_error(ConfigError("no")))
    assert isinstance(told, ConfigError)
    assert str(told) == "no"
    for strange in ({"sort": "ClassVar", "message": "x"}, {"sort": "__name__"}, {"sort": "SystemExit"}, None, 7):
        assert type(told_error(strange)) is WorkerError
