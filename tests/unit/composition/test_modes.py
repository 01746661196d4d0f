"""Several compositions live over one base: each answers as it does alone, and no weight of the base is held twice."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import saint
from saint.composition import Modes, compose, newborn, probe_logits, restore, restore_one
from saint.errors import BaseChangedError, RolledBackError, UnknownNameError
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate, Decision, Outcome, Scaled, Verdict
from saint.registry import Registry
from saint.testing import an_evidence, tiny_base
from small_bases import moved, small_model

PROMPT = torch.arange(8)[None] + 3
STACKS: Mapping[str, tuple[str, ...]] = {
    "prose": ("dora", "layer", "second layer"),
    "both": ("second layer", "layer", "up", "dora"),
    "code": ("up", "layer"),  # where the layer has another slot of the cache than in the one before
}


def graft(base: FrozenBase, kind: str, options: dict[str, Any], role: str, *, seed: int) -> Graft:
    sites = [site for site in base.sites() if role in (site.role, site.sort)]
    candidate = Candidate(sites=tuple(sites[:1] if role == "insertion" else sites), kind=kind, options=options)
    return moved(newborn(base, candidate), seed=seed).requires_grad_(requires_grad=False).eval()


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    return tiny_base()


@pytest.fixture(scope="module")
def stacks(base: FrozenBase) -> dict[str, list[Graft]]:
    grafts = {
        "up": graft(base, "phi", {"rank": 2}, "up", seed=1),
        "dora": graft(base, "dora", {"rank": 2}, "q", seed=2),
        "layer": graft(base, "layer", {}, "insertion", seed=3),
        "second layer": graft(base, "layer", {}, "insertion", seed=4),
    }
    return {name: [grafts[one] for one in stack] for name, stack in STACKS.items()}


def said(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Logits on the probe, logits of one call, and what is written on."""
    with torch.inference_mode():
        logits = model(PROMPT).logits
        written = model.generate(PROMPT, max_new_tokens=3, do_sample=False, pad_token_id=0)
    return probe_logits(model), logits, written


def alone(base: FrozenBase, stacks: Mapping[str, list[Graft]]) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    return {name: said(compose(base, stack)) for name, stack in {"base": [], **stacks}.items()}


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_each_mode_answers_as_its_stack_does_alone_whatever_else_is_called(
    base: FrozenBase, stacks: dict[str, list[Graft]]
) -> None:
    expected = alone(base, stacks)
    assert not same(expected["code"], expected["prose"])
    modes = Modes(base, stacks)
    assert [*modes] == ["base", *STACKS]
    assert len(modes) == 4
    for name in ["code", "base", "prose", "code", "both", "prose", "base", "both"]:
        assert same(said(modes[name]), expected[name]), name
    base.check()


def test_no_weight_of_the_base_is_held_twice(base: FrozenBase, stacks: dict[str, list[Graft]]) -> None:
    modes = Modes(base, stacks)
    bases = {name: tensor.data_ptr() for name, tensor in base.model.state_dict().items()}
    for mode in map(modes.__getitem__, modes):
        found = {name: tensor.data_ptr() for name, tensor in mode.model.state_dict().items()}
        assert {name: found[name] for name in bases} == bases

    def held(modules: list[nn.Module]) -> int:
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
        return sum(storages.values())

    with_modes = held([base.model, *map(modes.__getitem__, modes)])
    assert with_modes == held([base.model]) + modes.num_bytes
    grafts = {id(one): one for stack in stacks.values() for one in stack}
    assert modes.num_bytes == held([*grafts.values()])


def test_a_mode_may_be_called_within_a_call_of_another(base: FrozenBase, stacks: dict[str, list[Graft]]) -> None:
    expected, modes, inner = alone(base, stacks), Modes(base, stacks), []

    def call(*_: object) -> None:
        inner.append(probe_logits(modes["prose"]))

    modes["code"].model.model.layers[0].register_forward_hook(call)
    assert same(said(modes["code"]), expected["code"])
    assert len(inner) > 2
    assert all(torch.equal(one, expected["prose"][0]) for one in inner)


def test_threads_do_not_meet_whatever_modes_they_call(base: FrozenBase, stacks: dict[str, list[Graft]]) -> None:
    expected, modes = alone(base, stacks), Modes(base, stacks)
    names = [*modes, *STACKS] * 2 + ["code"] * 4

    def call(name: str) -> bool:
        return same(said(modes[name]), expected[name])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(call, names))


def test_an_encoder_decoder_has_modes() -> None:
    base = saint.freeze(small_model("t5_relu"))
    stacks = {
        "code": [graft(base, "lora", {"rank": 2}, "up", seed=1)],
        "prose": [graft(base, "dora", {"rank": 2}, "q", seed=2)],
    }
    modes = Modes(base, stacks)
    for name in ("code", "prose", "code"):
        assert torch.equal(probe_logits(modes[name]), probe_logits(compose(base, stacks[name])))


@pytest.fixture
def registry(tmp_path: Path, base: FrozenBase) -> Registry:
    """Three grafts stand; `code` and `prose` share one, at another scale."""
    registry = Registry.open(tmp_path / "garden")
    for seed, role in enumerate(("up", "down", "q")):
        made = graft(base, "phi", {"rank": 2}, role, seed=seed)
        evidence = an_evidence(
            graft=made.digest, candidate=made.candidate, base=base.digest, stack=tuple(registry.state.standing)
        )
        accept = Verdict(gate="gain", outcome=Outcome.ACCEPT, reason="for this test")
        registry.record(made, evidence, Decision(verdicts=(accept,)))
    up, down, q = (Scaled(graft=digest) for digest in registry.state.standing)
    registry.compose("code", [down, up], reason="")
    registry.compose("prose", [q, Scaled(graft=up.graft, scale=0.5)], reason="")
    registry.compose("law", [q, up], reason="")
    return registry


def test_modes_of_a_registry_hold_a_graft_once_for_each_scale(registry: Registry, base: FrozenBase) -> None:
    modes = Modes.of(registry, base, "code", "prose", "law")
    each = [restore_one(registry, digest) for digest in registry.state.standing]
    sizes = [sum(tensor.nbytes for tensor in (*one.parameters(), *one.buffers())) for one in each]
    assert modes.num_bytes == sum(sizes) + sizes[0]  # the first is there at full and at half scale
    for name in ("code", "prose", "law"):
        assert torch.equal(probe_logits(modes[name]), probe_logits(compose(base, restore(registry, name)))), name
    half = restore(registry, "prose")[1]
    assert half.strength == 0.5
    assert not torch.equal(probe_logits(modes["prose"]), probe_logits(modes["law"]))
    assert torch.equal(probe_logits(modes["base"]), probe_logits(base.model))
    standing = Modes.of(registry, base)["standing"]
    assert torch.equal(probe_logits(standing), probe_logits(compose(base, restore(registry))))


REFUSALS: dict[str, tuple[Callable[[Registry, FrozenBase], object], type[Exception], str]] = {
    "unknown": (lambda r, b: Modes.of(r, b, "verse"), UnknownNameError, "nothing is called 'verse'"),
    "not made": (lambda r, b: Modes.of(r, b, "code")["law"], UnknownNameError, "no mode 'law'; there are base, code"),
    "rolled back": (lambda r, b: Modes.of(r, b, "code", "prose"), RolledBackError, "composition prose holds"),
    "restored": (lambda r, _: restore(r, "prose"), RolledBackError, "name what is left of it anew"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_used_is_refused(what: str, registry: Registry, base: FrozenBase) -> None:
    registry.rollback(registry.state.standing[-1], reason="harmful")
    use, error, complaint = REFUSALS[what]
    with pytest.raises(error, match=complaint):
        use(registry, base)


def test_another_base_is_refused(registry: Registry) -> None:
    with pytest.raises(BaseChangedError, match="the base in memory is"):
        Modes.of(registry, saint.freeze(small_model("gpt2")), "code")
