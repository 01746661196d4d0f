"""One run at a time: done once, named by all that decides it, taken up where it stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from saint import config
from saint.comparison import ComparisonPlan, Materials, check_device, make_entries
from saint.comparison._bench import Bench, Job, Trial
from saint.comparison._code import plug_in_digest, source_digest
from saint.comparison._compare import Archive, Outcome, tune_and_measure
from saint.discovery import names
from saint.errors import ConfigError, Interrupted
from saint.progress import Progress, Task
from saint.records import Candidate, Site
from saint.search import Desk
from workshop import Workshop

PLAN = """
name = "tiny"
base = "base"
budgets = [0.05, 0.1]
seeds = [0, 1]
tries = 2
evaluation_seq_len = 32
data.prepared = "text"
schedule = { num_steps = 2, batch_size = 2, seq_len = 16, evaluate_every = 1 }
arms = [
  { name = "lora", kind = "lora", size = "rank", roles = ["q"], control = true },
  { name = "rescale", kind = "rescale", roles = ["q"], lr = 3e-2 },
  { name = "full", whole = "full", lr = 1e-3 },
]
"""
WHOLE = Trial(domain="prose", lr=1e-3, seed=0)


def plan_of(**changes: Any) -> ComparisonPlan:
    return config.build({**config.parse(PLAN, where="test"), **changes}, ComparisonPlan, where="test")


def bench_of(workshop: Workshop, progress: Progress | None = None, **changes: Any) -> Bench:
    materials = Materials(base=str(workshop.base), data=workshop.root / "text", cells=workshop.root / "cells")
    return Bench(materials, plan_of(**changes), progress)


def trial_of(bench: Bench) -> Trial:
    sites: list[Site] = [site for site in bench.base.sites() if site.role == "q"]
    candidate = Candidate(sites=tuple(sites), kind="lora", options={"rank": 1}, lr=1e-2, seed=0)
    return Trial(candidate=candidate, lr=1e-2, seed=0)


class Stopping(Progress):
    """Asks for a stop after the first step."""

    @override
    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:
        yield self

    def advance(self, amount: int) -> None:
        if amount:
            raise Interrupted("stopped")

    @override
    def note(self, message: str) -> None:
        pass


def checkpoints(workshop: Workshop) -> list[Path]:
    return list((workshop.root / "cells").glob("*.checkpoint"))


def test_a_size_less_arm_at_two_budgets_is_trained_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(workshop)
    trained: list[str] = []
    train = Bench._train

    def counting(self: Bench, trial: Trial, name: str) -> dict[str, Any]:
        trained.append(name)
        return train(self, trial, name)

    monkeypatch.setattr(Bench, "_train", counting)
    entries = make_entries(bench.plan, bench.base.sites(), bench.base.num_params, {})
    small, large = [entry for entry in entries if entry.arm.name == "rescale"]
    assert small.filling == large.filling, "the kind has one size, which fits both budgets"
    archive = Archive(bench)
    desk = Desk([tune_and_measure(small, archive), tune_and_measure(large, archive)])
    assert len(desk.queue) == 2, "two rates, each asked for twice"
    while desk.queue:
        job = desk.queue.popleft()
        desk.deliver(job, bench.do(job))
    found: list[Outcome] = [desk.returned[number] for number in (0, 1)]
    assert len(trained) == len(set(trained)) == 3, "two rates with the first seed, the best one with the second"
    assert found[0].measured == found[1].measured
    assert archive.num_known == 0, "no earlier run has done any of it"
    again = Archive(bench)
    desk = Desk([tune_and_measure(small, again)])
    assert not desk.queue
    assert again.num_known == again.num_jobs == 4


def test_a_run_that_was_taken_up_counts_for_no_clock_and_learns_the_same(workshop: Workshop) -> None:
    bench = bench_of(workshop)
    trial = trial_of(bench)
    job = Job(trial=trial, step="train")
    with pytest.raises(Interrupted):
        bench_of(workshop, Stopping()).do(job)
    assert len(checkpoints(workshop)) == 1
    resumed = bench.do(job)
    assert resumed["train_s"] is None
    assert not checkpoints(workshop)
    bench.store._path(bench.digest(job)).unlink()
    straight = bench.do(job)
    assert straight["train_s"] > 0
    assert straight["select_bpb"] == resumed["select_bpb"]


def test_seconds_are_the_median_of_all_runs_that_one_clock_has_seen(workshop: Workshop) -> None:
    entry = make_entries(plan_of(), bench_of(workshop).base.sites(), 10_000, {})[0]
    tried: dict[float, dict[str, Any]] = {0.1: {"train_s": 1.0}, 0.2: {"train_s": 9.0}, 0.3: {"failure": "it diverged"}}
    trained: dict[int, dict[str, Any]] = {0: tried[0.2], 1: {"train_s": 4.0}, 2: {"train_s": None}}
    outcome = Outcome(entry=entry, tried=tried, lr=0.2, trained=trained, measured={})
    assert outcome.train_s == 4.0
    assert replace(outcome, tried={0.2: {"train_s": None}}, trained={0: {"train_s": None}}).train_s is None


@pytest.mark.parametrize("step", ["train", "measure"])
def test_a_checkpoint_that_a_kill_left_beside_a_result_goes(workshop: Workshop, step: Any) -> None:
    bench = bench_of(workshop)
    training = Job(trial=trial_of(bench), step="train")
    bench.do(training)
    left = bench.store.checkpoint(bench.digest(training))
    left.write_bytes(b"as it was between the result and its removal")
    bench.result(replace(training, step=step))
    assert not checkpoints(workshop)


def test_a_fade_in_is_of_grafts_only(workshop: Workshop) -> None:
    plain, fading = bench_of(workshop), bench_of(workshop, schedule={**_SCHEDULE, "fade_in": 0.5})
    whole = Job(trial=WHOLE, step="train")
    assert fading.digest(whole) == plain.digest(whole)
    graft = Job(trial=trial_of(plain), step="train")
    assert fading.digest(graft) != plain.digest(graft)
    assert "failure" not in fading.do(whole)


_SCHEDULE = {"num_steps": 2, "batch_size": 2, "seq_len": 16, "evaluate_every": 1}


def test_code_that_decides_results_is_in_their_names(tmp_path: Path) -> None:
    for name in ("grafts/lora.py", "comparison/_bench.py", "comparison/_tuning.py", "report/_svg.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one = 1\n", encoding="utf-8")
    digests = [source_digest(tmp_path)]
    for name in ("grafts/lora.py", "comparison/_bench.py", "comparison/_tuning.py"):
        (tmp_path / name).write_text("two = 2\n", encoding="utf-8")
        digests.append(source_digest(tmp_path))
    assert len(set(digests)) == len(digests)
    (tmp_path / "report" / "_svg.py").write_text("two = 2\n", encoding="utf-8")
    assert source_digest(tmp_path) == digests[-1], "a picture decides nothing"
    assert {plug_in_digest(kind) for kind in names("grafts")} == {""}, "the package's own kinds are in it"


def test_a_device_that_is_there() -> None:
    check_device("cpu")
    with pytest.raises(ConfigError, match=r"the device is 'mps'.*leave --device out"):
        check_device("mps")
