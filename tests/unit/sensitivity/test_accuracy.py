"""Scores that are sums of many numbers, against their formulas in float64: the reference that faster ways must keep."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from saint import discovery
from saint.records import Site
from saint.sensitivity import Map, Seen

SITE = Site(sort="linear", module="m", role="up", depth=0, d_in=128, d_out=344)

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
FORMULAS: dict[str, Formula] = {
    "activation": lambda _x, y, _g, _w: y.square().mean().sqrt(),
    "activation_gradient": lambda _x, y, g, _w: (y * g).abs().sum(),
    "fisher": lambda x, _y, g, _w: (8 * torch.einsum("bto,bti->boi", g, x)).square().sum((1, 2)).mean().sqrt(),
    "gate": lambda _x, y, g, _w: (y * g).sum((0, 1)).abs().sum(),
    "gradient": lambda x, _y, g, _w: torch.einsum("bto,bti->oi", g, x).square().sum().sqrt(),
    "gradient_weight": lambda x, _y, g, w: (torch.einsum("bto,bti->oi", g, x) * w).abs().sum(),
    "gromo": lambda x, _y, g, _w: _top(_white(torch.einsum("bto,bti->io", g, x), x), 8),
    "kfac": lambda x, _y, g, _w: _white(_white(torch.einsum("bto,bti->io", g, x), x).T, 1024 * g).norm(),
    "phi": lambda x, _y, g, w: _between(torch.einsum("bto,bti->oi", g, x), w, rank=32, top=8),
    "spectrum": lambda _x, _y, _g, w: 1 - w.square().sum() / (torch.linalg.svdvals(w)[0] ** 2 * 128),
}


def _white(columns: Tensor, rows: Tensor) -> Tensor:
    """M^-1/2 `columns` by the eigenvectors of the damped second moment."""
    flat = rows.flatten(0, 1)
    moment = flat.T @ flat / len(flat)
    values, vectors = torch.linalg.eigh(moment + 0.01 * moment.diagonal().mean() * torch.eye(len(moment)))
    return vectors @ (vectors.T @ columns / values.sqrt()[:, None])


def _top(matrix: Tensor, num: int) -> Tensor:
    return torch.linalg.svdvals(matrix)[:num].norm()


def _between(gradient: Tensor, weight: Tensor, *, rank: int, top: int) -> Tensor:
    u, _, v = torch.linalg.svd(weight, full_matrices=False)
    return torch.linalg.svdvals(u[:, :rank].T @ gradient @ v[:rank].T)[:top].sum()


def test_every_map_that_reads_the_text_or_a_weight_has_a_formula_here() -> None:
    assert {*FORMULAS, "random"} == set(discovery.names("sensitivity"))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_score_is_its_formula(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y, g = (torch.randn(8, 128, d, generator=generator) for d in (128, 344, 344))
    w = torch.randn(344, 128, generator=generator) * 0.97 ** torch.arange(128)
    one = discovery.find("sensitivity", name, Map)()
    one.observe(SITE, Seen(x=x, y=y, gradient=g / 1024, read_weight=lambda: w, keep_apart=True))
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = FORMULAS[name](x.double(), y.double(), g.double() / 1024, w.double())
    finally:
        torch.set_default_dtype(default)
    assert one.scores()["m"] == pytest.approx(float(expected), rel=1e-5)
