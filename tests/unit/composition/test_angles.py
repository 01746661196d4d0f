"""Principal angles against what is known by construction, and by an oracle that is written out here."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st

from saint.composition import newborn, overlap, overlap_with, principal_angles
from saint.grafts import Graft, LowRankFactors
from saint.records import Candidate, Site
from saint.testing import tiny_base

BASE = tiny_base()
UP = next(site for site in BASE.sites() if site.role == "up")  # 24 x 16
DOWN = next(site for site in BASE.sites() if site.role == "down")
BLOCK = next(site for site in BASE.sites() if site.sort == "block")


def lora(a: torch.Tensor, b: torch.Tensor, site: Site = UP, *others: Site) -> Graft:
    """A lora graft whose change is b @ a; at other sites it is newborn."""
    graft = newborn(BASE, Candidate(sites=(site, *others), kind="lora", options={"rank": len(a)}))
    part = graft.parts[site.key]
    with torch.no_grad():
        part.get_parameter("a").copy_(a)
        part.get_parameter("b").copy_(b)
    return graft


def axes(size: int, *which: int) -> torch.Tensor:
    return torch.eye(size)[list(which)]


def test_the_same_direction_has_cosine_one_and_a_right_angle_zero() -> None:
    below = lora(axes(16, 0, 1), axes(24, 0, 1).T)
    above = lora(axes(16, 1, 2), axes(24, 3, 4).T)
    [angles] = principal_angles([below], above).values()
    assert angles.inputs == pytest.approx([1, 0], abs=1e-12)
    assert angles.outputs == pytest.approx([0, 0], abs=1e-12)
    shared = overlap([below], above)
    assert shared is not None
    assert (shared.inputs, shared.outputs, shared.inside) == pytest.approx((1, 0, 0), abs=1e-12)


@pytest.mark.parametrize("degrees", [1.0, 30.0, 89.0])
def test_an_angle_is_found_whatever_the_basis_and_scale(degrees: float) -> None:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    turned = angle.cos() * torch.eye(16, dtype=torch.float64)[0] + angle.sin() * torch.eye(16, dtype=torch.float64)[5]
    below = lora(torch.stack([7 * torch.eye(16)[0], torch.eye(16)[0] + torch.eye(16)[1]]), axes(24, 0, 1).T)
    [angles] = principal_angles([below], lora(1e-4 * turned[None].float(), axes(24, 0).T)).values()
    assert angles.inputs == pytest.approx([float(angle.cos())], abs=1e-6)


def test_a_stack_spans_what_its_grafts_span_together() -> None:
    stack = [lora(axes(16, index), axes(24, index).T) for index in (0, 1)]
    between = (torch.eye(16)[0] + torch.eye(16)[1])[None]
    above = lora(between, axes(24, 0, 1).sum(0)[:, None])
    assert overlap(stack[:1], above).inputs == pytest.approx(0.5**0.5)  # type: ignore[union-attr]
    shared = overlap(stack, above)
    assert shared is not None
    assert (shared.inputs, shared.outputs, shared.inside) == pytest.approx((1, 1, 1))


def test_factors_of_deficient_rank_span_no_more_than_they_do() -> None:
    twice = lora(torch.eye(16)[[0, 0, 0]], axes(24, 0, 1, 2).T)
    [angles] = principal_angles([twice], lora(axes(16, 0, 1), axes(24, 5, 6).T)).values()
    assert angles.inputs == pytest.approx([1])
    nothing = newborn(BASE, Candidate(sites=(UP,), kind="lora", options={"rank": 2}))
    [angles] = principal_angles([twice], nothing).values()
    assert angles.outputs == ()
    shared = overlap([twice], nothing)
    assert shared is not None
    assert (shared.outputs, shared.inside) == (0, 0)


def test_what_lies_inside_is_a_share_of_the_change_over_all_sites() -> None:
    below = lora(axes(16, 0, 1), axes(24, 0, 1).T)
    mixed = lora(axes(16, 0, 9), torch.stack([3 * torch.eye(24)[0], 4 * torch.eye(24)[1]], dim=1))
    assert overlap([below], mixed).inside == pytest.approx(9 / 25)  # type: ignore[union-attr]
    elsewhere = lora(axes(16, 0), axes(24, 0).T, UP, DOWN)
    with torch.no_grad():
        elsewhere.parts[DOWN.key].get_parameter("a").copy_(axes(24, 0))
        elsewhere.parts[DOWN.key].get_parameter("b").copy_(axes(16, 0).T)
    assert overlap([below], elsewhere).inside == pytest.approx(1 / 2)  # type: ignore[union-attr]


def test_nothing_of_low_rank_is_shared() -> None:
    here, there = lora(axes(16, 0), axes(24, 0).T), lora(axes(24, 0), axes(16, 0).T, DOWN)
    block = newborn(BASE, Candidate(sites=(BLOCK,), kind="block", options={"width": 2}))
    for stack, graft in (([], here), ([there], here), ([block], block), ([here], block)):
        assert principal_angles(stack, graft) == {}
        assert overlap(stack, graft) is None


@given(seed=st.integers(0, 10**6), ranks=st.tuples(st.integers(1, 16), st.integers(1, 16)))
@settings(max_examples=25, deadline=None)
def test_the_angles_are_those_of_the_projectors(seed: int, ranks: tuple[int, int]) -> None:
    """Squared cosines are the eigenvalues of P Q P, for the orthogonal projectors P and Q."""
    generator = torch.Generator().manual_seed(seed)
    one, other = (
        lora(torch.randn(rank, 16, generator=generator), torch.randn(24, rank, generator=generator)) for rank in ranks
    )
    [angles] = principal_angles([one], other).values()
    sides: tuple[tuple[tuple[float, ...], Callable[[Graft], torch.Tensor]], ...] = (
        (angles.inputs, lambda graft: graft.parts[UP.key].get_parameter("a").detach().T),
        (angles.outputs, lambda graft: graft.parts[UP.key].get_parameter("b").detach()),
    )
    for cosines, vectors in sides:
        p, q = (vectors(graft).double() @ torch.linalg.pinv(vectors(graft).double()) for graft in (one, other))
        expected = torch.linalg.eigvalsh(p @ q @ p).flip(0)[: min(ranks)].clamp(0, 1).sqrt()
        assert cosines == pytest.approx(expected.tolist(), abs=1e-6)
        assert list(cosines) == sorted(cosines, reverse=True)


def test_a_graft_that_is_born_in_the_complement_is_at_right_angles_to_the_stack() -> None:
    generator = torch.Generator().manual_seed(1)
    below = lora(torch.randn(3, 16, generator=generator), torch.randn(24, 3, generator=generator))
    shares = {}
    for complement in (True, False):
        candidate = Candidate(sites=(UP,), kind="phi", options={"rank": 4, "complement": complement})
        above = newborn(BASE, candidate, stack=[below])
        for parameter in above.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        shares[complement] = overlap([below], above)
    apart, freely = shares[True], shares[False]
    assert apart is not None
    assert freely is not None
    assert max(apart.inputs, apart.outputs, apart.inside) < 1e-5
    assert min(freely.inputs, freely.outputs, freely.inside) > 1e-2


@pytest.mark.parametrize(("reads", "writes"), [(0.0, 0.0), (30.0, 0.0), (30.0, 60.0), (90.0, 10.0)])
def test_a_direction_repeats_the_product_of_its_squared_cosines(reads: float, writes: float) -> None:
    below = lora(axes(16, 0, 1), axes(24, 0, 1).T)
    inputs, outputs = (torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)) for degrees in (reads, writes))
    down, up = torch.zeros(1, 16, dtype=torch.float64), torch.zeros(24, 1, dtype=torch.float64)
    down[0, 1], down[0, 7] = inputs.cos(), inputs.sin()
    up[0, 0], up[9, 0] = outputs.cos(), outputs.sin()
    found = overlap_with([below], {UP.key: LowRankFactors(up=5 * up, down=down)})
    assert found == {UP.key: pytest.approx(float((inputs.cos() * outputs.cos()) ** 2), abs=1e-12)}


def test_what_the_stack_does_not_change_is_repeated_by_nothing() -> None:
    below = lora(axes(16, 0), axes(24, 0).T)
    block = newborn(BASE, Candidate(sites=(BLOCK,), kind="block", options={"width": 2}))
    same = LowRankFactors(up=axes(24, 0).T, down=axes(16, 0))
    asked = {UP.key: same, DOWN.key: LowRankFactors(up=same.down.T, down=same.up.T), BLOCK.key: same}
    assert overlap_with([below, block], asked) == {UP.key: pytest.approx(1), DOWN.key: 0, BLOCK.key: 0}
    assert overlap_with([], asked) == dict.fromkeys(asked, 0)
    nothing = LowRankFactors(up=torch.zeros(24, 1), down=axes(16, 0))
    assert overlap_with([below], {UP.key: nothing}) == {UP.key: 0}


@given(seed=st.integers(0, 10**6), rank=st.integers(1, 16))
@settings(max_examples=20, deadline=None)
def test_expected_directions_overlap_as_a_graft_along_them_would(seed: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    below, above = (
        lora(torch.randn(num, 16, generator=generator), torch.randn(24, num, generator=generator)) for num in (3, rank)
    )
    shared = overlap([below], above)
    factors = above.parts[UP.key].factors()
    assert shared is not None
    assert factors is not None
    assert overlap_with([below], {UP.key: factors}) == {UP.key: pytest.approx(shared.inside)}
