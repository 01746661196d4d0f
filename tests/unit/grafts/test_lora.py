"""LoRA's two scalings, and a rank of its own at each site."""

from math import sqrt
from typing import Any

import pytest
import torch

from saint.composition import newborn
from saint.errors import ConfigError, SiteError
from saint.grafts import grow_from, num_params
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import moved

PATTERN = {"rank": 4, "alpha": 6.0, "at": {"k": {"rank": 2}, "model.layers.1.self_attn.q_proj": {"rank": 1}}}


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, lambda rank: 1.0),  # noqa: ARG005
        ({"alpha": 3.0}, lambda rank: 3.0 / rank),
        ({"alpha": 3.0, "scaling": "rank_stabilised"}, lambda rank: 3.0 / sqrt(rank)),
        ({"scaling": "rank_stabilised"}, sqrt),
    ],
)
def test_the_product_is_scaled_as_the_options_say(rank: int, options: dict[str, Any], scale: Any) -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "up")
    part: Any = moved(newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": rank, **options}))).parts[
        site.key
    ]
    x, y = torch.eye(site.d_in), torch.zeros(site.d_in, site.d_out)
    torch.testing.assert_close(part(x, y).T, scale(rank) * part.b @ part.a)


def test_a_rank_pattern_holds_by_role_and_by_site() -> None:
    base = tiny_base()
    sites = tuple(site for site in base.sites() if site.role in ("q", "k"))
    graft = moved(newborn(base, Candidate(sites=sites, kind="lora", options=PATTERN)))
    ranks = {"model.layers.0.self_attn.q_proj": 4, "model.layers.1.self_attn.q_proj": 1}
    for site in sites:
        part: Any = graft.parts[site.key]
        rank = ranks.get(site.key, 2)
        assert part.a.shape == (rank, site.d_in)
        x, y = torch.eye(site.d_in), torch.zeros(site.d_in, site.d_out)
        torch.testing.assert_close(part(x, y).T, 6.0 / rank * part.b @ part.a)
    priced = sum(ranks.get(site.key, 2) * (site.d_in + site.d_out) for site in sites)
    assert num_params("lora", PATTERN, sites) == graft.num_params == priced
    assert grow_from(graft.candidate, weights=graft.to_bytes()).digest == graft.digest


def test_a_pattern_that_a_site_cannot_take_is_refused() -> None:
    sites = tuple(site for site in tiny_base().sites() if site.role in ("q", "k"))
    with pytest.raises(SiteError, match=r"rank 9 exceeds model.layers.0.self_attn.k_proj, which is 8 x 16"):
        newborn(tiny_base(), Candidate(sites=sites, kind="lora", options={"rank": 2, "at": {"k": {"rank": 9}}}))
    with pytest.raises(ConfigError, match=r"standard.*rank_stabilised"):
        grow_from(Candidate(sites=sites, kind="lora", options={"rank": 2, "scaling": "none"}))
