"""LoRA's first step in closed form, against the formulas written out and against the loss itself."""

from typing import Any

import pytest
import torch
from torch import Tensor

from saint.composition import compose, measure_signals, newborn, place_of, wanted_signals
from saint.errors import ConfigError
from saint.grafts import Graft, Place, Signals, grow_from
from saint.models import FrozenBase, token_nats
from saint.records import Candidate, Site
from saint.testing import assert_identity, tiny_base

STARTS = ("gradient", "natural")
TOKENS = torch.randint(300, (16, 33), generator=torch.Generator().manual_seed(0))


def candidate(base: FrozenBase, **options: Any) -> Candidate:
    sites = tuple(site for site in base.sites() if site.role in ("up", "o"))
    return Candidate(sites=sites, kind="lora", options={"rank": 3, **options})


def born(base: FrozenBase, chosen: Candidate) -> tuple[Graft, dict[str, Place]]:
    """A newborn, and what is at its sites."""
    signals = measure_signals(base, (), wanted_signals(chosen), [TOKENS])
    places = {site.key: place_of(base, site, signals=signals[site.key]) for site in chosen.sites}
    return newborn(base, chosen, signals=signals), places


def change(part: Any) -> Tensor:
    up, down = part.factors()
    return (up @ down).detach()


def root_of_inverse(second_moment: Tensor) -> Tensor:
    """With 0.3 of the mean eigenvalue added, by the singular values."""
    u, s, _ = torch.linalg.svd(second_moment.double())
    return u @ torch.diag((s + 0.3 * s.mean()) ** -0.5) @ u.T


def of_rank(matrix: Tensor, rank: int) -> Tensor:
    u, s, v = torch.linalg.svd(matrix)
    return u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]


@pytest.mark.parametrize("start", STARTS)
def test_a_newborn_is_the_identity_and_reads_rows_of_length_one(start: str) -> None:
    base = tiny_base()
    graft, _ = born(base, candidate(base, start=start))
    assert_identity(base, graft)
    for part in graft.parts.values():
        torch.testing.assert_close(part.get_parameter("a").norm(dim=1), torch.ones(3))
        assert not part.get_parameter("b").any()


@pytest.mark.parametrize("scaling", ["standard", "rank_stabilised"])
@pytest.mark.parametrize("start", STARTS)
def test_the_step_is_the_formula_of_its_rank(start: str, scaling: str) -> None:
    base = tiny_base()
    graft, places = born(base, candidate(base, start=start, scaling=scaling, alpha=2.0, eta=0.07))
    for key, part in graft.parts.items():
        signals: Any = places[key].signals
        gradient = signals.gx.double()
        if start == "gradient":
            expected = of_rank(gradient, 3)
        else:
            left, right = root_of_inverse(signals.gg), root_of_inverse(signals.xx)
            expected = left @ of_rank(left @ gradient @ right, 3) @ right
        part.begin(places[key])
        found = change(part).double()
        torch.testing.assert_close(found / found.norm(), -expected / expected.norm(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("start", STARTS)
def test_the_step_moves_the_outputs_by_eta(start: str) -> None:
    base = tiny_base()
    chosen = candidate(base, start=start, eta=0.07)
    graft, places = born(base, chosen)
    for site in chosen.sites:
        part, inputs = graft.parts[site.key], inputs_of(base, site)
        step = part.begin(places[site.key])
        assert step is not None
        assert not step.is_open
        weight = places[site.key].weight
        assert weight is not None
        share = (inputs @ change(part).T).square().mean().sqrt() / (inputs @ weight.T).square().mean().sqrt()
        assert float(share) == pytest.approx(0.07, rel=1e-3)


def inputs_of(base: FrozenBase, site: Site) -> Tensor:
    seen = []
    model = compose(base, [])
    model.model.get_submodule(site.module).register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    token_nats(model, TOKENS)
    return seen[0].flatten(0, -2)


def test_without_correlations_the_natural_gradient_is_the_gradient() -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "up")
    gx = torch.randn(site.d_out, site.d_in, generator=torch.Generator().manual_seed(1))
    signals = Signals(num_tokens=1000, xx=2 * torch.eye(site.d_in), gg=3 * torch.eye(site.d_out), gx=gx)
    place, changes = place_of(base, site, signals=signals), []
    for start in STARTS:
        chosen = Candidate(sites=(site,), kind="lora", options={"rank": 3, "start": start})
        part = grow_from(chosen, places={site.key: place}).parts[site.key]
        part.begin(place)
        changes.append(change(part))
    torch.testing.assert_close(*changes, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("start", STARTS)
def test_the_step_lowers_the_loss_of_the_text_it_is_from(start: str) -> None:
    base = tiny_base()
    graft, places = born(base, candidate(base, start=start))
    before = float(token_nats(base.model, TOKENS).mean())
    for key, part in graft.parts.items():
        part.begin(places[key])
    with torch.no_grad():
        assert float(token_nats(compose(base, [graft]), TOKENS).mean()) < before - 1e-5


@pytest.mark.parametrize("start", STARTS)
def test_without_a_gradient_there_is_no_step(start: str) -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "up")
    nothing = {"xx": (site.d_in,) * 2, "gg": (site.d_out,) * 2, "gx": (site.d_out, site.d_in)}
    signals = Signals(num_tokens=9, **{name: torch.zeros(shape) for name, shape in nothing.items()})
    place = place_of(base, site, signals=signals)
    chosen = Candidate(sites=(site,), kind="lora", options={"rank": 2, "start": start})
    part = grow_from(chosen, places={site.key: place}).parts[site.key]
    part.begin(place)
    assert torch.isfinite(part.get_parameter("a")).all()
    assert not part.get_parameter("b").any()


def test_a_random_start_wants_nothing_and_takes_no_step() -> None:
    base = tiny_base()
    chosen = candidate(base)
    assert not wanted_signals(chosen)
    part = newborn(base, chosen).parts[chosen.sites[0].key]
    assert part.begin(place_of(base, chosen.sites[0])) is None


def test_a_length_that_cannot_be_is_refused() -> None:
    base = tiny_base()
    for options, message in (
        ({"start": "gradient", "eta": 0.0}, "eta is 0.0; it must be positive"),
        ({"eta": 0.1}, "eta has no effect where start is 'random'"),
        ({"start": "svd"}, r"random.*gradient.*natural"),
    ):
        with pytest.raises(ConfigError, match=message):
            grow_from(candidate(base, **options))
