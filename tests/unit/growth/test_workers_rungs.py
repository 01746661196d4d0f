"""Candidates that are held against each other at rungs come to the same with workers, whatever becomes of these."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open, torch as safetensors_torch
from typing_extensions import override

from growing_scene import Inside, Scene, Twist, at_another_position, changed, honest, scene_in, told_otherwise, trial_of
from made_up_workers import Troupe
from saint import records
from saint.errors import Interrupted, RefusedResultError
from saint.growth import Hands, brief_for, opening
from saint.growth._journal import Journal
from saint.growth._marks import Mark, Marks, read_marks, write_marks
from saint.growth._orders import order_for
from saint.growth._race import Next, Race
from saint.growth._trial import Leg, Trial
from saint.progress import Silent
from saint.search import Lease, pack, unpack
from saint.training import Rung, Search, Trained, train_many

RUNGS = Search(rungs=(Rung(at=1 / 3, keep=0.6), Rung(at=0.5, keep=0.5)))
RATES = (0.02, 1.0, 0.2, 1e30, 0.05)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = scene_in(tmp_path_factory.mktemp("workshop"))
    scene.plan = replace(scene.plan, search=RUNGS)
    old = scene.journal
    scene.journal = Journal(old.registry, old.base, old.data, scene.plan, Silent())
    return scene


def trials(scene: Scene, seed: int) -> list[Trial]:
    """Of wide learning rates, one of which runs away; another seed makes them others than the ledger has."""
    one = trial_of(scene.journal, seed=seed)
    return [replace(one, candidate=replace(one.candidate, lr=lr)) for lr in RATES]


def hands_of(scene: Scene, executor: Any, number: int = 1, *, shared: bool = True, spot_check: float = 1.0) -> Hands:
    brief = brief_for(scene.registry, scene.base, scene.plan, num_sharing=1)
    brief = brief if shared else replace(brief, work="")
    return Hands(scene.registry, brief, executor, number, spot_check=spot_check)


def alone(scene: Scene, wanted: Sequence[Trial], search: Search = RUNGS) -> list[dict[str, Any]]:
    """What comes of trials without workers."""
    candidates = [trial.candidate for trial in wanted]
    journal = scene.journal
    select = journal.data.select[journal.data.grown_domain]
    found = train_many(
        journal.base, (), candidates, journal.data.train, select=select, schedule=wanted[0].schedule, search=search
    )
    return [told(one) for one in found]


def told(trained: Trained) -> dict[str, Any]:
    kept = trained.graft if not trained.stopped else None
    return {
        "graft": kept.digest if kept else "",
        "history": records.to_plain(replace(kept.history, time_s=0.0)) if kept and kept.history else None,
        "train_tokens": trained.all_tokens,
        "stopped": trained.stopped,
        "failure": trained.failure,
    }


def in_ledger(scene: Scene, wanted: Sequence[Trial]) -> list[dict[str, Any]]:
    bodies = [scene.registry.state.trained[scene.journal.name_of(trial)] for trial in wanted]
    return [
        {
            "graft": body["graft"],
            "history": {**body["history"], "time_s": 0.0} if body.get("history") else None,
            "train_tokens": body["train_tokens"],
            "stopped": body.get("stopped", ""),
            "failure": body.get("failure", ""),
        }
        for body in bodies
    ]


class Working(Inside):
    """Real work in this process, of which each order is kept."""

    def __init__(self, scene: Scene, twist: Twist = honest, *, shared: bool = True) -> None:
        brief = brief_for(scene.registry, scene.base, scene.plan, num_sharing=1)
        bench = scene.bench if shared else opening(replace(brief, work=""))(Silent())
        super().__init__(bench, twist)
        self.orders: list[Any] = []

    @override
    def hand(self, lease: Lease) -> None:
        self.orders.append(lease.job.body)
        super().hand(lease)


@pytest.mark.parametrize(
    ("number", "brackets", "shared", "spot_check"),
    [(1, 1, True, 1.0), (2, 2, False, 1.0), (4, 3, True, 0.25)],
)
def test_rungs_with_workers_are_rungs_without(
    scene: Scene, number: int, brackets: int, *, shared: bool, spot_check: float
) -> None:
    wanted, search = trials(scene, seed=10 * number), replace(RUNGS, brackets=brackets)
    if number == 2:  # some stop by themselves before a rung
        schedule = replace(wanted[0].schedule, evaluate_every=1, patience=1)
        wanted = [replace(trial, schedule=schedule) for trial in wanted]
    scene.journal.plan = replace(scene.plan, search=search)
    working = Working(scene, shared=shared)
    with hands_of(scene, working, number, shared=shared, spot_check=spot_check) as hands:
        hands.train(scene.journal, wanted)
    scene.journal.plan = scene.plan
    there = in_ledger(scene, wanted)
    assert there == alone(scene, wanted, search)
    assert hands.crew.num_refused == 0
    assert any(one["graft"] and one["train_tokens"] < 384 for one in there) == (number == 2)
    assert sum(bool(one["failure"]) for one in there) == 1
    assert sum(bool(one["stopped"]) for one in there) >= 1
    assert not list(scene.journal.checkpoint("x").parent.glob("*")), "all that was unfinished is gone"
    further = [order for order in working.orders if order.since]
    assert further
    assert all(order.carried for order in further) != shared, "nothing is trained twice"


def broken_off(scene: Scene, wanted: Sequence[Trial], after: int) -> set[tuple[float, int | None]]:
    """A coordinator that is stopped once it has given out so many parts; those that were done."""

    class Stopping(Working):
        @override
        def hand(self, lease: Lease) -> None:
            if len(self.orders) == after:
                raise Interrupted("stopped")
            super().hand(lease)

    stopping = Stopping(scene)
    with hands_of(scene, stopping) as hands, pytest.raises(Interrupted):
        hands.train(scene.journal, wanted)
    return parts_of(stopping.orders[:-1])  # the last was answered, and nobody has heard it


@pytest.mark.parametrize("lost", [False, True])
def test_a_coordinator_that_begins_again_goes_on_from_its_notes_or_without(scene: Scene, *, lost: bool) -> None:
    wanted = trials(scene, seed=100 + lost)
    done = broken_off(scene, wanted, 9)
    for trial in wanted if lost else ():
        scene.journal.marks(scene.journal.name_of(trial)).unlink(missing_ok=True)
    working = Working(scene)
    with hands_of(scene, working, 2) as hands:
        hands.train(scene.journal, wanted)
    assert in_ledger(scene, wanted) == alone(scene, wanted)
    assert done
    assert bool(done & parts_of(working.orders)) == lost


def parts_of(orders: Sequence[Any]) -> set[tuple[float, int | None]]:
    """(learning rate, step) of those that do not run away, which are asked for twice."""
    return {(order.candidate.lr, order.until) for order in orders if order.candidate.lr < 10}


def test_what_a_coordinator_with_workers_left_is_taken_up_without(scene: Scene) -> None:
    wanted = trials(scene, seed=300)
    broken_off(scene, wanted, 8)
    candidates = [trial.candidate for trial in wanted]
    found = train_many(scene.base, (), candidates, scene.journal.data.train, **scene.journal.training(wanted))
    assert [told(one) for one in found] == alone(scene, wanted)
    scene.journal.keep(wanted, found)


def remove_checkpoints(scene: Scene, header: dict[str, Any], pieces: list[bytes]) -> bytes:
    for file in scene.journal.checkpoint("x").parent.glob("*.safetensors"):
        file.unlink()
    return pack(header, pieces)


def poison_checkpoints(scene: Scene, header: dict[str, Any], pieces: list[bytes]) -> bytes:
    """Leave a state for the next part that says of itself that it was much better."""
    for file in scene.journal.checkpoint("x").parent.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            position = json.loads(opened.metadata()["position"])
        position["evaluations"] = [[step, 0.001] for step, _ in position["evaluations"]]
        tensors = safetensors_torch.load_file(file)
        file.write_bytes(safetensors_torch.save(tensors, {"position": json.dumps(position)}))
    return pack(header, pieces)


@pytest.mark.parametrize("spoil", [remove_checkpoints, poison_checkpoints])
def test_a_checkpoint_that_is_lost_or_spoilt_costs_time_and_no_bits(scene: Scene, spoil: Callable[..., bytes]) -> None:
    wanted = trials(scene, seed=400 + len(spoil.__name__))[:3]
    with hands_of(scene, Working(scene, partial(spoil, scene))) as hands:
        hands.train(scene.journal, wanted)
    assert in_ledger(scene, wanted) == alone(scene, wanted)


def failed(header: dict[str, Any], pieces: list[bytes]) -> bytes:
    tokens = header["train_tokens"]
    return pack({**header, "failure": "it diverged", "history": None, "train_tokens": tokens}, pieces[:0])


def test_a_failure_counts_once_two_workers_came_to_it(scene: Scene) -> None:
    wanted, working = trials(scene, seed=500)[2:], Working(scene, failed)
    with hands_of(scene, working, 2) as hands:
        hands.train(scene.journal, wanted)
    there = in_ledger(scene, wanted)
    assert there == alone(scene, wanted)
    assert [bool(one["failure"]) for one in there] == [lr > 10 for lr in RATES[2:]]
    assert "worker 1" in working.dismissed
    assert not any("diverged" in one["failure"] for one in there)


def test_workers_that_do_not_agree_on_a_failure_are_not_asked_for_ever(scene: Scene) -> None:
    wanted = trials(scene, seed=600)[:1]

    class Liars(Working):
        @override
        def hand(self, lease: Lease) -> None:
            answer = failed(*unpack(self._bench.do(lease.job.body)))
            header, _ = unpack(answer)
            self.orders.append(lease.job.body)
            self._hear(lease, pack({**header, "failure": f"because of {lease.worker}"}))

    working = Liars(scene)
    with hands_of(scene, working) as hands:
        hands.train(scene.journal, wanted)
    assert in_ledger(scene, wanted) == alone(scene, wanted)
    assert len(working.orders) == 4


@pytest.fixture(scope="module")
def parts(scene: Scene) -> Mapping[int, bytes]:
    """Step of a rung -> an honest answer of a worker that shares no disk."""
    bench = Working(scene, shared=False)._bench
    orders = {
        step: order_for(trials(scene, seed=700)[0], RUNGS, Leg(until=step), checkpoint="", by_document=True)
        for step in (2, 3, 4)
    }
    return {step: bench.do(order) for step, order in orders.items()}


Lie = Callable[[Mapping[int, tuple[dict[str, Any], list[bytes]]]], bytes]


def of_part(twist: Twist, step: int = 3) -> Lie:
    return lambda parts: twist(*parts[step])


def mixed(header: int, graft: int, checkpoint: int) -> Lie:
    return lambda parts: pack(parts[header][0], [parts[graft][1][0], parts[checkpoint][1][1]])


def with_checkpoint(twist: Callable[[bytes], list[bytes]]) -> Lie:
    return of_part(lambda header, pieces: pack(header, [pieces[0], *twist(pieces[1])]))


def evaluated_otherwise(position: dict[str, Any]) -> dict[str, Any]:
    return {"evaluations": [[step, 0.5 * bpb] for step, bpb in position["evaluations"]]}


LIES: dict[str, Lie] = {
    "the state of an earlier step": mixed(3, 2, 3),
    "the state of a later step": mixed(3, 4, 3),
    "state and checkpoint of an earlier step": mixed(3, 2, 2),
    "a checkpoint of an earlier step": mixed(3, 3, 2),
    "a part that stops short": lambda parts: pack(*parts[2]),
    "a part that goes too far": lambda parts: pack(*parts[4]),
    "inflated at the rung": of_part(partial(changed, {"rung_nats": 1.0})),
    "nothing of the rung": of_part(partial(changed, {"rung_nats": "much"})),
    "no number at the rung": of_part(partial(changed, {"rung_nats": None})),
    "an evaluation too many": lambda parts: told_otherwise(
        {"select_bpb": [*parts[3][0]["history"]["select_bpb"], [3 * 64, 1.0]]}, *parts[3]
    ),
    "no evaluation": of_part(partial(told_otherwise, {"select_bpb": []})),
    "best elsewhere": of_part(partial(told_otherwise, {"best_tokens": 128})),
    "another time": of_part(partial(changed, {"time_s": 0.001})),
    "a failure beyond the rung": of_part(partial(changed, {"failure": "it diverged", "train_tokens": 5 * 64})),
    "a failure within a step": of_part(partial(changed, {"failure": "it diverged", "train_tokens": 65})),
    "no checkpoint": with_checkpoint(lambda _: []),
    "a checkpoint that is none": with_checkpoint(lambda content: [content[:40] + b"?" + content[41:]]),
    "an oversized checkpoint": with_checkpoint(lambda content: [content + bytes(1 << 20)]),
    "a checkpoint that was evaluated otherwise": with_checkpoint(partial(at_another_position, evaluated_otherwise)),
    "a checkpoint that took longer": with_checkpoint(partial(at_another_position, lambda _: {"time_s": 1e6})),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_rung_is_found_out(scene: Scene, parts: Mapping[int, bytes], lie: str) -> None:
    twisted = LIES[lie]({step: unpack(answer) for step, answer in parts.items()})
    checker = hands_of(scene, Troupe(), shared=False).checker
    with pytest.raises(RefusedResultError):
        checker.arrived(scene.journal, trials(scene, seed=700)[0], Leg(until=3), twisted)


def test_a_training_takes_no_longer_than_its_worker_had_it(scene: Scene, parts: Mapping[int, bytes]) -> None:
    checker, trial = hands_of(scene, Troupe(), shared=False).checker, trials(scene, seed=700)[0]
    time_s = unpack(parts[3])[0]["time_s"]
    assert checker.arrived(scene.journal, trial, Leg(until=3), parts[3], at_most_s=time_s).trained.time_s == time_s
    with pytest.raises(RefusedResultError, match=r"it says that training took .* s, and it had the job for"):
        checker.arrived(scene.journal, trial, Leg(until=3), parts[3], at_most_s=0.9 * time_s)


def test_a_worker_that_says_it_took_for_ever_is_replaced(scene: Scene) -> None:
    wanted = trials(scene, seed=800)[:1]

    def slow(header: dict[str, Any], pieces: list[bytes]) -> bytes:
        return told_otherwise({"time_s": 1e6}, {**header, "time_s": 1e6}, pieces)

    with hands_of(scene, Working(scene, slow)) as hands:
        hands.train(scene.journal, wanted)
    assert hands.crew.num_refused == 1
    assert scene.registry.state.trained[scene.journal.name_of(wanted[0])]["train_seconds"] < 1e3


def test_what_is_measured_above_a_cache_of_half_precision_is_measured_so_here(scene: Scene) -> None:
    trial, search = trials(scene, seed=900)[0], replace(RUNGS, cache_dtype="bfloat16")
    scene.journal.plan = replace(scene.plan, search=search)
    answer = scene.bench.do(order_for(trial, search, checkpoint="", by_document=False))
    claimed = dict(unpack(answer)[0]["history"]["select_bpb"])

    def is_found(trained: Trained) -> bool:
        assert trained.graft is not None
        assert trained.graft.history is not None
        return trained.graft.history.best_bpb == claimed[trained.graft.history.best_tokens]

    assert is_found(hands_of(scene, Troupe()).checker.arrived(scene.journal, trial, Leg(), answer).trained)
    scene.journal.plan = scene.plan
    assert not is_found(hands_of(scene, Troupe()).checker.arrived(scene.journal, trial, Leg(), answer).trained)


def mark(step: int, nats: Sequence[float] | None, *, has_ended: bool = False) -> Mark:
    return Mark(
        step=step,
        nats=None if nats is None else tuple(nats),
        train_tokens=step,
        birth_tokens=0,
        time_s=0.0,
        made_on={},
        has_ended=has_ended,
    )


def test_brackets_go_on_without_waiting_for_each_other() -> None:
    marks = {name: Marks() for name in "abcd"}
    sizes = np.array([4, 4])
    first, second = (
        Race(names, rungs, num_steps=10, num_bytes=sizes, marks=marks)
        for names, rungs in (("ac", RUNGS.rungs), ("bd", RUNGS.rungs[1:]))
    )
    assert first.go_on() == [Next("a", 3), Next("c", 3)]
    assert second.go_on() == [Next("b", 5), Next("d", 5)]
    marks["b"] = Marks(rungs=(mark(5, [1.0, 1.0]),))
    assert second.go_on() == [], "one waits for the other, and is asked for once"
    marks["d"] = Marks(rungs=(mark(5, [2.0, 1.0]),))
    assert second.go_on() == [Next("b", None)]
    assert second.stopped == {"d": "at step 5 of 10 it was number 2 of 2 on development text, and 1 went on"}
    assert first.go_on() == []


def test_one_that_failed_or_is_no_number_is_held_against_nobody() -> None:
    marks = {
        "a": Marks(failed_before=3),
        "b": Marks(rungs=(mark(3, None),)),
        "c": Marks(rungs=(mark(3, [1.0, 1.0], has_ended=True),)),
    }
    race = Race("abc", RUNGS.rungs, num_steps=10, num_bytes=np.array([4, 4]), marks=marks)
    assert race.go_on() == [Next("c", None)]
    assert race.stopped == {}
    assert race.failed == {"b": "the loss on development text is no number at step 3; lower the learning rate"}


def test_notes_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    file, marks = tmp_path / "notes.json", Marks(rungs=(mark(3, [1.0, 2.0]),), failed_before=5)
    write_marks(file, marks)
    assert read_marks(file, num_documents=2) == marks
    assert read_marks(file, num_documents=3) == Marks()
    for content in (b"{", b"[]", b'{"rungs": [{}]}', b'{"rungs": "much"}', b"[" * 100_000):
        file.write_bytes(content)
        assert read_marks(file, num_documents=2) == Marks()
    assert read_marks(tmp_path / "none", num_documents=2) == Marks()
