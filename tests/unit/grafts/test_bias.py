"""One number per channel, the same for every token."""

import torch

from saint.composition import compose, newborn, probe_logits
from saint.grafts import num_params
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import moved


def test_every_token_is_shifted_by_the_same_vector() -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.sort == "block")
    part = moved(newborn(base, Candidate(sites=(site,), kind="bias"))).parts[site.key]
    part.strength.fill_(0.5)
    h = torch.randn(2, 7, site.d_out, generator=torch.Generator().manual_seed(0))
    shifts = (part(h, h) - h).flatten(0, 1)
    torch.testing.assert_close(shifts, (0.5 * part.get_parameter("b")).expand(14, -1))
    assert num_params("bias", {}, [site, site]) == 2 * site.d_out


def test_after_the_last_block_it_is_what_adding_it_by_hand_gives() -> None:
    base = tiny_base()
    site = [site for site in base.sites() if site.sort == "block"][-1]
    graft = moved(newborn(base, Candidate(sites=(site,), kind="bias")))
    b = graft.parts[site.key].get_parameter("b")
    handle = base.model.model.norm.register_forward_pre_hook(lambda _module, args: (args[0] + b,))
    by_hand = probe_logits(base.model)
    handle.remove()
    assert not torch.equal(by_hand, probe_logits(base.model))
    torch.testing.assert_close(probe_logits(compose(base, [graft])), by_hand)
