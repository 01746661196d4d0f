"""The whole weight moved: what plain training of that one weight does."""

import torch
from torch.nn import functional as F

from saint.composition import compose, newborn
from saint.grafts import num_params
from saint.models import token_nats, weight_of
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import moved

TOKENS = torch.arange(34).view(2, 17) * 7 % 300


def test_it_is_a_second_weight_beside_the_first() -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "up")
    part = moved(newborn(base, Candidate(sites=(site,), kind="dense"))).parts[site.key]
    part.strength.fill_(0.4)
    weight = weight_of(base.model.get_submodule(site.module))
    x = torch.randn(5, site.d_in, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(part(x, F.linear(x, weight)), F.linear(x, weight + 0.4 * part.get_parameter("delta")))
    assert num_params("dense", {}, [site]) == weight.numel()
    assert part.factors() is None


def test_its_gradient_is_that_of_the_weight_itself() -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "down")
    graft = newborn(base, Candidate(sites=(site,), kind="dense"))
    token_nats(compose(base, [graft]), TOKENS).mean().backward()
    weight = base.model.get_submodule(site.module).weight
    weight.requires_grad_()
    token_nats(base.model, TOKENS).mean().backward()
    torch.testing.assert_close(graft.parts[site.key].get_parameter("delta").grad, weight.grad)
