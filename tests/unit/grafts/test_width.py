"""More channels for an MLP: on every architecture that has a module of its own for it."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import logging as transformers_logging

import saint
from saint.composition import compose, newborn, probe_logits
from saint.errors import ConfigError, SiteError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.testing import assert_base_untouched, assert_identity, assert_same_function
from small_bases import ARCHITECTURES, moved, small_model

transformers_logging.disable_progress_bar()


@pytest.fixture(params=[name for name in ARCHITECTURES if name != "opt"])  # whose blocks hold the maps themselves
def base(request: pytest.FixtureRequest) -> FrozenBase:
    return saint.freeze(small_model(request.param))


def mlps(base: FrozenBase) -> list[Site]:
    return [site for site in base.sites() if site.sort == "mlp"]


def wider(base: FrozenBase, *sites: Site, width: int = 5, seed: int = 0) -> Graft:
    return newborn(base, Candidate(sites=sites, kind="width", options={"width": width}, seed=seed))


def test_newborns_at_every_mlp_change_nothing(base: FrozenBase) -> None:
    assert_identity(base, wider(base, *mlps(base)))
    half = saint.freeze(base.model.bfloat16())
    assert_identity(half, wider(half, *mlps(half)))


def test_moved_channels_change_something_and_leave_nothing_behind(base: FrozenBase) -> None:
    before = probe_logits(base.model)
    for site in mlps(base):
        assert float((probe_logits(compose(base, [moved(wider(base, site))])) - before).abs().max()) > 1e-3
    assert torch.equal(probe_logits(compose(base, [])), before)
    assert_base_untouched(base)


def test_the_mlp_s_own_channels_twice_are_twice_the_mlp(base: FrozenBase) -> None:
    """An oracle: new channels with the frozen ones' weights answer what the MLP answers, biases aside."""
    for site in mlps(base):
        mlp: Any = base.model.get_submodule(site.module)
        roles = {
            s.role: s.module for s in base.sites() if s.sort == "linear" and s.module.startswith(f"{site.module}.")
        }
        weights = {role: saint.models.weight_of(base.model.get_submodule(name)) for role, name in roles.items()}
        for name in roles.values():
            if getattr(base.model.get_submodule(name), "bias", None) is not None:
                base.model.get_submodule(name).bias = nn.Parameter(
                    torch.zeros_like(base.model.get_submodule(name).bias)
                )
        part: Any = wider(base, site, width=48).parts[site.key]
        assert site.gated == ("gate" in weights)
        with torch.no_grad():
            for role, weight in weights.items():
                getattr(part, role).copy_(weight)
            x = torch.randn(3, 7, site.d_in, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(part(x, mlp(x)), 2 * mlp(x))


def test_two_grafts_at_one_mlp_add_up(base: FrozenBase) -> None:
    site = mlps(base)[0]
    first, second = (moved(wider(base, site, seed=seed), seed=seed) for seed in (1, 2))
    joined: Any = wider(base, site, width=10)
    parts: list[Any] = [graft.parts[site.key] for graft in (first, second)]
    with torch.no_grad():
        joined.parts[site.key].up.copy_(torch.cat([part.up for part in parts]))
        joined.parts[site.key].down.copy_(torch.cat([part.down for part in parts], dim=1))
        if site.gated:
            joined.parts[site.key].gate.copy_(torch.cat([part.gate for part in parts]))
    assert_same_function(compose(base, [first, second]), compose(base, [joined]), max_abs_difference=1e-4)


def test_half_the_strength_is_half_of_what_it_adds() -> None:
    base = saint.freeze(small_model("qwen3"))
    site = mlps(base)[0]
    graft = moved(wider(base, site))
    part = graft.parts[site.key]
    x = torch.randn(4, site.d_in, generator=torch.Generator().manual_seed(0))
    whole = part(x, torch.zeros(4, site.d_out))
    graft.set_strength(0.5)
    torch.testing.assert_close(part(x, torch.zeros(4, site.d_out)), whole / 2)


def test_no_channels_are_refused() -> None:
    base = saint.freeze(small_model("llama"))
    with pytest.raises(ConfigError, match="width is 0; it must be at least 1"):
        wider(base, mlps(base)[0], width=0)


class _Inline(nn.Module):
    """An MLP that calls its activation by name."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate, self.up, self.down = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def forward(self, x: torch.Tensor) -> Any:
        return self.down(F.silu(self.gate(x)) * self.up(x))


def test_an_mlp_whose_activation_cannot_be_found_is_refused() -> None:
    model = small_model("llama")
    model.model.layers[0].mlp = _Inline(model.model.layers[0].mlp)
    base = saint.freeze(model)
    with pytest.raises(SiteError, match=r"expected one activation among the modules of .*layers\.0\.mlp:mlp, found 0"):
        wider(base, mlps(base)[0])


def test_opt_has_no_module_to_widen() -> None:
    assert mlps(saint.freeze(small_model("opt"))) == []
