import pytest
import torch

from saint.composition import newborn
from saint.data import Splits
from saint.errors import UnknownNameError
from saint.models import FrozenBase, freeze, token_nats
from saint.records import Candidate
from saint.sensitivity import measure_sensitivity
from saint.testing import GraftSuite, assert_base_untouched, tiny_base
from small_bases import small_model


def test_it_is_the_norm_of_the_weight_gradient(base: FrozenBase, data: Splits) -> None:
    found = measure_sensitivity(base, data.train, num_batches=3, batch_size=4, seq_len=16, seed=1)
    model = tiny_base(data.tokenizer).model
    batches = data.train.batches(batch_size=4, seq_len=16, seed=1)
    for site in base.sites():
        if site.sort != "linear" or site.role == "head":  # the head's weight is tied to the embeddings
            continue
        weight = model.get_submodule(site.module).weight.requires_grad_()
        squares = []
        for step in range(3):
            [gradient] = torch.autograd.grad(token_nats(model, batches[step]).mean(), weight)
            squares.append(float(gradient.square().sum()))
        assert found.scores[site.key] == pytest.approx((sum(squares) / 3) ** 0.5, rel=1e-4), site.key


def test_in_an_encoder_decoder_it_sums_over_the_calls_of_a_batch(data: Splits) -> None:
    base = freeze(small_model("t5_relu", vocab_size=300))
    found = measure_sensitivity(base, data.train, num_batches=1, batch_size=4, seq_len=16)
    assert found.scores.keys() == {site.key for site in base.sites()}
    model = small_model("t5_relu", vocab_size=300).eval()
    loss = token_nats(model, data.train.batches(batch_size=4, seq_len=16, seed=0)[0]).mean()
    for site in base.sites():
        if site.sort == "linear" and site.role != "head":
            [gradient] = torch.autograd.grad(loss, model.get_submodule(site.module).weight, retain_graph=True)
            assert found.scores[site.key] == pytest.approx(float(gradient.norm()), rel=1e-4), site.key
    assert_base_untouched(base)


def test_every_site_is_scored_by_one_pass_a_batch(base: FrozenBase, data: Splits) -> None:
    calls: list[int] = []
    base.sites()  # found by running the model once, and then known
    block = base.model.get_submodule("model.layers.0")
    handle = block.register_forward_hook(lambda *_: calls.append(1))
    try:
        found = measure_sensitivity(base, data.train, num_batches=2, batch_size=2, seq_len=16)
    finally:
        handle.remove()
    assert len(calls) == 2
    assert found.scores.keys() == {site.key for site in base.sites()}
    assert all(score > 0 for score in found.scores.values())
    assert_base_untouched(base)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_it_is_a_property_of_the_grown_model(base: FrozenBase, data: Splits) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = GraftSuite().moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 8})))
    settings = {"num_batches": 1, "batch_size": 2, "seq_len": 16}
    bare = measure_sensitivity(base, data.train, **settings)
    grown = measure_sensitivity(base, data.train, stack=[graft], **settings)
    assert bare != grown
    assert bare == measure_sensitivity(base, data.train, **settings)


def test_an_unknown_map_is_named(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gradient'"):
        measure_sensitivity(base, data.train, method="gradiant")
