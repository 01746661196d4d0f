"""The gradient of Phi at Phi = 0, against autograd through a graft of kind phi."""

import pytest
import torch

from saint.composition import compose, newborn
from saint.data import Splits
from saint.errors import ConfigError, SiteError
from saint.models import FrozenBase, token_nats
from saint.records import Candidate, Site
from saint.sensitivity import observe
from saint.sensitivity.phi import Options, Phi


def measured(base: FrozenBase, data: Splits, *, rank: int, top: int) -> Phi:
    phi = Phi(Options(rank=rank, top=top))
    observe(base, data.train, {"phi": phi}, num_batches=2, batch_size=4, seq_len=16, seed=1)
    return phi


def site_of(base: FrozenBase, role: str) -> Site:
    return next(site for site in base.sites() if site.role == role)


@pytest.mark.parametrize("role", ["q", "up", "down"])
def test_it_is_what_a_newborn_graft_would_learn_from(base: FrozenBase, data: Splits, role: str) -> None:
    site = site_of(base, role)
    phi = measured(base, data, rank=6, top=3)
    graft = newborn(base, Candidate(sites=(site,), kind="phi", options={"rank": 6, "basis": "weight"}))
    model, batches = compose(base, [graft]), data.train.batches(batch_size=4, seq_len=16, seed=1)
    loss = (token_nats(model, batches[0]).mean() + token_nats(model, batches[1]).mean()) / 2
    [gradient] = torch.autograd.grad(loss, [graft.parts[site.key].get_parameter("phi")])
    expected = gradient.view(6, 6)
    torch.testing.assert_close(phi.gradient(site.key), expected, rtol=1e-3, atol=1e-6)
    largest = torch.linalg.svdvals(expected)[:3]
    assert phi.scores()[site.key] == pytest.approx(float(largest.sum()), rel=1e-3)


def test_between_its_directions_the_gradient_is_diagonal(base: FrozenBase, data: Splits) -> None:
    site = site_of(base, "up")
    phi = measured(base, data, rank=8, top=3)
    up, down = phi.directions(site.key)
    assert (up.shape, down.shape) == ((site.d_out, 3), (3, site.d_in))
    torch.testing.assert_close(up.T @ up, torch.eye(3))
    torch.testing.assert_close(down @ down.T, torch.eye(3))
    a, b = phi._bases[site.key]
    between = up.T @ a @ phi.gradient(site.key) @ b @ down.T
    torch.testing.assert_close(between, torch.diag(torch.linalg.svdvals(phi.gradient(site.key))[:3]))


def test_a_site_that_it_has_not_seen_has_no_directions(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(SiteError, match="'nowhere'"):
        measured(base, data, rank=4, top=2).directions("nowhere")


def test_more_directions_than_bases_are_refused() -> None:
    with pytest.raises(ConfigError, match="top is 9 and rank 8"):
        Options(rank=8, top=9)
