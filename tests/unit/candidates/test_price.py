"""A price is what the graft turns out to cost: trained parameters, the file's length, counted operations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from saint import discovery
from saint.candidates import Price, affordable, left_of, price, train_flops
from saint.composition import compose, measure_signals, newborn, wanted_signals
from saint.errors import BudgetError, ConfigError, SiteError
from saint.evaluation import measure_cost
from saint.grafts import Graft, Kind
from saint.models import token_nats
from saint.records import Budget, Candidate, Site
from saint.testing import tiny_base

BASE = tiny_base()
SITES = BASE.sites()
LINEAR = [site for site in SITES if site.sort == "linear"]
EXAMPLES = [  # the first of each kind every time
    pytest.param(name, options, marks=[pytest.mark.slow] if number else [], id=f"{name}-{options}")
    for name in discovery.names("grafts")
    for number, options in enumerate(discovery.find("grafts", name, Kind).examples)
]


def candidate(kind: str, options: Mapping[str, Any], *sites: Site) -> Candidate:
    return Candidate(sites=sites, kind=kind, options=options)


def born(one: Candidate) -> Graft:
    tokens = torch.arange(4 * 33).view(4, 33) * 7919 % int(BASE.model.config.vocab_size)
    return newborn(BASE, one, signals=measure_signals(BASE, (), wanted_signals(one), [tokens]))


@pytest.mark.parametrize(("kind", "options"), EXAMPLES)
def test_the_price_is_what_the_graft_turns_out_to_cost(kind: str, options: dict[str, Any]) -> None:
    there = [
        site for site in SITES if site.sort == discovery.find("grafts", kind, Kind).attaches_to and site.depth >= 0
    ]
    names = {name for site in there for name in (site.role, site.key)}
    known = {name: other for name, other in options.get("at", {}).items() if name in names}
    one = candidate(kind, {**options, "at": known} if known else options, *there)
    asked, cost = price(one, SITES), measure_cost(BASE, (), born(one))
    assert (asked.num_params, asked.num_bytes) == (cost.num_params, cost.num_bytes)
    assert asked.flops_per_token == cost.flops_per_token
    assert sum(asked.per_block.values()) == cost.num_params


@pytest.mark.parametrize("num_sites", [1, 2, 15])
@pytest.mark.parametrize("rank", [1, 5, 8])
def test_a_file_is_as_long_as_it_was_said_whatever_the_digits_of_its_header(num_sites: int, rank: int) -> None:
    for options in ({"rank": rank}, {"rank": rank, "basis": "coordinate", "residual": 9}):
        one = candidate("phi", options, *LINEAR[:num_sites])
        assert price(one, SITES).num_bytes == len(born(one).to_bytes())


def test_a_site_that_a_kind_refuses_has_no_price() -> None:
    with pytest.raises(SiteError, match="rank 99 exceeds"):
        price(candidate("lora", {"rank": 99}, LINEAR[0]), SITES)


def test_parameters_are_counted_by_block_and_stream() -> None:
    encoder = replace(LINEAR[0], module="encoder.q", stream="encoder")
    head = replace(LINEAR[0], module="head", depth=-1)
    one = candidate("lora", {"rank": 1}, LINEAR[0], LINEAR[1], encoder, head)
    assert price(one, SITES).per_block == {"0": 32 + 24, "encoder.0": 32}


def counted_training(one: Candidate, tokens: torch.Tensor) -> int:
    """Operations of one pass forward and backward, as PyTorch counts them; on a CPU those of attention are not."""
    model = compose(BASE, [born(one)])
    with FlopCounterMode(display=False) as counter:
        token_nats(model, tokens).mean().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("depth", [0, 1, -1])
def test_training_costs_what_is_counted_in_a_step_but_for_attention(depth: int) -> None:
    there = [site for site in LINEAR if site.depth == depth]
    one = candidate("lora", {"rank": 2}, *there)
    said = train_flops(one, SITES, num_tokens=64, seq_len=0)
    tokens = torch.arange(66).view(2, 33)
    counted = counted_training(one, tokens)
    assert counted == pytest.approx(said, rel=0.1)  # the inputs of a block's first maps want no gradient in the lowest
    assert train_flops(one, SITES, num_tokens=128, seq_len=0) == 2 * said
    assert train_flops(one, SITES, num_tokens=64, seq_len=32) > said


def test_training_lower_down_costs_more() -> None:
    costs = [
        train_flops(candidate("lora", {"rank": 1}, site), SITES, num_tokens=1, seq_len=32)
        for site in LINEAR
        if site.role in ("q", "head")
    ]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 3


def test_an_encoder_s_graft_is_reached_through_the_whole_decoder() -> None:
    encoder = replace(LINEAR[-2], module="encoder.down", stream="encoder")
    deep, lowest = (
        train_flops(candidate("lora", {"rank": 1}, site), [*LINEAR, encoder], num_tokens=1, seq_len=0)
        for site in (encoder, LINEAR[0])
    )
    assert deep - lowest == 2 * encoder.d_in * encoder.d_out + 3 * 2 * (
        encoder.d_in + encoder.d_out - LINEAR[0].d_in - LINEAR[0].d_out
    )


def test_as_many_are_affordable_as_can_be_trained_together() -> None:
    ideas = [candidate("lora", {"rank": 1}, site) for site in LINEAR if site.role in ("q", "head")]
    costs = [train_flops(one, SITES, num_tokens=100, seq_len=32) for one in ideas]

    def left(flops: float | None) -> list[Candidate]:
        budget = Budget(num_params=1, train_tokens=1, train_flops=flops)
        return affordable(ideas, SITES, budget, num_tokens=100, seq_len=32)

    assert left(None) == left(sum(costs)) == ideas
    assert left(sum(costs) - 1) == ideas[:2]
    assert left(costs[0] + costs[2]) == [ideas[0], ideas[2]]
    with pytest.raises(
        BudgetError, match=rf"fits the 9 FLOPs of training .*cheapest is lora .*{costs[2]:,}; raise bud"
    ):
        left(9)
    assert affordable([], SITES, Budget(num_params=1, train_tokens=1, train_flops=9), num_tokens=1, seq_len=1) == []


def test_what_stands_is_taken_off_and_what_was_trained_is_not() -> None:
    budget = Budget(num_params=100, train_tokens=7, num_bytes=1000, flops_per_token=50, train_flops=1e9, per_layer=40)
    standing = [
        Price(num_params=30, num_bytes=200, flops_per_token=20, per_block={"0": 10, "encoder.1": 20}),
        Price(num_params=5, num_bytes=300, flops_per_token=10, per_block={"0": 5}),
    ]
    left = left_of(budget, standing)
    assert (left.num_params, left.num_bytes, left.flops_per_token) == (65, 500, 20)
    assert (left.train_tokens, left.train_flops) == (7, 1e9)
    assert [left.of_block(block) for block in ("0", "1", "encoder.1", "encoder.0")] == [25, 40, 20, 40]
    named = left_of(replace(budget, per_layer={"0": 40}), standing)
    assert [named.of_block(block) for block in ("0", "1", "encoder.1")] == [25, None, None]
    unlimited = Budget(num_params=100, train_tokens=7)
    assert left_of(unlimited, standing) == replace(unlimited, num_params=65)


@pytest.mark.parametrize("block", ["-1", "first", "encoder.", "decoder.0"])
def test_a_block_that_no_base_could_have_is_refused(block: str) -> None:
    with pytest.raises(ConfigError, match=r"per_layer names the block .*expected an index such as '0'"):
        Budget(num_params=1, train_tokens=1, per_layer={block: 1})
