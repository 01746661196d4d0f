"""What is remembered of models and of the blocks below a graft: the same numbers, for less reading."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from saint.composition import PrefixCache, compose, newborn, probe_logits
from saint.data import Splits
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate
from saint.testing import GraftSuite


def at(base: FrozenBase, role: str, *depths: int) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role and site.depth in depths)
    return GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 3})))


@pytest.fixture
def reads(base: FrozenBase) -> "Counter[int]":
    """Block -> tokens of text that it computed, in whatever composition: copies keep the hook."""
    seen: Counter[int] = Counter()
    probe = probe_logits(base.model).shape[:2]
    for site in base.sites():
        if site.role == "o":

            def count(_module: Any, args: Any, _output: Any, depth: int = site.depth) -> None:
                if args[0].shape[:2] != probe:
                    seen[depth] += args[0].shape[:2].numel()

            base.model.get_submodule(site.module).register_forward_hook(count)
    return seen


@pytest.mark.parametrize("depth", [0, 1])
def test_losses_above_a_boundary_are_those_of_the_whole_model(base: FrozenBase, data: Splits, depth: int) -> None:
    stack, graft = [at(base, "down", 0, 1)], at(base, "up", depth)
    for _ in range(2):  # the second reads what the first has kept
        losses = Losses()
        whole = losses.measure(compose(base, [*stack, graft]), data.select["prose"])
        assert np.array_equal(losses.of(base, [*stack, graft], data.select["prose"]), whole)
        graft.set_strength(0.5)


def test_another_strength_is_measured_from_the_first_changed_block_on(
    base: FrozenBase, data: Splits, reads: "Counter[int]"
) -> None:
    losses, graft, text = Losses(), at(base, "up", 1), data.select["prose"]
    for strength in (1.0, 0.5, 0.25):
        graft.set_strength(strength)
        losses.of(base, [graft], text)
    assert reads[1] == 3 * reads[0] > 0


def test_one_pass_gives_what_is_below_all_that_are_expected(
    base: FrozenBase, data: Splits, reads: "Counter[int]"
) -> None:
    cache = PrefixCache()
    losses, grafts = Losses(cache=cache), [at(base, "up", 1), at(base, "down", 1)]
    losses.expect(base, (), grafts)
    for graft in grafts:
        losses.of(base, [graft], data.select["prose"])
    assert reads[1] == 2 * reads[0], "the block below was read once, the block above by each"


def test_a_stack_below_at_another_strength_is_another_prefix(base: FrozenBase, data: Splits) -> None:
    losses, below, graft = Losses(), at(base, "up", 0), at(base, "up", 1)
    first = losses.of(base, [below, graft], data.select["prose"])
    below.set_strength(0.5)
    second = losses.of(base, [below, graft], data.select["prose"])
    assert not np.array_equal(first, second)
    assert np.array_equal(second, losses.measure(compose(base, [below, graft]), data.select["prose"]))


def test_another_stack_makes_room_for_its_own(base: FrozenBase, data: Splits, reads: "Counter[int]") -> None:
    """What is kept of earlier rounds would keep later ones from keeping anything."""
    text, below = data.select["prose"], at(base, "up", 0)
    num_bytes = sum(tokens.numel() for tokens, _, _ in Losses().windows(base.model, text)) * 16 * 4  # of one stack
    losses = Losses(cache=PrefixCache(memory_bytes=num_bytes))
    for stack in ([], [below]):
        graft = at(base, "up", 1)
        losses.expect(base, stack, [graft])
        reads.clear()
        for strength in (1.0, 0.5):
            graft.set_strength(strength)
            losses.of(base, [*stack, graft], text)
        assert reads[1] == 2 * reads[0], f"what is below was read again on a stack of {len(stack)}"


def test_a_named_model_is_made_once(data: Splits, base: FrozenBase) -> None:
    losses, made = Losses(), []

    def make() -> torch.nn.Module:
        made.append(1)
        return compose(base, ())

    for _ in range(2):
        losses.remembered(("the base", data.select["prose"].digest), make, data.select["prose"])
    assert made == [1]
