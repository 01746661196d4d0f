"""Training that ends when development text says so, and moments that are carried on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from saint.data import Splits
from saint.errors import ConfigError
from saint.training import Plateau, Schedule
from saint.training._learner import Learner, Moments

PLATEAU = Plateau(at_least_bpb=0.1, patience=2, cooldown=0.5)
SCHEDULE = Schedule(num_steps=60, batch_size=2, seq_len=8, warmup=0.1, final_lr=0.0, evaluate_every=4, plateau=PLATEAU)


def learner(
    data: Splits, schedule: Schedule = SCHEDULE, *, checkpoint: Path | None = None, carried: Moments | None = None
) -> Learner:
    torch.manual_seed(0)
    learning = {"old": nn.Parameter(torch.ones(3)), "new": nn.Parameter(torch.ones(3))}
    batches = data.train.batches(batch_size=2, seq_len=8, seed=0)
    return Learner(learning, batches, schedule, of="test", lr=0.5, checkpoint=checkpoint, carried=carried)


def take(one: Learner, losses: Sequence[float], *, until: int = 10**9) -> list[float]:
    """Steps with made-up gradients and evaluations; the learning rates of the new part, as shares of the peak."""
    shares = []
    while not one.is_done and one.step < until:
        one.begin_step()
        shares.append(one._optimizer.param_groups[0]["lr"] / 0.5)
        for parameter in one.learning.values():
            parameter.grad = torch.full_like(parameter, 0.1)
        one.take_step()
        one.spend(0.37)
        if one.is_due:
            loss = losses[min(one.step // 4, len(losses)) - 1]
            one.evaluate(lambda loss=loss: np.array([loss]), lambda nats: float(nats.sum()))  # type: ignore[misc]
    return shares


def test_it_declines_after_as_many_evaluations_of_little_gain(data: Splits) -> None:
    one = learner(data)
    shares = take(one, [3.0, 2.0, 1.95, 1.94, 1.0])
    assert one.step == 16 + 8, "the second evaluation that gained little was at step 16, and half as many follow"
    assert shares[:6] == pytest.approx([i / 6 for i in range(1, 7)])
    assert set(shares[6:16]) == {1.0}
    assert shares[16:] == pytest.approx([1 - i / 8 for i in range(1, 9)])


def test_what_is_still_learning_declines_in_time_for_the_cap(data: Splits) -> None:
    one = learner(data)
    shares = take(one, [10.0 - index for index in range(20)])
    assert one.step == 60
    assert shares[40] < 1 == shares[39]
    assert shares[-1] == pytest.approx(0.0, abs=1e-9)


def test_its_end_is_evaluated(data: Splits) -> None:
    one = learner(data, replace(SCHEDULE, plateau=replace(PLATEAU, cooldown=0.3)))
    take(one, [3.0, 2.0, 2.0, 2.0, 1.5])
    assert one.step == 21
    assert one.finish(keep_best=True).select_bpb[-1] == (21 * 16, 1.5)


def test_a_decline_that_was_stopped_goes_on_to_the_same_bits(data: Splits, tmp_path: Path) -> None:
    losses = [3.0, 2.0, 1.95, 1.94, 1.0]
    whole = learner(data)
    take(whole, losses)
    first = learner(data, checkpoint=tmp_path / "checkpoint")
    take(first, losses, until=18)
    first.save()
    again = learner(data, checkpoint=tmp_path / "checkpoint")
    assert again.step == 18
    take(again, losses)
    assert again.step == whole.step
    assert all(torch.equal(again.learning[name], whole.learning[name]) for name in whole.learning)


def test_what_is_carried_goes_on_with_its_moments_and_without_a_warm_up(data: Splits) -> None:
    before = learner(data, replace(SCHEDULE, plateau=None))
    take(before, [3.0], until=10)
    carried = {"old": before.moments["old"]}
    one = learner(data, replace(SCHEDULE, plateau=None), carried=carried)
    assert float(one.moments["old"]["step"]) == 10
    one.begin_step()
    lrs = [group["lr"] / 0.5 for group in one._optimizer.param_groups]
    assert lrs == pytest.approx([1 / 6, 1.0])
    take(one, [3.0], until=1)
    assert float(one.moments["old"]["step"]) == 11
    assert float(one.moments["new"]["step"]) == 1
    assert float(carried["old"]["step"]) == 10, "what was handed over is not written to"


def test_schedules_from_before_are_known_by_what_they_were() -> None:
    assert "plateau" not in Schedule().identity
    assert SCHEDULE.identity["plateau"]["patience"] == 2


@pytest.mark.parametrize("wrong", [{"at_least_bpb": -0.1}, {"patience": 0}, {"cooldown": 1.5}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Plateau(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "losses",
    [[3.0, 2.0, 1.95, 1.94, 1.0], [10.0 - index for index in range(20)], [3.0, 3.0, 3.0], [3.0, 1.0, 2.0, 0.5]],
)
@pytest.mark.parametrize("plateau", [PLATEAU, replace(PLATEAU, cooldown=0.0), None])
def test_from_its_evaluations_it_can_be_said_where_it_ends(
    data: Splits, losses: list[float], plateau: Plateau | None
) -> None:
    one = learner(data, replace(SCHEDULE, plateau=plateau))
    while not one.is_done:
        assert not one.schedule.has_ended(one._at.evaluations, one.step)
        take(one, losses, until=one.step + 1)
    assert one.schedule.has_ended(one._at.evaluations, one.step)
