"""Several grafts as one, and one at some of its sites: composed, the same to the bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from saint import discovery
from saint.composition import compose, measure_signals, newborn, wanted_signals
from saint.data import Splits
from saint.errors import ConfigError, SaintError, SiteError
from saint.grafts import Graft, History, Kind, default_lr, grow_from, joined, part_of
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.testing import GraftSuite

IDS = (torch.arange(3 * 13) * 7919 % 300).view(3, 13)


def answers(base: FrozenBase, stack: list[Graft]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = compose(base, stack)(input_ids=IDS, use_cache=False).logits
    return logits


def graft_at(base: FrozenBase, data: Splits, *sites: Site, kind: str, options: Any, seed: int = 0) -> Graft:
    candidate = Candidate(sites=sites, kind=kind, options=options, seed=seed)
    batches = data.train.batches(batch_size=8, seq_len=32, seed=0)
    signals = measure_signals(base, (), wanted_signals(candidate), [batches[0], batches[1]])
    return GraftSuite().moved(newborn(base, candidate, signals=signals))


def sites_for(base: FrozenBase, kind: Any) -> list[Site]:
    """One in each block."""
    fitting = [site for site in base.sites() if site.sort == kind.attaches_to and site.role in ("up", "block", "mlp")]
    fitting = fitting or [site for site in base.sites() if site.sort == kind.attaches_to]
    return [next(site for site in fitting if site.depth == depth) for depth in (0, 1)]


@pytest.mark.parametrize("name", discovery.names("grafts"))
def test_joined_grafts_are_their_stack_and_a_part_is_what_it_was(base: FrozenBase, data: Splits, name: str) -> None:
    kind: Any = discovery.find("grafts", name, Kind)
    options = {key: value for key, value in kind.examples[0].items() if key != "at"}
    pair = [
        graft_at(base, data, site, kind=name, options=options, seed=seed)
        for seed, site in enumerate(sites_for(base, kind))
    ]
    for graft in pair:
        graft.set_strength(0.5)
    whole = joined(pair)
    assert torch.equal(answers(base, [whole]), answers(base, pair))
    again = grow_from(whole.candidate, weights=whole.to_bytes())
    assert torch.equal(answers(base, [again]), answers(base, pair)), "as it is stored"
    for graft in pair:
        part = part_of(whole, {site.key for site in graft.candidate.sites})
        assert part.to_bytes() == graft.to_bytes()
        assert part.strength == 0.5
        assert torch.equal(answers(base, [part]), answers(base, [graft]))


def test_options_that_differ_are_named_by_their_site(base: FrozenBase, data: Splits) -> None:
    up, deep_up = [site for site in base.sites() if site.role == "up"]
    down = next(site for site in base.sites() if site.role == "down")
    trio = [
        graft_at(base, data, up, down, kind="lora", options={"rank": 2, "at": {"down": {"rank": 1}}}),
        graft_at(base, data, deep_up, kind="lora", options={"rank": 2, "alpha": 4.0}, seed=1),
    ]
    whole = joined(trio)
    at = whole.candidate.options["at"]
    assert at[down.key] == {"rank": 1}
    assert at[deep_up.key] == {"alpha": 4.0}
    assert up.key not in at
    assert torch.equal(answers(base, [whole]), answers(base, trio))
    alone = part_of(whole, [deep_up.key])
    assert set(alone.candidate.options["at"]) == {deep_up.key}, "what no site of its own chooses is left out"
    assert torch.equal(answers(base, [alone]), answers(base, trio[1:]))


def test_rates_are_those_of_the_rule_for_as_many_sites(base: FrozenBase, data: Splits) -> None:
    sites = [site for site in base.sites() if site.role in ("up", "down")]
    options = {"rank": 2}
    grafts = [graft_at(base, data, site, kind="lora", options=options) for site in sites]
    for graft in grafts:
        graft.candidate = replace(graft.candidate, lr=default_lr("lora", options, graft.candidate.sites))
    whole = joined(grafts)
    assert whole.candidate.lr == pytest.approx(default_lr("lora", options, sites))
    pair = part_of(whole, [site.key for site in sites[:2]])
    assert pair.candidate.lr == pytest.approx(default_lr("lora", options, sites[:2]))


def test_what_they_have_learnt_from_is_added_up(base: FrozenBase, data: Splits) -> None:
    pair = [graft_at(base, data, s, kind="lora", options={"rank": 1}) for s in base.sites() if s.role == "up"]
    assert joined(pair).history is None, "not known"
    for graft in pair:
        graft.history = History(train_tokens=64, select_bpb=((64, 2.0),), best_tokens=64, time_s=1.0)
    whole = joined(pair)
    assert whole.history is not None
    assert (whole.history.train_tokens, whole.history.all_tokens, whole.history.best_bpb) == (0, 128, None)
    part = part_of(whole, [pair[0].candidate.sites[0].key])
    assert part.history is not None
    assert part.history.all_tokens == 128


def test_what_is_no_set_is_refused_in_one_sentence(base: FrozenBase, data: Splits) -> None:
    up, deep_up = [site for site in base.sites() if site.role == "up"]
    one, same, other = (graft_at(base, data, site, kind="lora", options={"rank": 1}) for site in (up, up, deep_up))
    dense = graft_at(base, data, deep_up, kind="dense", options={})
    weaker = graft_at(base, data, deep_up, kind="lora", options={"rank": 1})
    weaker.set_strength(0.5)
    refused: list[tuple[Any, type[SaintError], str]] = [
        (lambda: joined([one, same]), SiteError, up.key),
        (lambda: joined([]), SiteError, "at least one"),
        (lambda: joined([one, dense]), ConfigError, "dense and lora"),
        (lambda: joined([one, weaker]), ConfigError, "0.5 and 1.0"),
        (lambda: part_of(other, [up.key]), SiteError, up.key),
        (lambda: part_of(other, []), SiteError, "none is kept"),
    ]
    for make, error, said in refused:
        with pytest.raises(error, match=said) as caught:
            make()
        assert "\n" not in str(caught.value)
