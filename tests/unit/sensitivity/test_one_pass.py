"""All maps from one pass, and what that costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from saint import discovery
from saint.composition import compose, newborn
from saint.data import Splits
from saint.errors import ConfigError, SiteError, UnknownNameError
from saint.models import FrozenBase, follow_gradients, freeze, token_nats
from saint.records import Candidate, Site
from saint.sensitivity import Map, Seen, measure_sensitivities, measure_sensitivity, observe
from saint.sensitivity._watch import Watch
from saint.sensitivity.random import Options, Random
from saint.sensitivity.spectrum import Spectrum
from small_bases import ARCHITECTURES, small_model

NAMES = discovery.names("sensitivity")
SETTINGS = {"num_batches": 2, "batch_size": 2, "seq_len": 16}
FREE = [name for name in NAMES if not discovery.find("sensitivity", name, Map).needs_gradient]
SITE = Site(sort="linear", module="m", role="up", depth=0, d_in=3, d_out=3)


def pass_flops(base: FrozenBase, data: Splits, *, backward: bool) -> int:
    """Of one batch, as PyTorch counts them."""
    model = compose(base, [])
    if backward:
        follow_gradients(model.model)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        loss = token_nats(model, data.train.batches(batch_size=2, seq_len=16, seed=0)[0]).mean()
        if backward:
            loss.backward()
    return counter.get_total_flops()


def test_all_maps_come_from_one_pass_a_batch(base: FrozenBase, data: Splits) -> None:
    calls: list[int] = []
    base.sites()  # found by running the model once, and then known
    handle = base.model.get_submodule("model.layers.0").register_forward_hook(lambda *_: calls.append(1))
    try:
        found = measure_sensitivities(base, data.train, NAMES, **SETTINGS)
    finally:
        handle.remove()
    assert len(calls) == 2
    assert list(found) == NAMES
    assert {one.num_tokens for one in found.values()} == {64}


def test_each_is_what_it_is_alone(base: FrozenBase, data: Splits) -> None:
    together = measure_sensitivities(base, data.train, NAMES, **SETTINGS)
    for name in NAMES:
        alone = measure_sensitivity(base, data.train, method=name, **SETTINGS)
        assert together[name].scores == pytest.approx(alone.scores, rel=1e-4), name


def test_the_gradient_map_costs_its_products_beside_the_pass(base: FrozenBase, data: Splits) -> None:
    """One product d_out x tokens x d_in for each site; a block and its insertion point share theirs."""
    found = observe(base, data.train, {"gradient": discovery.find("sensitivity", "gradient", Map)()}, **SETTINGS)
    one_pass = pass_flops(base, data, backward=True)
    products = sum(2 * 2 * 16 * site.d_in * site.d_out for site in base.sites() if site.sort != "insertion")
    assert found.pass_flops == 2 * one_pass
    assert found.num_flops == 2 * (one_pass + products)


def test_without_a_map_that_needs_gradients_there_is_no_backward_pass(base: FrozenBase, data: Splits) -> None:
    assert FREE == ["activation", "random", "spectrum"]
    maps = {name: discovery.find("sensitivity", name, Map)() for name in FREE}
    found = observe(base, data.train, maps, **SETTINGS)
    assert found.pass_flops == 2 * pass_flops(base, data, backward=False)


def test_what_is_done_once_is_counted_once(base: FrozenBase, data: Splits) -> None:
    """Spectra are of the weights: no further batch adds to them."""
    counts = [
        observe(base, data.train, {"spectrum": Spectrum()}, num_batches=n, batch_size=2, seq_len=16) for n in (1, 2, 5)
    ]
    assert len({found.num_flops - found.pass_flops for found in counts}) == 1
    assert [found.pass_flops // counts[0].pass_flops for found in counts] == [1, 2, 5]


def test_what_stands_is_counted_where_pytorch_does_not_see_it(base: FrozenBase, data: Splits) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    counts = []
    for entries in (1, 3):
        options = {"entries": entries, "by": "random"}
        graft = newborn(base, Candidate(sites=sites, kind="sparse", options=options))
        counts.append(measure_sensitivity(base, data.train, stack=[graft], **SETTINGS).num_flops)
    assert counts[1] - counts[0] == 2 * 64 * 2 * 2 * len(sites)  # forward and to the inputs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_every_map(architecture: str, data: Splits) -> None:
    base = freeze(small_model(architecture, vocab_size=300))
    found = measure_sensitivities(base, data.train, NAMES, num_batches=1, batch_size=2, seq_len=16)
    keys = {site.key for site in base.sites()}
    linear = {site.key for site in base.sites() if site.sort == "linear"}
    for name, one in found.items():
        assert one.scores.keys() == (linear if name in ("gradient_weight", "phi", "spectrum") else keys), name


def test_a_weight_that_uses_its_directions_alike_has_no_room_by_its_spectrum() -> None:
    for weight, expected in ((torch.eye(3), 0.0), (torch.ones(3, 3), 2 / 3), (torch.zeros(3, 3), 0.0)):
        spectrum = Spectrum()
        spectrum.observe(SITE, Seen(x=torch.ones(1, 1, 3), y=torch.ones(1, 1, 3), read_weight=lambda w=weight: w))
        assert spectrum.scores() == {"m": pytest.approx(expected, abs=1e-6)}


def test_chance_follows_the_seed(base: FrozenBase, data: Splits) -> None:
    maps = {"0": Random(), "again": Random(Options(seed=0)), "1": Random(Options(seed=1))}
    found = observe(base, data.train, maps, **SETTINGS).scores
    assert found["0"] == found["again"] != found["1"]


def test_tokens_that_are_no_whole_sequences_are_refused(base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.role == "up")
    watch = Watch(base, [site], lambda *_: None, Seen, backward=False)
    watch.begin(2)
    with pytest.raises(SiteError, match="5 tokens for 2 sequences"):
        watch.see(torch.nn.Identity(), (torch.ones(5, site.d_in),), {}, torch.ones(5, site.d_out))


def test_a_map_that_is_not_there_or_none_is_refused(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fisher'"):
        measure_sensitivities(base, data.train, ["gradient", "fischer"])
    with pytest.raises(ConfigError, match="no map was named"):
        measure_sensitivities(base, data.train, [])
