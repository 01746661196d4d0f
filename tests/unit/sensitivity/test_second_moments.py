"""Maps that weigh the gradient by second moments, against dense algebra in float64."""

import pytest
import torch
from torch import Tensor

from saint.errors import ConfigError
from saint.records import Site
from saint.sensitivity import Seen, gromo, kfac

SITE = Site(sort="linear", module="m", role="up", depth=0, d_in=5, d_out=4)


def batches(*, num: int = 2) -> list[tuple[Tensor, Tensor]]:
    """Inputs (3, 7, 5) and gradients (3, 7, 4) of each."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(3, 7, 5, generator=generator, dtype=torch.float64),
            torch.randn(3, 7, 4, generator=generator, dtype=torch.float64) / 21,
        )
        for _ in range(num)
    ]


def seen(x: Tensor, gradient: Tensor) -> Seen:
    return Seen(x=x, y=torch.zeros_like(gradient), gradient=gradient, num_batches=2)


def moments() -> tuple[Tensor, Tensor, Tensor]:
    """G of the mean loss, and the means of x x^T and g g^T over all tokens, token by token."""
    of_loss = sum(torch.einsum("bto,bti->oi", g, x) for x, g in batches()) / 2
    inputs = torch.stack([row for x, _ in batches() for row in x.flatten(0, 1)])
    gradients = torch.stack([21 * row for _, g in batches() for row in g.flatten(0, 1)])
    return of_loss, inputs.T @ inputs / len(inputs), gradients.T @ gradients / len(gradients)


def damped(moment: Tensor, damping: float) -> Tensor:
    return moment + damping * moment.trace() / len(moment) * torch.eye(len(moment), dtype=torch.float64)


def test_kfac_is_the_decrease_of_the_quadratic_model() -> None:
    one = kfac.Kfac(kfac.Options(damping=0.05))
    for x, g in batches():
        one.observe(SITE, seen(x, g))
    of_loss, s, c = moments()
    curvature = torch.kron(damped(c, 0.05), damped(s, 0.05))  # of the weight's entries, row by row
    step = torch.linalg.solve(curvature, of_loss.flatten())
    decrease = of_loss.flatten() @ step - step @ curvature @ step / 2
    assert one.scores()["m"] ** 2 / 2 == pytest.approx(float(decrease), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 9])
def test_gromo_is_the_sum_of_the_largest_eigenvalues(rank: int) -> None:
    one = gromo.Gromo(gromo.Options(rank=rank, damping=0.05))
    for x, g in batches():
        one.observe(SITE, seen(x, g))
    of_loss, s, _ = moments()
    n = -of_loss.T
    values = torch.linalg.eigvalsh(n.T @ torch.linalg.inv(damped(s, 0.05)) @ n)
    assert one.scores()["m"] ** 2 == pytest.approx(float(values.flip(0)[:rank].sum()), rel=1e-9)


@pytest.mark.parametrize("build", [kfac.Kfac, gromo.Gromo])
def test_where_nothing_flows_nothing_is_to_be_won(build: type) -> None:
    one = build()
    one.observe(SITE, seen(torch.zeros(1, 3, 5), torch.zeros(1, 3, 4)))
    assert one.scores() == {"m": 0.0}


@pytest.mark.parametrize("build", [kfac.Kfac, gromo.Gromo])
def test_a_side_whose_moment_would_not_fit_has_no_score(build: type) -> None:
    assert not build().scores_site(Site(sort="linear", module="m", role="up", depth=0, d_in=8193, d_out=4))


@pytest.mark.parametrize("build", [lambda: kfac.Options(damping=0.0), lambda: gromo.Options(rank=0)])
def test_settings_that_cannot_be_are_refused(build: object) -> None:
    with pytest.raises(ConfigError):
        build()  # type: ignore[operator]
