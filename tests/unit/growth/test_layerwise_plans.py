"""Plans for growth by layers: what they take, and what cannot be meant."""

from typing import Any

import pytest
import torch

import saint
from by_layers import plan_of
from saint import config, records
from saint.data import Splits
from saint.errors import BudgetError, ConfigError, GraftFileError
from saint.growth import Plan, start
from saint.growth._head_state import read, spell
from saint.growth._layers import first_plan
from saint.training import untrained
from workshop import PLAN, Workshop


@pytest.mark.parametrize(
    ("overrides", "layerwise", "said"),
    [
        ((), {"active": {"params": 7000}}, "stage 1 .* the active budget allows 7,000"),
        ((), {"stages": [{}, {"sort": "lora", "rank": 99}]}, "stage 2 .* in adapters, and the blocks of a stage have"),
        (("budget.train_tokens=2000",), {}, "budget.train_tokens is 2,000, and the 2 stages after the first"),
    ],
)
def test_a_schedule_over_its_budget_is_refused_before_work_starts(
    data: Splits, workshop: Workshop, overrides: tuple[str, ...], layerwise: dict[str, Any], said: str
) -> None:
    plan = plan_of(*overrides, **layerwise)
    base = saint.freeze(untrained(first_plan(plan, data), data.tokenizer), tokenizer=data.tokenizer)
    with pytest.raises(BudgetError, match=said):
        start(workshop.registry, base, plan, root=workshop.root)
    assert not workshop.registry.exists()


@pytest.mark.parametrize(
    ("overrides", "layerwise", "said"),
    [
        ((), {"stages": [{}]}, "at least one on top of it"),
        ((), {"stages": [{}, {"tokens": 63}]}, "stage 2 has 63 tokens, and a step takes 64"),
        ((), {"blocks": 0}, "at least 1"),
        ((), {"model": {"num_hidden_layers": 3}}, "set blocks instead"),
        ((), {"stages": [{"sort": "lora"}, {}]}, "stage 1 is a LoRA phase"),
        ((), {"stages": [{}, {"rank": 4}]}, "rank of stage 2 has no effect on blocks"),
        ((), {"stages": [{}, {"lr": -1.0}]}, "stage 2 has lr -1"),
        (("rates=[1.0, 3.0]",), {}, "rates has no effect"),
        (("schedule.fade_in=0.1",), {}, "fade_in has no effect"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(
    overrides: tuple[str, ...], layerwise: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_of(*overrides, **layerwise)


def test_other_plans_are_known_by_what_they_were() -> None:
    plain = records.to_plain(plan_of())
    assert "layerwise" in plain
    assert "layerwise" not in records.to_plain(config.build(config.parse(PLAN, where="plan"), Plan, where="plan"))


def test_the_state_of_a_head_is_checked_before_it_is_read() -> None:
    head = torch.nn.Linear(3, 5)
    moments = {
        name: {
            "step": torch.tensor(4.0),
            "exp_avg": torch.ones_like(parameter),
            "exp_avg_sq": torch.full_like(parameter, 2),
        }
        for name, parameter in head.named_parameters()
    }
    content = spell(moments)
    again = read(content, head)
    assert {name: sorted(there) for name, there in again.items()} == {n: sorted(t) for n, t in moments.items()}
    assert all(torch.equal(again[name][m], value) for name, there in moments.items() for m, value in there.items())
    assert spell({}) == b""
    assert read(b"", head) == {}
    with pytest.raises(GraftFileError):
        read(content[:-4], head)
    with pytest.raises(GraftFileError, match="expected F32"):
        read(content, torch.nn.Linear(4, 5))
