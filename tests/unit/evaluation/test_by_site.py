"""What a site is worth to a graft: as if the part had never been there, without reading what is below it again."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from saint.composition import compose, newborn, probe_logits
from saint.data import Splits
from saint.evaluation import Losses, site_by_site, taylor_by_site
from saint.grafts import Graft, part_of
from saint.models import FrozenBase, freeze
from saint.records import Candidate, Site
from saint.statistics import paired_interval
from saint.testing import GraftSuite
from small_bases import small_model

OPTIONS: dict[str, Any] = {"lora": {"rank": 2}, "block": {"width": 3}, "layer": {}, "width": {"width": 2}}
SORTS = {"lora": "linear", "block": "block", "layer": "insertion", "width": "mlp"}


def graft_at(base: FrozenBase, kind: str, *sites: Site) -> Graft:
    sites = sites or tuple(site for site in base.sites() if site.sort == SORTS[kind])
    return GraftSuite().moved(newborn(base, Candidate(sites=sites, kind=kind, options=OPTIONS[kind])))


def others(graft: Graft, key: str) -> list[str]:
    return [site.key for site in graft.candidate.sites if site.key != key]


def by_composing(base: FrozenBase, stack: list[Graft], graft: Graft, text: Any, losses: Losses) -> dict[str, float]:
    whole = losses.measure(compose(base, [*stack, graft]), text)
    return {
        site.key: paired_interval(
            losses.measure(compose(base, [*stack, part_of(graft, others(graft, site.key))]), text),
            whole,
            text.num_bytes_each,
        ).estimate
        for site in graft.candidate.sites
    }


@pytest.mark.parametrize("kind", sorted(OPTIONS))
@pytest.mark.slow
def test_it_is_what_composing_without_the_part_says(base: FrozenBase, data: Splits, kind: str) -> None:
    losses, text = Losses(seq_len=48), data.select["prose"]
    stack = [
        graft_at(base, "lora", *(site for site in base.sites() if site.role == "down")),
        graft_at(base, "block", *(site for site in base.sites() if site.role == "block")),
    ]
    graft = graft_at(base, kind)
    found = site_by_site(base, stack, graft, text, losses=losses)
    wanted = by_composing(base, stack, graft, text, losses)
    assert {key: one.estimate for key, one in found.items()} == pytest.approx(wanted, abs=1e-12)
    assert all(one.low <= one.estimate <= one.high for one in found.values())
    assert len(set(wanted.values())) == len(wanted), "the sites differ"


@pytest.mark.parametrize("architecture", ["gpt2", "t5_relu"])
def test_whatever_the_architecture(data: Splits, architecture: str) -> None:
    base = freeze(small_model(architecture, vocab_size=300), tokenizer=data.tokenizer)
    losses, text = Losses(seq_len=16), data.select["prose"]
    graft = graft_at(base, "lora", *(site for site in base.sites() if site.role == "q"))
    found = site_by_site(base, (), graft, text, losses=losses)
    wanted = by_composing(base, [], graft, text, losses)
    assert {key: one.estimate for key, one in found.items()} == pytest.approx(wanted, abs=1e-12)


def test_only_the_blocks_from_a_site_on_are_computed(base: FrozenBase, data: Splits) -> None:
    seen: Counter[int] = Counter()
    probe = probe_logits(base.model).shape[:2]
    for site in base.sites():
        if site.role == "o":

            def count(_module: Any, args: Any, _output: Any, depth: int = site.depth) -> None:
                if args[0].shape[:2] != probe:
                    seen[depth] += args[0].shape[:2].numel()

            base.model.get_submodule(site.module).register_forward_hook(count)
    losses, text = Losses(), data.select["prose"]
    graft = graft_at(base, "lora", *(site for site in base.sites() if site.role == "up"))
    losses.of(base, [graft], text)  # is remembered
    once = seen[1]
    seen.clear()
    site_by_site(base, (), graft, text, losses=losses)
    assert once > 0
    assert seen == {0: 2 * once, 1: 2 * once}, "below: the first; without the first: both; without the second: it"


def test_a_graft_at_one_site_is_worth_all_that_it_saves(base: FrozenBase, data: Splits) -> None:
    losses, text = Losses(), data.select["prose"]
    graft = graft_at(base, "lora", next(site for site in base.sites() if site.role == "down" and site.depth == 1))
    [(_, worth)] = site_by_site(base, (), graft, text, losses=losses).items()
    assert worth.estimate == pytest.approx(losses.saved(base, (), [graft], text).estimate, abs=1e-12)


@pytest.mark.parametrize("kind", sorted(OPTIONS))
@pytest.mark.slow
def test_of_a_small_change_the_first_order_is_nearly_all(base: FrozenBase, data: Splits, kind: str) -> None:
    losses, text = Losses(seq_len=48), data.select["prose"]
    graft = graft_at(base, kind)
    graft.set_strength(0.003)
    found = taylor_by_site(base, (), graft, text, losses=losses)
    wanted = by_composing(base, [], graft, text, losses)
    largest = max(map(abs, wanted.values()))
    assert found == pytest.approx(wanted, abs=0.15 * largest)
    gain = losses.saved(base, (), [graft], text).estimate
    assert sum(found.values()) == pytest.approx(gain, abs=0.05 * largest), "they add up"


def test_a_guess_leaves_no_trace(base: FrozenBase, data: Splits) -> None:
    graft = graft_at(base, "lora").requires_grad_(requires_grad=False)
    before, losses = graft.to_bytes(), Losses()
    known = losses.of(base, [graft], data.select["prose"])
    taylor_by_site(base, (), graft, data.select["prose"])
    assert graft.to_bytes() == before
    assert np.array_equal(losses.measure(compose(base, [graft]), data.select["prose"]), known)
