"""What flows through a site, measured in one pass, is what autograd says one site at a time."""

import pytest
import torch

from saint.composition import compose, measure_signals, newborn, observe
from saint.errors import SiteError
from saint.models import FrozenBase, token_nats
from saint.records import Candidate, Site
from saint.testing import assert_base_untouched, tiny_base

ALL = frozenset(("xx", "yy", "gg", "gx"))
BATCHES = [torch.arange(4 * 17).view(4, 17) * step % 300 for step in (7, 11)]


@pytest.fixture
def base() -> FrozenBase:
    return tiny_base()


def test_the_moments_are_those_of_the_composed_model(base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.role == "down")
    below = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 2}))
    with torch.no_grad():
        below.parts[site.key].get_parameter("b").normal_(generator=torch.Generator().manual_seed(0))
    [found] = measure_signals(base, [below], {site: ALL}, BATCHES).values()

    model, seen = compose(base, [below]), {}
    model.requires_grad_(requires_grad=False)
    weight = model.model.get_submodule(site.module).weight.clone().requires_grad_()
    model.model.get_submodule(site.module).weight = torch.nn.Parameter(weight)

    def see(_module: object, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        output.retain_grad()
        seen["x"], seen["y"] = args[0].flatten(0, -2), output

    model.model.get_submodule(site.module).register_forward_hook(see)
    token_nats(model, torch.cat(BATCHES)).mean().backward()
    x, y, g = seen["x"].detach(), seen["y"].detach().flatten(0, -2), seen["y"].grad.flatten(0, -2)
    assert found.num_tokens == len(x) == 8 * 16
    torch.testing.assert_close(found.xx, x.T @ x / len(x))
    torch.testing.assert_close(found.yy, y.T @ y / len(x))
    torch.testing.assert_close(found.gx, g.T @ x)
    torch.testing.assert_close(found.gg, g.T @ g * len(x))
    torch.testing.assert_close(found.gx, model.model.get_submodule(site.module).weight.grad)
    assert_base_untouched(base)


def test_only_what_is_asked_for_is_measured_and_without_gradients_nothing_is_traced_back(base: FrozenBase) -> None:
    sites = [site for site in base.sites() if site.sort != "mlp"]
    found = measure_signals(base, (), {site: frozenset(("xx",)) for site in sites}, BATCHES)
    assert found.keys() == {site.key for site in sites}
    assert all(signals.xx is not None for signals in found.values())
    assert all(signals.yy is signals.gg is signals.gx is None for signals in found.values())


def test_a_square_that_no_memory_would_hold_is_refused(base: FrozenBase) -> None:
    huge = Site(sort="linear", module="lm_head", role="head", depth=-1, d_in=16, d_out=50_000)
    with pytest.raises(SiteError, match="lm_head is 50000 x 16, and signals of up to 8192 a side are measured"):
        observe(base.model, {huge: frozenset(("yy",))}, BATCHES)
