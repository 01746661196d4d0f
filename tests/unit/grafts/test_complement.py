"""What the stack changes at a weight, whatever its kinds, and what keeps clear of it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from saint.composition import measure_signals, newborn, wanted_signals
from saint.consolidation import merge
from saint.errors import SiteError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.testing import tiny_base
from small_bases import moved

TOKENS = torch.arange(8 * 33).view(8, 33) * 7919 % 300


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


def up(base: FrozenBase) -> Site:
    return next(site for site in base.sites() if site.role == "up")


def below(base: FrozenBase, kind: str, options: dict[str, Any]) -> Graft:
    """A graft as training could have left it."""
    candidate = Candidate(sites=(up(base),), kind=kind, options=options)
    return moved(newborn(base, candidate, signals=measure_signals(base, (), wanted_signals(candidate), [TOKENS])))


def bases(base: FrozenBase, stack: Sequence[Graft], **options: Any) -> Any:
    """A newborn phi, which has the bases."""
    candidate = Candidate(sites=(up(base),), kind="phi", options=options)
    return newborn(base, candidate, stack=stack).parts[up(base).key]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sparse", {"entries": 2}),
        ("dictionary", {"side": 8, "blocks": 1, "codes": 1}),
        ("phi", {"rank": 2, "residual": 1, "basis": "gradient"}),
    ],
    ids=str,
)
def test_a_newborn_keeps_clear_of_changes_without_factors(kind: str, options: dict[str, Any], base: FrozenBase) -> None:
    """Over a LoRA too: all that the stack changes, taken from what merging makes of the weight."""
    stack = [below(base, "lora", {"rank": 1}), below(base, kind, options)]
    merged, plain = (model.get_submodule(up(base).module).weight for model in (merge(base, stack).model, base.model))
    u, values, v = torch.linalg.svd(merged - plain, full_matrices=False)
    rank = int((values > 1e-4 * values.max()).sum())
    assert 2 <= rank <= 9
    part, near = (bases(base, stack, rank=3, complement=complement) for complement in (True, False))
    assert float(torch.linalg.svdvals(u[:, :rank].T @ part.a).max()) < 1e-4
    assert float(torch.linalg.svdvals(part.b @ v[:rank].T).max()) < 1e-4
    assert float((near.a - part.a).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("kind", "options"),
    [("dense", {}), ("rescale", {}), ("dora", {"rank": 1}), ("phi", {"rank": 4, "form": "hadamard"})],
    ids=str,
)
def test_a_change_of_full_rank_leaves_no_complement(kind: str, options: dict[str, Any], base: FrozenBase) -> None:
    with pytest.raises(SiteError, match="the stack spans 16 of the 16 dimensions of the inputs"):
        bases(base, [below(base, kind, options)], rank=1, complement=True)


def test_a_change_of_the_bias_alone_leaves_the_whole_complement(base: FrozenBase) -> None:
    stack = [below(base, "bitfit", {})]
    part, same = (bases(base, stack, rank=3, complement=complement) for complement in (True, False))
    torch.testing.assert_close(part.a @ part.a.T, same.a @ same.a.T, atol=1e-4, rtol=0)
