"""Growth believes no worker: each lie changes nothing but that its job is done again, by another."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from growing_scene import (
    Inside,
    Scene,
    Twist,
    at_another_position,
    changed,
    cut_short,
    honest,
    inflated,
    not_a_number,
    scene_in,
    told_otherwise,
    trial_of,
    with_pieces,
    with_weights,
)
from made_up_workers import Troupe
from saint.errors import ConfigError, Interrupted, RefusedResultError, UnfitWorkerError
from saint.grafts import grow_from
from saint.growth import CheckingCrew, ControlRun, brief_for
from saint.growth._answers import chosen_documents
from saint.growth._orders import order_for
from saint.growth._trial import Leg
from saint.growth._whole import CONTROLS, save_weights
from saint.search import Role, pack, unpack
from saint.training import continue_training, train, train_many

LIES: dict[str, Twist] = {
    "inflated numbers": inflated,
    "another base": partial(changed, {"base": "0" * 64}),
    "another candidate": partial(changed, {"candidate": "0" * 64}),
    "no message": lambda _header, _pieces: b"garbage",
    "no graft": lambda header, _pieces: pack(header),
    "malformed": partial(with_pieces, lambda content: [content[:40] + b"?" + content[41:]]),
    "cut off": partial(with_pieces, lambda content: [content[:-4]]),
    "oversized": partial(with_pieces, lambda content: [content + bytes(8)]),
    "two grafts": partial(with_pieces, lambda content: [content, content]),
    "not a number": partial(with_pieces, partial(with_weights, not_a_number)),
    "other weights": partial(with_pieces, partial(with_weights, lambda tensor: tensor + 3.0)),
    "no history": partial(changed, {"history": None}),
    "unknown history": partial(told_otherwise, {"luck": 1}),
    "stopped early": cut_short,
    "fewer tokens": partial(told_otherwise, {"train_tokens": 1}),
    "steps that are not": partial(told_otherwise, {"select_bpb": [[1, 2.0]], "best_tokens": 1, "train_tokens": 1}),
    "tokens before birth": partial(changed, {"birth_tokens": 10**9}),
    "another past": partial(told_otherwise, {"earlier_tokens": 5}),
    "negative time": partial(changed, {"time_s": -1.0}),
    "no time": partial(changed, {"time_s": None}),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_in(tmp_path_factory.mktemp("workshop"))


def test_what_a_worker_trains_is_what_is_trained_here(scene: Scene) -> None:
    journal, trial = scene.journal, scene.trial
    [here] = train_many(journal.base, (), [trial.candidate], journal.data.train, **journal.training([trial]))
    found = scene.hands(Troupe()).checker.arrived(journal, trial, Leg(), scene.answer).trained
    assert here.graft is not None
    assert found.graft is not None
    assert found.graft.digest == here.graft.digest
    assert found.train_tokens == here.train_tokens
    assert here.graft.history is not None
    assert found.graft.history == replace(here.graft.history, time_s=found.graft.history.time_s)  # type: ignore[union-attr]


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_out(scene: Scene, lie: str) -> None:
    twisted = LIES[lie](*unpack(scene.answer))
    with pytest.raises(RefusedResultError):
        scene.hands(Troupe()).checker.arrived(scene.journal, scene.trial, Leg(), twisted)


def test_what_is_spot_checked_is_what_is_measured_in_full(scene: Scene) -> None:
    found, whole = (
        scene.hands(Troupe(), spot_check=share).checker.arrived(scene.journal, scene.trial, Leg(), scene.answer).trained
        for share in (0.25, 1.0)
    )
    assert found.graft is not None
    assert whole.graft is not None
    assert found.graft.digest == whole.graft.digest
    assert found.graft.history == whole.graft.history


def costs_told(twist: Callable[[list[float]], Any], header: dict[str, Any], pieces: list[bytes]) -> bytes:
    return pack({**header, "costs": twist(header["costs"])}, pieces)


SPOT_LIES: dict[str, Twist] = {
    "inflated numbers": inflated,
    "no costs": partial(changed, {"costs": None}),
    "costs of too few": partial(costs_told, lambda costs: costs[1:]),
    "costs below nothing": partial(costs_told, lambda costs: [-1.0, *costs[1:]]),
    "costs in another order": partial(costs_told, lambda costs: costs[::-1]),
    "other weights": LIES["other weights"],
}


@pytest.mark.parametrize("lie", SPOT_LIES)
def test_a_lie_about_documents_is_found_out_by_a_spot_check(scene: Scene, lie: str) -> None:
    twisted = SPOT_LIES[lie](*unpack(scene.answer))
    with pytest.raises(RefusedResultError):
        scene.hands(Troupe(), spot_check=0.25).checker.arrived(scene.journal, scene.trial, Leg(), twisted)


def test_documents_are_chosen_by_chance_and_never_too_few() -> None:
    drawn = {tuple(chosen_documents(1000, 0.05)) for _ in range(4)}
    assert len(drawn) == 4
    assert {len(set(one)) for one in drawn} == {50}
    assert list(chosen_documents(10, 0.01)) == list(range(10))
    assert len(chosen_documents(1000, 0.001)) == 16


def test_a_graft_at_another_strength_is_refused(scene: Scene) -> None:
    header, [content] = unpack(scene.answer)
    graft = grow_from(scene.trial.candidate, weights=content)
    graft.set_strength(0.5)
    with pytest.raises(RefusedResultError, match="strength 1"):
        scene.hands(Troupe()).checker.arrived(scene.journal, scene.trial, Leg(), pack(header, [graft.to_bytes()]))


@pytest.mark.parametrize("number", [1, 2])
def test_a_liar_is_replaced_and_the_ledger_has_what_is_true(scene: Scene, number: int) -> None:
    journal, trials = scene.journal, [trial_of(scene.journal, seed=10 * number + index) for index in range(2)]
    inside = Inside(scene.bench, inflated)
    with scene.hands(inside, number) as hands:
        hands.train(journal, trials)
    assert inside.dismissed == ["worker 1"]
    assert hands.crew.num_refused == 1
    for trial in trials:
        found = journal.trained(trial)
        assert found is not None
        honestly = scene.bench.do(order_for(trial, scene.plan.search, checkpoint="", by_document=True))
        assert found.to_bytes() == unpack(honestly)[1][0]
        assert [one.body["trial"] for one in scene.registry.ledger.events() if one.name == "trained"].count(
            journal.name_of(trial)
        ) == 1


def test_what_checkers_find_is_what_the_coordinator_finds(scene: Scene) -> None:
    """A worker has its next trials before its first answer turns out a lie: all that it answers does."""
    journal, trials = scene.journal, [trial_of(scene.journal, seed=30 + index) for index in range(3)]
    workers, checkers = Inside(scene.bench, inflated), Inside(scene.bench, honest)
    with CheckingCrew(scene.brief, checkers, 2) as checking, scene.hands(workers, 1, checking=checking) as hands:
        hands.train(journal, trials)
        hands.close_round(journal, 7)
    assert workers.dismissed == ["worker 1"]
    assert hands.crew.num_refused == 3
    assert len(checkers.hired) == 2
    assert work_in(scene)["roles"]["checking"]["jobs"] == 6
    for trial in trials:
        there = scene.hands(Troupe()).checker.arrived(
            journal, trial, Leg(), scene.bench.do(order_for(trial, scene.plan.search, checkpoint="", by_document=True))
        )
        found = journal.trained(trial)
        assert found is not None
        assert found.history is not None
        assert there.trained.graft is not None
        assert there.trained.graft.history is not None
        assert found.digest == there.trained.graft.digest
        assert found.history == replace(there.trained.graft.history, time_s=found.history.time_s)


def test_a_graft_whose_cost_is_no_number_costs_no_checker(scene: Scene) -> None:
    trial = trial_of(scene.journal, seed=40)
    twist = partial(with_pieces, partial(with_weights, lambda tensor: torch.full_like(tensor, 1e30)))
    workers, checkers = Inside(scene.bench, twist), Inside(scene.bench, honest)
    with CheckingCrew(scene.brief, checkers, 1) as checking, scene.hands(workers, 1, checking=checking) as hands:
        hands.train(scene.journal, [trial])
    assert workers.dismissed == ["worker 1"]
    assert "it costs nan" in hands.crew.said[0]
    assert checkers.dismissed == []
    assert scene.journal.trained(trial) is not None


def test_what_was_done_before_a_stop_is_in_the_ledger(scene: Scene) -> None:
    hands, stopped = scene.hands(Inside(scene.bench, honest)), Interrupted("stopped where it can go on")
    hands.begin_round(3)
    hands.train(scene.journal, [trial_of(scene.journal, seed=60)])
    hands.__exit__(Interrupted, stopped, None)
    written = work_in(scene)
    assert written["round"] == 3
    assert written["roles"]["search"]["jobs"] == 1


def work_in(scene: Scene) -> dict[str, Any]:
    """What the ledger says last of what work took."""
    *_, written = [event.body for event in scene.registry.ledger.events() if event.name == "work_done"]
    return dict(written)


def test_controls_that_workers_train_are_those_that_are_trained_here(scene: Scene) -> None:
    journal, schedule, select = scene.journal, scene.plan.schedule, scene.journal.data.select
    grown = select[journal.data.grown_domain]
    candidates = {name: trial_of(journal, seed=seed).candidate for name, seed in (("lora", 50), ("random", 51))}
    runs = {
        name: ControlRun(schedule=schedule, checkpoint=name, candidate=candidate)
        for name, candidate in candidates.items()
    }
    runs["full"] = ControlRun(schedule=schedule, checkpoint="full", file="whole.safetensors")
    with scene.hands(Inside(scene.bench, honest), 2) as hands:
        made = hands.train_controls(journal, runs)
    assert set(made) == set(runs)
    assert hands.crew.efforts[Role.CONTROL].done == 3
    for name, candidate in candidates.items():
        graft = train(journal.base, (), candidate, journal.data.train, select=grown, schedule=schedule)
        there = made[name].graft
        assert there is not None
        assert there.digest == graft.digest
    lr, seed = scene.plan.controls.full_lr, scene.plan.seed
    model, history = continue_training(
        journal.base, journal.data.train, lr=lr, select=grown, schedule=schedule, seed=seed
    )
    save_weights(model, scene.registry.work / "here.safetensors")
    left = scene.registry.work / CONTROLS / "whole.safetensors"
    assert left.read_bytes() == (scene.registry.work / "here.safetensors").read_bytes()
    assert made["full"].history is not None
    assert made["full"].history.select_bpb == history.select_bpb


@pytest.mark.parametrize("lie", [{"evaluations": [[6, 0.5]], "best_step": 6}, {"time_s": 1e6}])
def test_what_a_liar_leaves_of_the_whole_base_misleads_nobody_after_it(scene: Scene, lie: dict[str, Any]) -> None:
    journal, schedule = scene.journal, replace(scene.plan.schedule, evaluate_every=6)
    run = ControlRun(schedule=schedule, checkpoint="misled", file="misled.safetensors")

    def misleading(header: dict[str, Any], pieces: list[bytes]) -> bytes:
        checkpoint = journal.checkpoint("misled")
        [content] = at_another_position(lambda _: lie, checkpoint.read_bytes())
        checkpoint.write_bytes(content)
        return inflated(header, pieces)

    with scene.hands(Inside(scene.bench, misleading)) as hands:
        made = hands.train_controls(journal, {"full": run})["full"]
    assert hands.crew.num_refused == 1
    assert made.history is not None
    assert made.history.best_bpb is not None
    assert made.history.best_bpb > 1
    assert made.history.time_s < 1e3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"base": "0" * 64}, "has base 000000000000, expected"),
        ({"environment": None}, "does not say what it works with"),
        ({"versions": {"torch": "1.0"}}, "has torch 1.0, and the coordinator"),
        ({"code": "0" * 64}, "other code of saint-g"),
    ],
)
def test_a_worker_with_another_base_or_version_is_given_no_work(
    scene: Scene, changes: dict[str, Any], match: str
) -> None:
    header, _ = unpack(scene.bench.hello())
    for name, change in changes.items():
        if name in ("versions", "code"):
            there = header["environment"][name]
            header["environment"][name] = {**there, **change} if isinstance(there, dict) else change
        else:
            header[name] = change
    troupe = Troupe(hello=pack(header))
    with scene.hands(troupe) as hands, pytest.raises(UnfitWorkerError, match=match):
        hands.train(scene.journal, [trial_of(scene.journal, seed=99)])
    assert troupe.handed == []


def test_a_base_in_memory_has_no_workers(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="in memory"):
        brief_for(scene.registry, replace(scene.base, source=""), scene.plan, num_sharing=1)
