"""The residual block is what its formula says, for each activation, gated or not."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from saint.composition import newborn
from saint.errors import ConfigError
from saint.grafts import grow_from, kind_and_options, num_params
from saint.records import Candidate, Site
from saint.testing import tiny_base
from small_bases import moved

SITE = Site(sort="block", module="blocks.0", role="block", depth=0, d_in=6, d_out=6)
BY_HAND = {
    "silu": lambda z: z / (1 + torch.exp(-z)),
    "gelu": lambda z: z * (1 + torch.erf(z / 2**0.5)) / 2,
    "relu": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
}
CASES = list(product(BY_HAND, (False, True), (1, 3, 9)))


def part_of(**options: Any) -> Any:
    base = tiny_base()
    site = next(site for site in base.sites() if site.sort == "block")
    return site, moved(newborn(base, Candidate(sites=(site,), kind="block", options=options))).parts[site.key]


@pytest.mark.parametrize(("activation", "gated", "width"), CASES)
def test_it_computes_its_formula_channel_by_channel(activation: str, *, gated: bool, width: int) -> None:
    site, part = part_of(width=width, activation=activation, gated=gated)
    part.strength.fill_(0.6)
    h = torch.randn(5, site.d_out, generator=torch.Generator().manual_seed(0))
    expected = h.clone()
    for channel in range(width):
        inner = h @ part.up[channel]
        inner = BY_HAND[activation](h @ part.gate[channel]) * inner if gated else BY_HAND[activation](inner)
        expected += 0.6 * inner[:, None] * part.down[:, channel]
    torch.testing.assert_close(part(h, h), expected)


@pytest.mark.parametrize(("activation", "gated", "width"), CASES)
def test_its_price_is_exact(activation: str, *, gated: bool, width: int) -> None:
    site, part = part_of(width=width, activation=activation, gated=gated)
    priced = num_params("block", {"width": width, "activation": activation, "gated": gated}, [site])
    assert priced == sum(p.numel() for p in part.parameters()) == (3 if gated else 2) * width * site.d_out


@pytest.mark.parametrize(("activation", "gated"), list(product(BY_HAND, (False, True))))
def test_its_effective_parameters_are_the_rank_of_what_they_move(activation: str, *, gated: bool) -> None:
    options = {"width": 2, "activation": activation, "gated": gated}
    kind, chosen = kind_and_options("block", options, SITE)
    part = kind(SITE, chosen).double()
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in part.parameters()]
    h = 2 * torch.randn(80, SITE.d_out, generator=generator, dtype=torch.float64)
    names = [name for name, _ in part.named_parameters()]

    def answers(*parameters: Tensor) -> Tensor:
        answer: Tensor = functional_call(part, dict(zip(names, parameters, strict=True)), (h, h))
        return answer

    columns = torch.autograd.functional.jacobian(answers, tuple(values))
    rank = torch.linalg.matrix_rank(torch.cat([column.reshape(h.numel(), -1) for column in columns], 1), rtol=1e-10)
    assert int(rank) == kind.num_effective(SITE, chosen)


def test_an_activation_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"silu.*gelu.*relu"):
        grow_from(Candidate(sites=(SITE,), kind="block", options={"width": 2, "activation": "tanh"}))
