"""Plain PEFT, an implementation that is not ours, trains the very same LoRA: every loss and weight of every step."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from saint.composition import compose, newborn
from saint.grafts import Graft
from saint.models import FrozenBase, freeze, token_nats
from saint.records import Candidate
from saint.testing import tiny_base
from small_bases import small_model

peft = pytest.importorskip("peft", reason="plain PEFT is the oracle")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # by PEFT
_NUM_STEPS = 10


@dataclass(frozen=True)
class Case:
    """The same adapter in our words and in PEFT's."""

    base: str
    roles: tuple[str, ...]
    options: Mapping[str, Any]
    theirs: Mapping[str, Any]


CASES = {
    "llama": Case("llama", ("q", "up", "down"), {"rank": 3, "alpha": 5.0}, {"r": 3, "lora_alpha": 5}),
    "gpt2": Case(
        "gpt2", ("qkv", "o", "up"), {"rank": 3, "alpha": 5.0}, {"r": 3, "lora_alpha": 5, "fan_in_fan_out": True}
    ),
    "llama, rank-stabilised": Case(
        "llama",
        ("q", "v", "gate"),
        {"rank": 4, "alpha": 3.0, "scaling": "rank_stabilised"},
        {"r": 4, "lora_alpha": 3, "use_rslora": True},
    ),
    "gpt2, rank-stabilised": Case(
        "gpt2",
        ("qkv", "down"),
        {"rank": 2, "alpha": 3.0, "scaling": "rank_stabilised"},
        {"r": 2, "lora_alpha": 3, "use_rslora": True, "fan_in_fan_out": True},
    ),
    "llama, rank pattern": Case(
        "llama",
        ("q", "k", "up"),
        {"rank": 4, "alpha": 6.0, "at": {"k": {"rank": 2}, "model.layers.1.mlp.up_proj": {"rank": 1, "alpha": 3.0}}},
        {
            "r": 4,
            "lora_alpha": 6,
            "rank_pattern": {"k_proj": 2, "layers.1.mlp.up_proj": 1},
            "alpha_pattern": {"layers.1.mlp.up_proj": 3},
        },
    ),
}


def base_of(name: str) -> FrozenBase:
    return tiny_base() if name == "llama" else freeze(small_model(name))


def both(case: Case) -> tuple[FrozenBase, Graft, Any]:
    """Our newborn and PEFT's, with the same random A."""
    base = base_of(case.base)
    sites = tuple(site for site in base.sites() if site.sort == "linear" and site.role in case.roles)
    graft = newborn(base, Candidate(sites=sites, kind="lora", options=case.options, seed=1))
    modules = [site.module for site in sites]
    config = peft.LoraConfig(target_modules=modules, task_type="CAUSAL_LM", **case.theirs)
    theirs = peft.get_peft_model(copy.deepcopy(base.model), config).eval()
    with torch.no_grad():
        for site in sites:
            layer = theirs.base_model.model.get_submodule(site.module)
            layer.lora_A["default"].weight.copy_(graft.parts[site.key].get_parameter("a"))
    return base, graft, theirs


def batches(vocab_size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocab_size, (2, 17), generator=generator) for _ in range(_NUM_STEPS)]


def step(model: Any, optimiser: torch.optim.Optimizer, tokens: Tensor) -> float:
    optimiser.zero_grad()
    loss = token_nats(model, tokens).mean()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_that_of_plain_peft(name: str) -> None:
    case = CASES[name]
    base, graft, theirs = both(case)
    ours = compose(base, [graft])
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.01}
    ours_adam = torch.optim.AdamW(graft.parameters(), **settings)
    theirs_adam = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], **settings)
    losses = []
    for tokens in batches(base.model.config.vocab_size):
        ours_loss, theirs_loss = step(ours, ours_adam, tokens), step(theirs, theirs_adam, tokens)
        assert ours_loss == pytest.approx(theirs_loss, abs=1e-6)
        losses.append(ours_loss)
        for site in graft.candidate.sites:
            layer, part = theirs.base_model.model.get_submodule(site.module), graft.parts[site.key]
            for matrix, parameter in (("lora_A", "a"), ("lora_B", "b")):
                weight = getattr(layer, matrix)["default"].weight
                torch.testing.assert_close(part.get_parameter(parameter), weight, atol=1e-6, rtol=1e-6)
    assert max(losses) - min(losses) > 1e-3
    assert all(bool(part.get_parameter("b").abs().max() > 1e-2) for part in graft.parts.values())
