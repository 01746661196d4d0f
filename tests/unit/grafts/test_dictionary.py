"""Blocks from a dictionary: what changes, where, in which file, and a codebook that a seed gives back to the bit."""

from hashlib import sha256
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts import Graft, Place, Signals, grow_from, kind_and_options, num_params
from saint.grafts.dictionary import Dictionary
from saint.records import Candidate, Site

NOWHERE = Place(module=torch.nn.Identity(), read_weight=lambda: None)


def site_of(rows: int, columns: int, name: str = "wide") -> Site:
    return Site(sort="linear", module=name, role="up", depth=0, d_in=columns, d_out=rows)


def born(gradient: Tensor, *, num_sites: int = 1, **options: Any) -> Graft:
    """A newborn where the gradient is `gradient`, the same at every site."""
    sites = tuple(site_of(*gradient.shape, name=f"wide{index}") for index in range(num_sites))
    place = Place(module=torch.nn.Identity(), read_weight=lambda: None, signals=Signals(num_tokens=9, gx=gradient))
    candidate = Candidate(sites=sites, kind="dictionary", options=options)
    return grow_from(candidate, places={site.key: place for site in sites})


def gradient_of(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


def moved(part: Any) -> Any:
    with torch.no_grad():
        for index, parameter in enumerate(part.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    return part


def matrix_of(part: Any, rows: int, columns: int) -> Tensor:
    """The change, block by block from the stored numbers."""
    side = part.codebook.shape[1]
    change = torch.zeros(rows, columns)
    for place, code, scale in zip(part.places.tolist(), part.codes.tolist(), part.scales.tolist(), strict=True):
        top, left = side * (place // (columns // side)), side * (place % (columns // side))
        change[top : top + side, left : left + side] += scale * part.codebook[code].detach()
    return change


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((12, 8), {"side": 4, "blocks": 5, "codes": 2}),
        ((8, 12), {"side": 4, "blocks": 6, "codes": 40, "codebook_seed": 1}),
        ((6, 9), {"side": 3, "blocks": 1, "codes": 1}),
        ((4, 6), {"side": 1, "blocks": 20, "codes": 3}),
        ((8, 8), {"side": 8, "blocks": 1, "codes": 1}),
    ],
)
def test_forward_and_fold_are_the_matrix_put_together_by_hand(shape: tuple[int, int], options: dict[str, Any]) -> None:
    [part] = born(gradient_of(*shape), **options).parts.values()
    part = moved(part)
    part.strength.fill_(0.6)
    change = 0.6 * matrix_of(part, *shape)
    assert bool(change.any())
    generator = torch.Generator().manual_seed(9)
    x, y = torch.randn(2, 3, shape[1], generator=generator), torch.randn(2, 3, shape[0], generator=generator)
    torch.testing.assert_close(part(x, y), y + x @ change.T)
    weight = torch.randn(shape, generator=generator)
    torch.testing.assert_close(part.fold(weight, None)[0], weight + change)


def test_the_blocks_are_those_of_most_gradient() -> None:
    gradient = torch.zeros(8, 12)
    for place, size in ((0, 1.0), (4, 3.0), (5, 2.0)):
        gradient[4 * (place // 3) : 4 * (place // 3) + 4, 4 * (place % 3) : 4 * (place % 3) + 4] = size
    [part] = born(gradient, side=4, blocks=2, codes=1).parts.values()
    assert part.get_buffer("places").tolist() == [4, 5]


def test_blocks_that_pull_the_same_way_up_to_sign_share_a_code() -> None:
    """Three directions, mixed up with sizes and signs: the dictionary is just these."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 3, generator=generator)).Q.T.reshape(3, 4, 4)
    which = [0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 2, 0]
    sizes = (torch.rand(12, generator=generator) + 0.5) * torch.randn(12, generator=generator).sign()
    blocks = torch.stack([size * directions[k] for size, k in zip(sizes, which, strict=True)])
    gradient = blocks.view(3, 4, 4, 4).transpose(1, 2).reshape(12, 16)
    [part] = born(gradient, side=4, blocks=12, codes=3).parts.values()
    found = part.get_buffer("codes").tolist()
    code_of = {k: found[which.index(k)] for k in range(3)}
    assert [code_of[k] for k in which] == found
    assert sorted(code_of.values()) == [0, 1, 2]
    scales = part.get_parameter("scales").detach()
    assert float(scales.abs().mean()) == pytest.approx(1.0)
    for k in range(3):  # of one direction, scales are the sizes up to one common sign
        mine = [index for index, other in enumerate(which) if other == k]
        ratios = scales[mine] / sizes[mine] * sizes.abs().mean()
        torch.testing.assert_close(ratios.abs(), torch.ones(len(mine)))
        assert len(set(ratios.sign().tolist())) == 1


@pytest.mark.parametrize("gradient", [torch.zeros(8, 8), torch.ones(8, 8), gradient_of(8, 8)], ids=["0", "1", "random"])
def test_every_code_is_used_and_every_block_learns(gradient: Tensor) -> None:
    [part] = born(gradient, side=2, blocks=9, codes=7).parts.values()
    assert set(part.get_buffer("codes").tolist()) == set(range(7))
    assert bool(part.get_parameter("scales").all())
    assert not bool(part.get_parameter("codebook").any())


def test_the_first_step_of_a_code_goes_down_the_gradient_of_its_blocks() -> None:
    gradient = gradient_of(8, 8)
    [part] = born(gradient, side=4, blocks=4, codes=2).parts.values()
    codebook, scales = part.get_parameter("codebook"), part.get_parameter("scales")
    [pull] = torch.autograd.grad((part.fold(torch.zeros(8, 8), None)[0] * gradient).sum(), codebook)
    expected = torch.zeros(2, 4, 4)
    for place, code, scale in zip(range(4), part.get_buffer("codes").tolist(), scales.tolist(), strict=True):
        top, left = 4 * (place // 2), 4 * (place % 2)
        expected[code] += scale * gradient[top : top + 4, left : left + 4]
    torch.testing.assert_close(pull, expected)
    with torch.no_grad():
        codebook -= pull
    assert float((part.fold(torch.zeros(8, 8), None)[0].detach() * gradient).sum()) < 0


def test_the_seeded_codebook_is_the_same_everywhere_and_not_in_the_file() -> None:
    options = {"side": 4, "blocks": 4, "codes": 64, "codebook_seed": 11}
    graft = born(gradient_of(8, 12), num_sites=2, **options)
    one, other = (part.get_buffer("codebook") for part in graft.parts.values())
    assert torch.equal(one, other)
    assert sha256(one.numpy().astype("<f4").tobytes()).hexdigest()[:16] == "4686c351d11cdc42"
    assert set((one * 4).unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(one.flatten(1).norm(dim=1), torch.ones(64))
    assert sorted(load(graft.to_bytes())) == ["codes", "places", "scales", "strength"]
    again = grow_from(graft.candidate, weights=graft.to_bytes())
    assert torch.equal(next(iter(again.parts.values())).get_buffer("codebook"), one)
    [apart] = born(gradient_of(8, 12), **{**options, "codebook_seed": 12}).parts.values()
    assert not torch.equal(apart.get_buffer("codebook"), one)


def test_each_block_takes_the_fixed_code_that_it_is_most_parallel_to() -> None:
    gradient = gradient_of(8, 8)
    [part] = born(gradient, side=4, blocks=4, codes=32, codebook_seed=0).parts.values()
    codebook = part.get_buffer("codebook")
    for place, code in zip(part.get_buffer("places").tolist(), part.get_buffer("codes").tolist(), strict=True):
        block = gradient[4 * (place // 2) : 4 * (place // 2) + 4, 4 * (place % 2) : 4 * (place % 2) + 4]
        likeness = [float((block * one).sum().abs()) for one in codebook]
        assert code == likeness.index(max(likeness))


@pytest.mark.parametrize(("codes", "dtype"), [(256, torch.uint8), (257, torch.int16)])
def test_the_file_is_small(codes: int, dtype: torch.dtype) -> None:
    graft = born(gradient_of(64, 64), side=4, blocks=200, codes=codes, codebook_seed=0)
    stored = load(graft.to_bytes())
    assert stored["codes"].dtype == dtype
    assert stored["places"].dtype == torch.uint8
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
    assert numbers == 200 * (4 + 1 + dtype.itemsize) + 4


@pytest.mark.parametrize("seed", [None, 3])
def test_its_price_is_exact(seed: int | None) -> None:
    options = {"side": 2, "blocks": 10, "codes": 6, "codebook_seed": seed}
    site = site_of(8, 8)
    assert num_params("dictionary", options, [site]) == 10 + (24 if seed is None else 0)
    assert num_params("dictionary", options, [site]) == born(gradient_of(8, 8), **options).num_params
    kind, chosen = kind_and_options("dictionary", options, site)
    assert kind.num_effective(site, chosen) == 10 + (18 if seed is None else 0)


def test_what_cannot_be_is_refused() -> None:
    for name in ("side", "blocks", "codes"):
        with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
            born(gradient_of(8, 8), **{"side": 2, "blocks": 4, "codes": 2, name: 0})
    with pytest.raises(ConfigError, match="codes is 5 and blocks is 4, so some codes would never be used"):
        born(gradient_of(8, 8), side=2, blocks=4, codes=5)
    with pytest.raises(SiteError, match="side 3 does not divide wide0, which is 8 x 8; choose another"):
        born(gradient_of(8, 8), side=3, blocks=4, codes=2)
    with pytest.raises(SiteError, match="blocks is 5, and wide0 has 4 of that side; choose fewer"):
        born(gradient_of(8, 8), side=4, blocks=5, codes=2)


@pytest.mark.parametrize(
    ("name", "indices", "complaint"),
    [
        ("places", [1, 77], "blocks of a weight, of which there are 4, and some are outside"),
        ("places", [1, 1], "blocks of a weight, of which there are 4, and some are out of order"),
        ("codes", [0, 2], "codes, of which there are 2, and some are outside"),
    ],
)
def test_a_file_with_indices_that_no_newborn_could_have_is_refused(
    name: str, indices: list[int], complaint: str
) -> None:
    graft = born(gradient_of(8, 8), side=4, blocks=2, codes=2)
    spoilt = load(graft.to_bytes()) | {name: torch.tensor(indices, dtype=torch.uint8)}
    with pytest.raises(GraftFileError, match=complaint):
        grow_from(graft.candidate, weights=save(spoilt))


@pytest.mark.parametrize("blocks", [4, 256])
def test_few_blocks_are_gathered_and_many_are_one_product(blocks: int) -> None:
    """Either way the answer is that of the folded weight."""
    site = Site(sort="linear", module="wide", role="up", depth=0, d_in=128, d_out=96)
    part = Dictionary(site, Dictionary.Options(side=4, blocks=blocks, codes=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        part.places.copy_(torch.randperm(96 * 128 // 16, generator=generator)[:blocks].sort().values)
        part.codes.copy_(torch.randint(4, (blocks,), generator=generator))
        part.codebook.normal_(generator=generator)
        part.scales.normal_(generator=generator)
    x, weight = torch.randn(3, 128, generator=generator), torch.randn(96, 128, generator=generator)
    folded, _ = part.fold(weight, None)
    torch.testing.assert_close(part(x, x @ weight.T), x @ folded.T, rtol=1e-4, atol=1e-4)
    with FlopCounterMode(display=False) as counter:
        part(x, x @ weight.T)
    product = 2 * 3 * 96 * 128  # of the frozen weight, and of the change where that is one product as well
    assert (counter.get_total_flops() >= 2 * product) == (blocks == 256)
