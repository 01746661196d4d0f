"""The simulated cluster: nothing is lost or done twice, and what it takes is what can be worked out by hand."""

from dataclasses import replace
from math import inf

import pytest

from saint.errors import ConfigError, WorkerError
from saint.search import Cluster, Costs, Queue, Simulated, Work, measure_loop, simulate

COSTS = Costs(
    lease_s=0.001,
    beat_s=0.0005,
    answer_s=0.002,
    measure_s=0.1,
    append_s=0.01,
    judge_s=5.0,
    round_s=3.0,
    latency_s=0.004,
)
LEAN = Costs(lease_s=1e-4, beat_s=1e-4, answer_s=1e-3, measure_s=0.0, append_s=0.005, judge_s=1.0)


def searched(num_workers: int, *, life_s: float = inf, costs: Costs = LEAN, num: int = 400, seed: int = 0) -> Simulated:
    work = Work(trial_s=(45.0, 55.0, 65.0, 75.0), num_rounds=1, candidates=num, finalists=2)
    return simulate(Cluster(num_workers=num_workers, life_s=life_s), costs, work, seed=seed)


def test_one_worker_takes_what_its_trials_and_the_coordinator_take_one_after_the_other() -> None:
    work = Work(trial_s=(47.0,), num_rounds=2, candidates=6, finalists=2)
    found = simulate(Cluster(num_workers=1, start_s=20.0), COSTS, work)
    each = 47.0 + COSTS.per_trial_s() + 2 * COSTS.latency_s
    assert found.makespan_s == pytest.approx(20.0 + 12 * each + 2 * (2 * 5.0 + 3.0))
    assert found.num_trials == 12
    assert found.useful_s == pytest.approx(12 * 47.0)
    assert found.busy_s["beat"] == pytest.approx(12 * 4 * COSTS.beat_s)
    assert found.busy_s["measure"] == pytest.approx(12 * COSTS.measure_s)
    assert found.barrier_share == pytest.approx(26.0 / found.makespan_s)
    assert found.utilisation == pytest.approx(12 * 47.0 / found.makespan_s)


def test_every_trial_is_checked_once_however_many_workers_fail() -> None:
    calm, some, many = (searched(20, life_s=life) for life in (inf, 4000.0, 500.0))
    assert [found.num_trials for found in (calm, some, many)] == [400] * 3
    assert calm.num_lost == 0 < some.num_lost < many.num_lost
    assert calm.useful_s == pytest.approx(some.useful_s) == pytest.approx(many.useful_s)  # each was done again
    assert calm.lost_s == 0 < some.lost_s < many.lost_s
    assert calm.utilisation > some.utilisation > many.utilisation


def test_a_worker_that_falls_silent_is_given_up_when_its_lease_ends_and_its_trial_is_done_again() -> None:
    def took(life_s: float, seed: int) -> Simulated:
        work = Work(trial_s=(100.0,), num_rounds=1, candidates=1, finalists=0)
        return simulate(Cluster(num_workers=1, start_s=10.0, life_s=life_s), LEAN, work, seed=seed)

    calm = took(inf, 0)
    lost = next(found for seed in range(50) if (found := took(200.0, seed)).num_lost == 1)
    assert lost.num_trials == 1
    late = lost.makespan_s - calm.makespan_s - lost.lost_s  # what the lease still had, and a new start
    assert 50.0 + 10.0 <= late <= 61.5 + 10.0


def test_the_same_seed_gives_the_same_and_another_one_something_else() -> None:
    assert searched(8, life_s=2000.0) == searched(8, life_s=2000.0)
    assert searched(8, life_s=2000.0) != searched(8, life_s=2000.0, seed=1)


def test_more_workers_than_the_coordinator_can_see_to_wait_for_it() -> None:
    slow = Costs(lease_s=0.0, beat_s=0.0, answer_s=0.0, measure_s=3.0, append_s=0.0, judge_s=0.0)
    found = searched(100, costs=slow, num=1000)
    assert found.trials_per_hour == pytest.approx(3600 / slow.per_trial_s(), rel=0.05)
    assert found.coordinator_share > 0.95
    assert found.num_lost == 0  # heartbeats that wait are no silence
    assert found.utilisation == pytest.approx(60 / 3.0 / 100, rel=0.05)


def test_checkers_measure_beside_the_coordinator() -> None:
    slow = Costs(lease_s=0.0, beat_s=0.0, answer_s=0.001, measure_s=3.0, append_s=0.001, judge_s=0.0)
    work = Work(trial_s=(45.0, 75.0), num_rounds=1, candidates=1000, finalists=0)

    def helped(num_checkers: int) -> Simulated:
        return simulate(Cluster(num_workers=100, num_checkers=num_checkers), slow, work)

    alone, two, ten = helped(0), helped(2), helped(10)
    assert [found.num_trials for found in (alone, two, ten)] == [1000] * 3
    assert two.trials_per_hour == pytest.approx(3600 / slow.per_trial_s(2), rel=0.05)  # 1.5 s each
    assert two.trials_per_hour == pytest.approx(2 * alone.trials_per_hour, rel=0.05)
    assert ten.utilisation > 0.85 > 2 * two.utilisation
    assert ten.coordinator_share < 0.01
    assert "measure" not in ten.busy_s


def test_the_ends_of_rounds_leave_workers_waiting() -> None:
    def took(*works: Work) -> Simulated:
        return simulate(Cluster(num_workers=10), LEAN, *works)

    whole = took(Work(trial_s=(60.0,), num_rounds=1, candidates=40, finalists=2))
    parts = took(Work(trial_s=(60.0,), num_rounds=4, candidates=10, finalists=2))
    ragged = took(Work(trial_s=(60.0,), num_rounds=4, candidates=11, finalists=2))
    assert whole.utilisation > parts.utilisation > ragged.utilisation
    assert parts.makespan_s - whole.makespan_s == pytest.approx(6.0, abs=0.3)  # three times two finalists more
    two = took(*(Work(trial_s=(60.0,), num_rounds=2, candidates=10, finalists=2) for _ in range(2)))
    assert two.makespan_s == pytest.approx(parts.makespan_s)


def test_it_is_the_queue_of_a_search_that_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = Queue.check
    monkeypatch.setattr(Queue, "check", lambda queue, name: (checked.append(name), check(queue, name))[1])
    searched(5, life_s=1000.0, num=30)
    assert len(checked) == len(set(checked)) == 30


def test_what_cannot_be_is_refused_in_one_sentence() -> None:
    work = Work(trial_s=(60.0,), num_rounds=1, candidates=4, finalists=1)
    with pytest.raises(ConfigError, match="begun again and again by workers that live for 5 s"):
        simulate(Cluster(num_workers=1, life_s=5.0), LEAN, work)
    with pytest.raises(ConfigError, match="at most 20,000 workers"):
        Cluster(num_workers=10**7)
    with pytest.raises(ConfigError, match="at most 20,000,000, so give"):
        simulate(Cluster(num_workers=1), LEAN, replace(work, candidates=10**7))
    with pytest.raises(WorkerError, match="do not come to a heartbeat"):
        simulate(Cluster(num_workers=1, life_s=0.5), LEAN, replace(work, trial_s=(2.0,)), seed=1)
    with pytest.raises(ConfigError, match="at least 0 checkers, got -1"):
        Cluster(num_workers=1, num_checkers=-1)
    with pytest.raises(ConfigError, match="at least 1 worker, got 0"):
        Cluster(num_workers=0)
    with pytest.raises(ConfigError, match="heartbeats more often"):
        Cluster(num_workers=1, beat_every_s=90.0)
    with pytest.raises(ConfigError, match="finalists is 5"):
        Work(trial_s=(60.0,), num_rounds=1, candidates=4, finalists=5)
    with pytest.raises(ConfigError, match="num_rounds is 0"):
        Work(trial_s=(60.0,), num_rounds=0, candidates=4, finalists=1)
    with pytest.raises(ConfigError, match="expected numbers above 0"):
        Work(trial_s=(float("nan"),), num_rounds=1, candidates=4, finalists=1)
    with pytest.raises(ConfigError, match="judge_s is -1"):
        Costs(lease_s=0, beat_s=0, answer_s=0, measure_s=0, append_s=0, judge_s=-1)


def test_the_loop_is_timed_with_workers_that_do_nothing() -> None:
    found = measure_loop(3)
    assert 0 < found.lease_s < 0.1
    assert 0 <= found.beat_s < 0.1
