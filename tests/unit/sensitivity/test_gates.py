"""Maps of outputs and their gradients: where the absolute value is taken."""

import pytest
import torch
from torch import Tensor, nn

from saint.composition import compose
from saint.data import Splits
from saint.models import FrozenBase, token_nats
from saint.records import Site
from saint.sensitivity import Seen, measure_sensitivities
from saint.sensitivity.activation_gradient import ActivationGradient
from saint.sensitivity.gate import Gate

SITE = Site(sort="linear", module="m", role="up", depth=0, d_in=1, d_out=2)


def test_a_channel_that_helps_here_and_hurts_there_asks_for_no_gate() -> None:
    gate, apart = Gate(), ActivationGradient()
    y = torch.tensor([[[1.0, 2.0], [1.0, 2.0]]])
    for sign in (1.0, -1.0):  # the first channel cancels over batches, the second adds up
        gradient = torch.tensor([[[sign * 3.0, 1.0], [sign * 3.0, 1.0]]])
        seen = Seen(x=torch.ones(1, 2, 1), y=y, gradient=gradient)
        gate.observe(SITE, seen)
        apart.observe(SITE, seen)
    assert gate.scores() == {"m": pytest.approx(4.0)}
    assert apart.scores() == {"m": pytest.approx(10.0)}


def test_it_is_the_gradient_of_a_factor_on_each_channel(base: FrozenBase, data: Splits) -> None:
    settings = {"num_batches": 2, "batch_size": 4, "seq_len": 16, "seed": 1}
    found = measure_sensitivities(base, data.train, ["gate"], **settings)["gate"]
    for site in base.sites():
        if site.sort in ("insertion", "mlp") or site.depth:
            continue
        model, factor = compose(base, []), torch.ones(site.d_out, requires_grad=True)

        def scale(_module: nn.Module, _args: object, output: Tensor, factor: Tensor = factor) -> Tensor:
            return output * factor

        model.model.get_submodule(site.module).register_forward_hook(scale)
        batches = data.train.batches(batch_size=4, seq_len=16, seed=1)
        loss = sum(token_nats(model, batches[step]).mean() for step in range(2)) / 2
        [gradient] = torch.autograd.grad(loss, factor)
        assert found.scores[site.key] == pytest.approx(float(gradient.abs().sum()), rel=1e-3), site.key
