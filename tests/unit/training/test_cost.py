"""The cost model says, to the operation, what a step turns out to cost."""

import pytest
import torch
from torch import Tensor

from saint.composition import compose, newborn
from saint.models import FrozenBase, counting_flops, forward_cost, token_nats
from saint.records import Candidate, Site
from saint.training import RoundCost, StepCost

T, B, RANK = 32, 2, 3


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 256, (B, T + 1), generator=torch.Generator().manual_seed(0))


def at(base: FrozenBase, *roles: str, depths: tuple[int, ...] = (0, 1)) -> tuple[Site, ...]:
    return tuple(site for site in base.sites() if site.role in roles and site.depth in depths)


def priced(base: FrozenBase, sites: tuple[Site, ...]) -> StepCost:
    return StepCost(forward=forward_cost(base, seq_len=T), sites=sites, rank=RANK)


@pytest.mark.parametrize(
    ("roles", "depths"),
    [
        (("q", "k", "v", "o", "gate", "up", "down"), (0, 1)),
        (("q", "k", "v", "o", "gate", "up", "down"), (1,)),
        (("q", "k", "v"), (0,)),
        (("o",), (0, 1)),
        (("gate", "up"), (1,)),
        (("down",), (0, 1)),
        (("down",), (1,)),
        (("head",), (-1,)),
    ],
)
def test_a_step_with_hooks_costs_what_the_model_says(
    base: FrozenBase, tokens: Tensor, roles: tuple[str, ...], depths: tuple[int, ...]
) -> None:
    sites = at(base, *roles, depths=depths)
    graft = newborn(base, Candidate(sites=sites, kind="lora", options={"rank": RANK}))

    with counting_flops() as counter:
        token_nats(compose(base, [graft]), tokens).mean().backward()

    assert counter.get_total_flops() == B * T * priced(base, sites).hooks


def test_a_cached_prefix_saves_the_forward_pass_of_the_blocks_below(base: FrozenBase) -> None:
    above = priced(base, at(base, "q", "down", depths=(1,)))
    assert above.boundary == 1
    assert above.hooks - above.cached == above.forward.blocks[0].total
    everywhere = priced(base, at(base, "q", "down"))
    assert everywhere.hooks == everywhere.cached


def test_training_everything_costs_three_forward_passes(base: FrozenBase) -> None:
    cost = priced(base, at(base, "down"))
    assert cost.dense == 3 * cost.forward.total


def test_a_round_costs_at_least_its_bound_and_less_than_the_naive_way(base: FrozenBase) -> None:
    steps = tuple(priced(base, (site,)) for site in at(base, "v", "o", "up", "down"))
    cost = RoundCost(
        steps=steps,
        train_tokens=60_000,
        select_tokens=12_000,
        judge_tokens=18_000,
        sensitivity_tokens=8_000,
        num_evaluations=3,
    )
    assert len(steps) == 8
    all_of_them = cost.searched([1.0] * 8)
    assert cost.bound < cost.searched([0.0, 0.2, 0.2, 0.2, 1.0, 0.0, 0.0, 0.0]) < all_of_them < cost.naive
