"""A graft's file holds what its record says or is refused, and a candidate that cannot be is refused before it is."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from saint.composition import newborn
from saint.errors import ConfigError, GraftFileError, SiteError, UnknownNameError
from saint.grafts import Graft, Place, grow_from
from saint.models import FrozenBase, weight_of
from saint.records import Candidate, Site
from saint.testing import tiny_base
from small_bases import moved

BASES = ("weight", "weight_minor", "random")  # what signals and seeds give is in test_phi.py
WIDE = Site(sort="linear", module="wide", role="up", depth=0, d_in=150, d_out=220)


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


@pytest.fixture
def candidate(base: FrozenBase) -> Candidate:
    sites = tuple(site for site in base.sites() if site.role in ("up", "down"))
    return Candidate(sites=sites, kind="lora", options={"rank": 2})


@pytest.fixture
def weights(base: FrozenBase, candidate: Candidate) -> dict[str, Tensor]:
    return load(moved(newborn(base, candidate)).to_bytes())


def refusal(candidate: Candidate, content: bytes) -> str:
    with pytest.raises(GraftFileError) as caught:
        grow_from(candidate, weights=content)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_file_gives_the_graft_back(candidate: Candidate, weights: dict[str, Tensor]) -> None:
    graft = grow_from(candidate, weights=save(weights))
    assert load(graft.to_bytes()).keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load(graft.to_bytes()).items())
    assert graft.digest == grow_from(candidate, weights=graft.to_bytes()).digest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused_wherever_it_is(
    value: float, candidate: Candidate, weights: dict[str, Tensor]
) -> None:
    for name in weights:
        spoilt = {key: tensor.clone() for key, tensor in weights.items()}
        spoilt[name].view(-1)[-1] = value
        assert refusal(candidate, save(spoilt)).startswith(f"{name} holds values that are not finite")


def test_weights_of_another_shape_or_dtype_are_refused(candidate: Candidate, weights: dict[str, Tensor]) -> None:
    [size] = weights["a"].shape
    message = refusal(candidate, save({**weights, "a": torch.zeros(size + 1)}))
    assert f"({size + 1},), expected F32 ({size},)" in message
    assert "BF16" in refusal(candidate, save({**weights, "a": weights["a"].bfloat16()}))


def test_a_file_is_hardly_larger_than_its_values(base: FrozenBase, candidate: Candidate) -> None:
    """However many parts there are, each name is one tensor of the file."""
    graft = newborn(base, candidate)
    assert len(graft.parts) > 3
    assert load(graft.to_bytes()).keys() == {"a", "b", "strength"}
    assert len(graft.to_bytes()) < 4 * graft.num_params + 400


def test_other_names_are_refused(candidate: Candidate, weights: dict[str, Tensor]) -> None:
    name, *_ = weights
    assert repr(name) in refusal(candidate, save({key: weights[key] for key in weights if key != name}))
    assert "'stowaway'" in refusal(candidate, save({**weights, "stowaway": torch.zeros(1)}))


def test_a_file_of_another_candidate_is_refused(base: FrozenBase, candidate: Candidate) -> None:
    wider = newborn(base, replace(candidate, options={"rank": 3}))
    assert "another candidate" in refusal(candidate, wider.to_bytes())
    refusal(candidate, newborn(base, replace(candidate, sites=candidate.sites[:1])).to_bytes())


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -40, -1])
def test_a_truncated_file_is_refused(kept: int, candidate: Candidate, weights: dict[str, Tensor]) -> None:
    assert "not safetensors" in refusal(candidate, save(weights)[:kept])


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 a zip file", b"\x80\x02}q\x00." * 9, b"{}", bytes(200), b"\xff" * 200]
)
def test_what_is_not_safetensors_is_refused(content: bytes, candidate: Candidate) -> None:
    refusal(candidate, content)


def test_an_unknown_kind_is_answered_with_the_nearest(candidate: Candidate) -> None:
    with pytest.raises(UnknownNameError, match="nothing called 'lorra'; did you mean 'lora'"):
        grow_from(replace(candidate, kind="lorra"))
    with pytest.raises(UnknownNameError, match=r"nothing called 'zzz'; there are .*block.*lora.*phi"):
        grow_from(replace(candidate, kind="zzz"))


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("lora", {"rnk": 2}, "no key 'rnk'; did you mean 'rank'"),
        ("lora", {}, "needs the key 'rank'"),
        ("lora", {"rank": 0}, "at least 1"),
        ("lora", {"rank": 2.5}, "expected a whole number"),
        ("lora", {"rank": 2, "alpha": -1.0}, "must be positive"),
        ("phi", {"rank": -3}, "at least 1"),
        ("phi", {"rank": 2, "basis": "nothing"}, "expected 'weight'"),
        ("block", {"width": 0}, "at least 1"),
        ("block", {"rank": 4}, "no key 'rank'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    kind: str, options: dict[str, Any], complaint: str, candidate: Candidate
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        grow_from(replace(candidate, kind=kind, options=options))


@pytest.mark.parametrize(("kind", "sort"), [("lora", "block"), ("phi", "insertion"), ("block", "linear")])
def test_a_site_of_the_wrong_sort_is_refused(kind: str, sort: str, base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.sort == sort)
    options = {"width": 2} if kind == "block" else {"rank": 2}
    with pytest.raises(SiteError, match=f"is a {sort} site"):
        newborn(base, Candidate(sites=(site,), kind=kind, options=options))


@pytest.mark.parametrize("kind", ["lora", "phi"])
def test_an_embedding_is_no_site(kind: str, base: FrozenBase) -> None:
    site = Site(sort="linear", module="model.embed_tokens", role="other", depth=-1, d_in=16, d_out=300)
    with pytest.raises(SiteError, match="embed_tokens is of type Embedding, and grafts attach to linear maps"):
        newborn(base, Candidate(sites=(site,), kind=kind, options={"rank": 2}))


@pytest.mark.parametrize("kind", ["lora", "phi"])
def test_a_rank_that_the_site_does_not_have_is_refused(kind: str, base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.role == "k")
    narrow = min(site.d_in, site.d_out)
    newborn(base, Candidate(sites=(site,), kind=kind, options={"rank": narrow}))
    with pytest.raises(SiteError, match=f"rank {narrow + 1} exceeds .*k_proj"):
        newborn(base, Candidate(sites=(site,), kind=kind, options={"rank": narrow + 1}))


def test_a_candidate_names_each_of_its_sites_once(candidate: Candidate) -> None:
    for sites in ((), candidate.sites[:1] * 2):
        with pytest.raises(SiteError, match="each of its sites once"):
            grow_from(replace(candidate, sites=sites))


def at_wide(weight: Tensor, *, rank: int, basis: str, seed: int = 0) -> Any:
    candidate = Candidate(sites=(WIDE,), kind="phi", options={"rank": rank, "basis": basis}, seed=seed)
    return grow_from(candidate, places={"wide": Place(module=torch.nn.Linear(1, 1), read_weight=lambda: weight)}).parts[
        "wide"
    ]


def decaying(*, seed: int = 0) -> Tensor:
    """A weight whose singular values fall as those of trained ones do."""
    generator = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(WIDE.d_out, WIDE.d_in, generator=generator), full_matrices=False)
    return u @ torch.diag(0.97 ** torch.arange(WIDE.d_in)) @ v


@pytest.mark.parametrize("rank", [1, 8, 60, 150])
@pytest.mark.parametrize("basis", BASES)
def test_the_bases_of_phi_are_orthonormal(basis: str, rank: int) -> None:
    part = at_wide(decaying(), rank=rank, basis=basis)
    assert part.a.shape == (WIDE.d_out, rank)
    assert part.b.shape == (rank, WIDE.d_in)
    torch.testing.assert_close(part.a.T @ part.a, torch.eye(rank), atol=1e-5, rtol=0)
    torch.testing.assert_close(part.b @ part.b.T, torch.eye(rank), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [4, 60])
def test_the_bases_from_the_weight_are_its_leading_singular_vectors(rank: int) -> None:
    weight = decaying()
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    part = at_wide(weight, rank=rank, basis="weight")
    overlap = torch.linalg.svdvals(part.a.T @ u[:, :rank]), torch.linalg.svdvals(part.b @ v[:rank].T)
    assert float(torch.cat(overlap).min()) > 0.99
    torch.testing.assert_close(torch.linalg.svdvals(part.a.T @ weight @ part.b.T), s[:rank], rtol=1e-3, atol=0)


def test_random_bases_depend_on_the_seed_and_not_on_the_weight() -> None:
    one = at_wide(decaying(), rank=8, basis="random")
    assert torch.equal(one.a, at_wide(decaying(seed=1), rank=8, basis="random").a)
    assert not torch.equal(one.a, at_wide(decaying(), rank=8, basis="random", seed=1).a)


def test_a_newborn_needs_its_site() -> None:
    with pytest.raises(SiteError, match="born from what is at its sites, and nothing was given for wide"):
        grow_from(Candidate(sites=(WIDE,), kind="phi", options={"rank": 2}))


def change_at(graft: Graft, strength: float, x: Tensor, y: Tensor) -> Tensor:
    graft.set_strength(strength)
    assert graft.strength == pytest.approx(strength)
    [part] = graft.parts.values()
    changed: Tensor = part(x, y) - y
    return changed.detach()


@pytest.mark.parametrize("kind", ["lora", "phi"])
def test_strength_scales_the_change_and_its_factors_linearly(kind: str, base: FrozenBase) -> None:
    site = next(site for site in base.sites() if site.role == "up")
    graft = moved(newborn(base, Candidate(sites=(site,), kind=kind, options={"rank": 4})))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, site.d_in, generator=generator), torch.zeros(9, site.d_out)
    whole = change_at(graft, 1.0, x, y)
    assert float(whole.abs().max()) > 1e-3
    for strength in (0.0, 0.25, 0.7, -1.0):
        torch.testing.assert_close(change_at(graft, strength, x, y), strength * whole)
        factors = graft.parts[site.key].factors()
        assert factors is not None
        torch.testing.assert_close(x @ (factors.up @ factors.down).T, strength * whole)


def test_strength_is_stored_with_the_weights(base: FrozenBase, candidate: Candidate) -> None:
    graft = moved(newborn(base, candidate))
    whole = graft.digest
    graft.set_strength(0.5)
    assert graft.digest != whole
    assert grow_from(candidate, weights=graft.to_bytes()).strength == 0.5


def test_a_newborn_is_born_from_the_frozen_weight_of_its_own_site(base: FrozenBase) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 2}))
    for site in sites:
        weight = weight_of(base.model.get_submodule(site.module))
        part: Any = graft.parts[site.key]
        energy = torch.linalg.svdvals(part.a.T @ weight @ part.b.T)
        torch.testing.assert_close(energy, torch.linalg.svdvals(weight)[:2])
