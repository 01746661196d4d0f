"""Tensor trains are the matrices that a loop over every entry builds, and are born as wide as dense ones."""

from itertools import product
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from saint.composition import newborn
from saint.errors import ConfigError, SiteError
from saint.grafts import Place, grow_from, num_params
from saint.records import Candidate, Site
from saint.testing import tiny_base


def site_of(size: int) -> Site:
    return Site(sort="block", module="blocks.0", role="block", depth=0, d_in=size, d_out=size)


def part_of(size: int, *, seed: int = 0, **options: Any) -> Any:
    site = site_of(size)
    place = Place(module=torch.nn.Identity(), read_weight=lambda: None)
    candidate = Candidate(sites=(site,), kind="tensor_train", options=options, seed=seed)
    return grow_from(candidate, places={site.key: place}).parts[site.key]


def matrix_of(cores: Any) -> Tensor:
    """(outputs, inputs), entry by entry from the definition; indices are row-major, the first core's the slowest."""
    ins, outs = [core.shape[1] for core in cores], [core.shape[2] for core in cores]
    entries = torch.zeros(prod(outs), prod(ins))
    for row, several_outs in enumerate(product(*map(range, outs))):
        for column, several_ins in enumerate(product(*map(range, ins))):
            chain = torch.ones(1, 1)
            for core, i, o in zip(cores, several_ins, several_outs, strict=True):
                chain = chain @ core[:, i, o, :]
            entries[row, column] = chain.item()
    return entries


@pytest.mark.parametrize(
    ("size", "options", "modes", "channels"),
    [
        (16, {"rank": 3}, (4, 4), (4, 4)),
        (12, {"rank": 2, "width": 10}, (3, 4), (2, 5)),
        (18, {"rank": 2, "num_cores": 3, "width": 8}, (2, 3, 3), (2, 2, 2)),
        (14, {"rank": 1, "width": 4, "activation": "relu"}, (2, 7), (2, 2)),
    ],
)
@torch.no_grad()
def test_the_block_is_that_of_the_dense_matrices(
    size: int, options: dict[str, Any], modes: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    part = part_of(size, **options)
    for core in part.parameters():
        core.add_(torch.randn(core.shape, generator=torch.Generator().manual_seed(1)))
    part.strength.fill_(0.3)
    assert tuple(core.shape[1] for core in part.up) == tuple(core.shape[2] for core in part.down) == modes
    assert tuple(core.shape[2] for core in part.up) == tuple(core.shape[1] for core in part.down) == channels
    up, down = matrix_of(part.up), matrix_of(part.down)
    h = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(2))
    act = F.relu if options.get("activation") == "relu" else F.silu
    torch.testing.assert_close(part(h, h), h + 0.3 * act(h @ up.T) @ down.T, rtol=1e-4, atol=1e-5)
    rank = options["rank"]
    sizes = [i * o for i, o in zip(modes, channels, strict=True)]
    one_map = rank * (sizes[0] + sizes[-1]) + rank**2 * sum(sizes[1:-1])
    assert num_params("tensor_train", options, [site_of(size)]) == 2 * one_map


@pytest.mark.parametrize(("size", "options"), [(16, {"rank": 4}), (36, {"rank": 2}), (27, {"rank": 3, "num_cores": 3})])
@torch.no_grad()
def test_newborn_entries_have_the_variance_of_a_dense_map(size: int, options: dict[str, Any]) -> None:
    """Mean squares over births; each birth's is an independent draw, so they have a standard error."""
    probe = torch.eye(size)
    part, generator = part_of(size, **options), torch.Generator().manual_seed(0)
    births = []
    for _ in range(300):
        part.bear(Place(module=torch.nn.Identity(), read_weight=lambda: None), generator)
        births.append(_assembled(part.up, probe).square().mean())
    squares = torch.stack(births)
    error = float(squares.std()) / len(squares) ** 0.5
    assert error < 0.1 / size
    assert float(squares.mean()) == pytest.approx(1 / size, abs=4 * error)


def _assembled(cores: Any, probe: Tensor) -> Tensor:
    """The matrix by one dense contraction over everything, then the permutation to (outputs, inputs)."""
    chain = cores[0]
    for core in cores[1:]:
        chain = torch.tensordot(chain, core, dims=1)
    chain = chain.squeeze(0).squeeze(-1)  # i_1, o_1, i_2, o_2, ...
    count = len(cores)
    order = [*range(1, 2 * count, 2), *range(0, 2 * count, 2)]
    return chain.permute(order).reshape(-1, len(probe)) @ probe


@pytest.mark.parametrize(("rank", "activation"), list(product((1, 2), ("silu", "relu"))))
def test_its_effective_parameters_are_the_rank_of_what_they_move(rank: int, activation: str) -> None:
    options = {"rank": rank, "width": 4, "activation": activation}
    part = part_of(6, **options).double()
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in part.parameters()]
    h = 2 * torch.randn(80, 6, generator=generator, dtype=torch.float64)
    names = [name for name, _ in part.named_parameters()]

    def answers(*parameters: Tensor) -> Tensor:
        answer: Tensor = functional_call(part, dict(zip(names, parameters, strict=True)), (h, h))
        return answer

    columns = torch.autograd.functional.jacobian(answers, tuple(values))
    found = torch.linalg.matrix_rank(torch.cat([column.reshape(h.numel(), -1) for column in columns], 1), rtol=1e-10)
    assert int(found) == part.num_effective(site_of(6), part.Options(**options))


def test_both_ways_of_assembling_agree() -> None:
    cores = part_of(12, rank=3, width=10).up
    torch.testing.assert_close(_assembled(cores, torch.eye(12)), matrix_of(cores))


def test_it_learns_from_the_first_step() -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.sort == "block")
    part: Any = newborn(base, Candidate(sites=(site,), kind="tensor_train", options={"rank": 2})).parts[site.key]
    h = torch.randn(4, site.d_out, generator=torch.Generator().manual_seed(0))
    part(h, h).square().sum().backward()
    assert bool(part.down[-1].grad.any())
    assert not bool(part.down[0].grad.any())


@pytest.mark.parametrize(
    ("size", "options", "complaint"),
    [
        (13, {"rank": 2}, r"13 cannot be cut into 2 factors above 1 .* the kind block"),
        (16, {"rank": 2, "width": 7}, "7 cannot be cut into 2 factors"),
        (6, {"rank": 2, "num_cores": 3}, "6 cannot be cut into 3 factors"),
        (16, {"rank": 17}, "rank 17 exceeds the 16 that a bond of these cores can carry"),
    ],
)
def test_what_cannot_be_a_train_at_a_site_is_refused(size: int, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SiteError, match=complaint):
        part_of(size, **options)


@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": 2, "num_cores": 1}, {"rank": 2, "width": 0}])
def test_options_that_make_no_train_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        part_of(16, **options)
