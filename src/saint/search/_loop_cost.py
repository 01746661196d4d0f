"""What a coordinator's loop costs by itself: timed with workers that answer at once and do nothing."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from saint.search._crew import Crew
from saint.search._executor import Heard
from saint.search._queue import Job, Lease

_LEAST_TIMED, _MOST_TIMED = 200, 1000
_NUM_GROUPS = 8


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoopCost:
    """Seconds of the coordinator's processor, where one message is heard a turn."""

    lease_s: float
    """For a job: to lease it, and to hear that it is done and check it off."""
    beat_s: float
    """For a heartbeat."""


def measure_loop(num_workers: int) -> LoopCost:
    """Time the loop of a crew of so many workers, in this process; takes up to some seconds.

    A turn looks at every worker: that of more than 1,000 is taken to cost as much more as there are more of them.
    """
    timed = min(num_workers, _MOST_TIMED)
    num_jobs, more = max(timed, _LEAST_TIMED), num_workers / timed
    bare, beaten = (_seconds_of(timed, num_jobs, num_beats) for num_beats in (0, 2))
    return LoopCost(lease_s=more * bare / num_jobs, beat_s=more * max(0.0, beaten - bare) / (2 * num_jobs))


def _seconds_of(num_workers: int, num_jobs: int, num_beats: int) -> float:
    """From when all workers are ready until the last job is checked off."""
    told: list[float] = []

    def tell(_job: Job | None, _units: int) -> None:
        if not told and executor.num_ready == num_workers:
            told.append(time.process_time())

    executor = _Instant(num_beats)
    jobs = [Job(name=f"{number}", group=f"{number % _NUM_GROUPS}") for number in range(num_jobs)]
    with Crew(executor, num_workers) as crew:
        crew.run(jobs, check=lambda _job, _worker, _answer: None, tell=tell)
    return time.process_time() - told[0]


@final
class _Instant:
    """Workers that are ready, and done, as soon as they are asked; one thing is heard of them at a time.

    They keep the first job until all of them have one, as in a search, where hardly anybody is idle.
    """

    def __init__(self, num_beats: int) -> None:
        self._num_beats, self.num_ready = num_beats, 0
        self._said: deque[Heard] = deque()
        self._held: list[Lease] = []

    def hire(self) -> str:
        name = f"w{len(self._said)}"
        self._said.append(Heard(name, "ready", value=b""))
        return name

    def hand(self, lease: Lease) -> None:
        self._held.append(lease)

    def hear(self, patience_s: float) -> Iterator[Heard]:
        del patience_s  # nothing has to be waited for
        if not self.num_ready:
            self.num_ready = len(self._said)
            yield from self._said
            self._said.clear()
        if not self._said:
            for lease in self._held:
                self._said.extend(Heard(lease.worker, "beat", lease.token, 1) for _ in range(self._num_beats))
                self._said.append(Heard(lease.worker, "done", lease.token, b""))
            self._held = []
        if self._said:
            yield self._said.popleft()

    def dismiss(self, worker: str) -> None:
        raise AssertionError(f"{worker} did nothing wrong")

    def close(self) -> None:
        self._held = []
