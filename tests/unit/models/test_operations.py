"""Operations are counted as one would on paper."""

import torch

from saint.models import FrozenBase, counting_flops, token_nats

T, B = 32, 2


def on_paper(base: FrozenBase) -> int:
    """Of a forward pass, per token: each weight of a linear map once, and causal attention."""
    linear = sum(2 * site.d_in * site.d_out for site in base.sites() if site.sort == "linear")
    attention = sum(2 * T * site.d_out for site in base.sites() if site.role == "q")
    return linear + attention


def test_a_forward_pass_costs_what_it_does_on_paper(base: FrozenBase) -> None:
    tokens = torch.randint(0, 256, (B, T + 1), generator=torch.Generator().manual_seed(0))
    with counting_flops() as counter, torch.no_grad():
        token_nats(base.model, tokens)
    assert counter.get_total_flops() == B * T * on_paper(base)


def test_dense_training_costs_three_times_as_much(base: FrozenBase) -> None:
    tokens = torch.randint(0, 256, (B, T + 1), generator=torch.Generator().manual_seed(0))
    base.model.requires_grad_(requires_grad=True)
    with counting_flops() as counter:
        token_nats(base.model, tokens).mean().backward()
    assert counter.get_total_flops() == 3 * B * T * on_paper(base)
