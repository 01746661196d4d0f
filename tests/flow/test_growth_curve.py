"""The growth curve: what stands is read on held-out text after each round, for nothing, beside all that was spent."""

from itertools import count
from math import log
from types import SimpleNamespace
from typing import Any

import pytest

import saint
from interrupting import StopsAfter
from saint import config
from saint.errors import Interrupted
from saint.evaluation import Losses, _losses
from saint.growth import Plan, _grow, _grown, open_data, start
from saint.progress import Progress
from saint.registry import Registry, State
from workshop import PLAN, Workshop, build_workshop

QUICK = ("controls.after=never", "gates.gain.at_least_bpb=-1.0", "gates.retention.at_most_bpb=9.0")
FAILING = PLAN.replace("lr = 0.02", "lr = 1e30", 1)


class Growing:
    def __init__(self, workshop: Workshop, *overrides: str) -> None:
        self.base = saint.freeze(workshop.base)
        self.plan = config.load(workshop.plan, Plan, overrides=[*QUICK, *overrides])
        self.registry = start(workshop.registry, self.base, self.plan, root=workshop.root)
        self.data = open_data(self.registry, self.plan, self.base)

    def grow(self, progress: Progress | None = None) -> State:
        saint.grow(self.base, self.data, self.plan, self.registry, progress=progress)
        return self.registry.state


@pytest.mark.slow
def test_a_point_is_what_stood_and_what_all_trials_had_taken(workshop: Workshop) -> None:
    one = Growing(workshop)
    state = one.grow()
    bare, *rounds = state.curve
    assert (bare["round"], bare["stack"], bare["gain_bpb"]) == (None, [], None)
    assert {bare[name] for name in ("num_params", "train_tokens", "train_flops", "train_seconds")} == {0}
    assert [point["round"] for point in rounds] == [0, 1]
    losses, stack = Losses(seq_len=one.plan.evaluation_seq_len), saint.restore(one.registry)
    for point, standing in zip(state.curve, ([], stack[:1], stack), strict=True):
        assert point["stack"] == [graft.digest for graft in standing]
        for bpb, corpus in (
            (point["grown_bpb"], one.data.select["prose"]),
            (point["retain_bpb"]["code"], one.data.select["code"]),
        ):
            assert bpb == float(losses.of(one.base, standing, corpus).sum()) / log(2) / corpus.num_bytes
        assert point["num_params"] == sum(graft.num_params for graft in standing)
        if standing:
            assert point["gain_bpb"]["estimate"] == pytest.approx(bare["grown_bpb"] - point["grown_bpb"])
    trials = list(state.trained.values())
    assert len(trials) > 3
    for point, so_far in zip(rounds, (trials[:3], trials), strict=True):
        for name in ("train_tokens", "train_flops", "train_seconds"):
            assert point[name] == pytest.approx(sum(trial[name] for trial in so_far))
    assert 0 < rounds[0]["train_flops"] < rounds[1]["train_flops"]


@pytest.mark.slow
def test_the_curve_costs_no_pass_over_text(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    plain = _losses.document_nats
    monkeypatch.setattr(_losses, "document_nats", lambda *args, **kwargs: passes.append(1) or plain(*args, **kwargs))
    Growing(workshop, "rounds=1").grow()
    with_curve = len(passes)
    passes.clear()
    for flow in (_grow, _grown):
        monkeypatch.setattr(flow, "extend_curve", lambda *_: None)
    without = Growing(build_workshop(workshop.root / "other"), "rounds=1").grow()
    assert without.curve == []
    assert with_curve == len(passes) > 0


@pytest.mark.slow
def test_trials_that_come_to_nothing_have_their_seconds_and_a_stop_loses_none(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.plan.write_text(FAILING + "[search]\nrungs = [{ at = 0.5, keep = 0.5 }]\n", encoding="utf-8")
    ticks = count()
    monkeypatch.setattr("saint.training._learn.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr("saint.training._learner.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    through = Growing(workshop, "rounds=1").grow()
    other = Growing(build_workshop(workshop.root / "other", plan=workshop.plan.read_text(encoding="utf-8")), "rounds=1")
    for stop in (300, 500, 700):
        with pytest.raises(Interrupted):
            other.grow(StopsAfter(stop))
    resumed = other.grow()
    seconds = [(trial["candidate"]["kind"], trial["train_seconds"]) for trial in through.trained.values()]
    assert seconds == [(trial["candidate"]["kind"], trial["train_seconds"]) for trial in resumed.trained.values()]
    assert sum(bool(trial.get("failure") or trial.get("stopped")) for trial in through.trained.values()) >= 1
    assert min(second for _, second in seconds) > 0
    assert without_stack(resumed.curve[-1]) == without_stack(through.curve[-1])


def without_stack(point: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != "stack"}


@pytest.mark.slow
def test_a_round_that_was_killed_after_its_point_has_one_point(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Growing(workshop, "rounds=1")

    def killed(*_: object) -> None:
        raise Interrupted("killed")

    with monkeypatch.context() as patch:
        patch.setattr(_grow, "train_controls", killed)
        with pytest.raises(Interrupted):
            one.grow()
    assert [point["round"] for point in one.registry.state.curve] == [None, 0]
    one.grow()
    assert [point["round"] for point in one.registry.state.curve] == [None, 0]


def test_what_was_trained_before_there_were_seconds_of_all_trials_counts_as_it_did(workshop: Workshop) -> None:
    registry: Registry = Growing(workshop).registry
    old = {"candidate": {}, "stack": [], "graft": "", "train_tokens": 64}
    registry.write("trained", {**old, "trial": "1", "history": {"time_s": 2.5}})
    registry.write("trained", {**old, "trial": "2", "failure": "no"})
    registry.write("trained", {**old, "trial": "3", "train_flops": 9.0, "train_seconds": 4.0})
    spent = registry.state.spent
    assert (spent.train_tokens, spent.train_flops, spent.train_seconds) == (192, 9.0, 6.5)
