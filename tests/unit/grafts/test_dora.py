"""DoRA is that of plain PEFT step by step, and in a stack forward, fold and merge say the same."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import saint
from saint.composition import compose, newborn, place_of, probe_logits
from saint.errors import ConfigError, SiteError
from saint.grafts import Graft, Place
from saint.grafts.dora import Dora
from saint.models import FrozenBase, freeze, token_nats, weight_of
from saint.records import Candidate, Site
from saint.testing import assert_identity, tiny_base
from small_bases import moved, small_model

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # by PEFT
ROLES = {"llama": ("q", "down"), "gpt2": ("qkv", "down")}


def graft_of(base: FrozenBase, roles: tuple[str, ...], kind: str = "dora", *, seed: int = 0, **options: Any) -> Graft:
    sites = tuple(site for site in base.sites() if site.sort == "linear" and site.role in roles)
    return newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=seed))


@pytest.mark.parametrize("architecture", ROLES)
def test_every_step_is_that_of_plain_peft(architecture: str) -> None:
    peft = pytest.importorskip("peft", reason="plain PEFT is the oracle")
    base = tiny_base() if architecture == "llama" else freeze(small_model(architecture))
    graft = graft_of(base, ROLES[architecture], rank=3, alpha=4.0)
    config = peft.LoraConfig(
        r=3,
        lora_alpha=4,
        use_dora=True,
        target_modules=[site.module for site in graft.candidate.sites],
        fan_in_fan_out=architecture == "gpt2",
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(copy.deepcopy(base.model), config).eval()
    layers = {site.key: theirs.base_model.model.get_submodule(site.module) for site in graft.candidate.sites}
    with torch.no_grad():
        for key, part in graft.parts.items():
            layers[key].lora_A["default"].weight.copy_(part.get_parameter("a"))
    models = compose(base, [graft]), theirs
    adams = [
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
        for model in (graft, theirs)
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        tokens = torch.randint(base.model.config.vocab_size, (2, 17), generator=generator)
        losses = []
        for model, adam in zip(models, adams, strict=True):
            adam.zero_grad()
            losses.append(token_nats(model, tokens).mean())
            losses[-1].backward()
            adam.step()
        torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=0)
        for key, part in graft.parts.items():
            lengths = weight_of(base.model.get_submodule(key)).norm(dim=1)
            magnitudes = layers[key].lora_magnitude_vector["default"].weight
            torch.testing.assert_close(part.get_parameter("m") + lengths, magnitudes, atol=1e-5, rtol=1e-5)
            for matrix, name in (("lora_A", "a"), ("lora_B", "b")):
                weight = getattr(layers[key], matrix)["default"].weight
                torch.testing.assert_close(part.get_parameter(name), weight, atol=1e-5, rtol=1e-5)
    assert all(bool(part.get_parameter("m").abs().max() > 1e-2) for part in graft.parts.values())


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@torch.no_grad()
def test_it_is_a_length_and_a_direction_for_every_row(strength: float) -> None:
    base = freeze(small_model("gpt2"))
    graft = moved(graft_of(base, ("up",), rank=2, alpha=3.0))
    graft.set_strength(strength)
    merged = saint.merge(base, [graft])
    for site in graft.candidate.sites:
        part: Any = graft.parts[site.key]
        before, after = base.model.get_submodule(site.module), merged.model.get_submodule(site.module)
        weight = weight_of(before)
        turned = weight + 1.5 * part.b @ part.a
        for row in range(site.d_out):
            there = (weight[row].norm() + part.m[row]) * turned[row] / turned[row].norm()
            torch.testing.assert_close(weight_of(after)[row], torch.lerp(weight[row], there, strength))
        torch.testing.assert_close(after.bias, before.bias)
    torch.testing.assert_close(probe_logits(merged.model), probe_logits(compose(base, [graft])), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ROLES)
@pytest.mark.parametrize("order", [("lora", "dora"), ("dora", "lora"), ("bitfit", "dora", "rescale"), ("dora", "dora")])
def test_merging_a_stack_says_what_composing_it_says(architecture: str, order: tuple[str, ...]) -> None:
    base = freeze(small_model(architecture))
    options = {"lora": {"rank": 2}, "dora": {"rank": 2, "alpha": 3.0}}
    roles = ("down",) if architecture == "llama" else ROLES[architecture]
    stack = [moved(graft_of(base, roles, k, seed=i, **options.get(k, {})), seed=i) for i, k in enumerate(order)]
    for graft in stack:
        graft.set_strength(0.8)
    composed = probe_logits(compose(base, stack))
    assert float((composed - probe_logits(base.model)).abs().max()) > 1e-2
    torch.testing.assert_close(probe_logits(saint.merge(base, stack).model), composed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("roles", [("up",), ("qkv",), ("head",)])
def test_a_newborn_on_a_stack_is_the_stack_to_the_bit(roles: tuple[str, ...]) -> None:
    base = freeze(small_model("gpt2"))
    below = moved(graft_of(base, roles, "lora", rank=2))
    born = graft_of(base, roles, rank=3)
    assert torch.equal(probe_logits(compose(base, [below, born])), probe_logits(compose(base, [below])))
    assert_identity(base, born)


def test_a_row_of_zeros_has_no_direction_and_stays_finite() -> None:
    base = tiny_base()
    graft = graft_of(base, ("up",), rank=2)
    site, part = graft.candidate.sites[0], graft.parts[graft.candidate.sites[0].key]
    place = place_of(base, site)
    weight = weight_of(place.module).clone()
    weight[3] = 0
    part.attach(saint.grafts.Place(module=place.module, read_weight=lambda: weight))
    x = torch.randn(5, site.d_in, generator=torch.Generator().manual_seed(0))
    y = F.linear(x, weight)
    assert torch.equal(part(x, y), y)
    part(x, y).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in part.parameters() if p.grad is not None)
    with torch.no_grad():
        part.get_parameter("b").add_(0.1)
    assert bool(torch.isfinite(part(x, y)).all())


def test_detaching_changes_the_gradient_and_not_the_values() -> None:
    base = tiny_base()
    found: list[tuple[Tensor, Tensor]] = []
    for detach_norm in (True, False):
        graft = moved(graft_of(base, ("up",), rank=2, detach_norm=detach_norm))
        loss = token_nats(compose(base, [graft]), torch.arange(34).view(2, 17)).mean()
        loss.backward()
        gradient = graft.parts[graft.candidate.sites[0].key].get_parameter("b").grad
        assert gradient is not None
        found.append((loss.detach(), gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_what_cannot_be_is_refused() -> None:
    base = tiny_base()
    with pytest.raises(ConfigError, match="rank is 0; it must be at least 1"):
        graft_of(base, ("up",), rank=0)
    with pytest.raises(ConfigError, match="alpha is -1"):
        graft_of(base, ("up",), rank=1, alpha=-1.0)
    with pytest.raises(SiteError, match="rank 17 exceeds"):
        graft_of(base, ("up",), rank=17)


def test_the_weight_is_squared_once_while_it_is_the_same() -> None:
    linear = nn.Linear(6, 5)
    reads: list[None] = []

    def read_weight() -> Tensor:
        reads.append(None)
        return linear.weight

    part, place = part_of(6, 5), Place(module=linear, read_weight=read_weight)
    part.attach(place)
    part.attach(place)
    assert len(reads) == 1
    with torch.no_grad():
        linear.weight.mul_(2.0)
    part.attach(place)
    assert len(reads) == 2
    torch.testing.assert_close(part.get_buffer("_squares"), linear.weight.detach().square().sum(dim=1))


def part_of(d_in: int, d_out: int) -> Dora:
    site = Site(sort="linear", module="m", role="up", depth=0, d_in=d_in, d_out=d_out)
    return Dora(site, Dora.Options(rank=2))
