"""Starting a model after some of its blocks, and several grafts in one pass: the same answers to the bit."""

import pytest
import torch
from torch import Tensor

from saint.composition import Above, Below, blocks_of, boundary_of, compose, compose_beside, newborn
from saint.grafts import Graft
from saint.models import FrozenBase, freeze, token_nats
from saint.records import Candidate, Site
from small_bases import ARCHITECTURES, moved, small_model

DECODERS = sorted(name for name in ARCHITECTURES if not name.startswith("t5"))
IDS = (torch.arange(4 * 13) * 7919 % 96).view(4, 13)


def graft_at(base: FrozenBase, *sites: Site, kind: str = "lora", seed: int = 0, **options: object) -> Graft:
    options = options or {"lora": {"rank": 2}, "block": {"width": 3}}.get(kind, {})
    return moved(newborn(base, Candidate(sites=sites, kind=kind, options=options, seed=seed)), seed=seed)


def sites_of(base: FrozenBase, *, role: str) -> list[Site]:
    return [site for site in base.sites() if site.role == role]


def answers(model: torch.nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_model_that_starts_at_the_boundary_answers_as_the_whole_one(architecture: str) -> None:
    base = freeze(small_model(architecture))
    last = max(site.depth for site in base.sites())
    standing = [
        graft_at(base, *sites_of(base, role="down")),
        graft_at(base, sites_of(base, role="block")[0], kind="block"),
    ]
    tried = set()
    for site in base.sites():
        kind = {"linear": "lora", "block": "block", "insertion": "layer", "mlp": "width"}[site.sort]
        if kind == "width" and architecture in ("gpt2", "opt"):
            continue
        graft = graft_at(base, site, kind=kind, **({"width": 2} if kind == "width" else {}))
        boundary = boundary_of(base, standing, [site])
        below = Below(base, standing, [boundary]) if boundary else None
        above = Above(base, standing, [graft], boundary, lambda ids, below=below: next(iter(below.read(ids).values())))
        assert torch.equal(answers(above, IDS), answers(compose(base, [*standing, graft]), IDS)), site
        tried.add(boundary)
    assert tried >= set(range(last + 1)), "boundaries below, between and above the blocks"


def test_the_boundary_is_below_all_that_changes(base: FrozenBase) -> None:
    by_key = {site.key: site for site in base.sites()}
    first, second = blocks_of(base)
    down, up = by_key[f"{first}.mlp.down_proj"], by_key[f"{second}.mlp.up_proj"]
    block = by_key[f"{first}:block"]
    head = next(site for site in base.sites() if site.role == "head")
    assert [boundary_of(base, (), [site]) for site in (down, up, block, head)] == [0, 1, 1, 2]
    assert boundary_of(base, (), [up, down]) == 0
    assert boundary_of(base, [graft_at(base, block, kind="block")], [block]) == 1


def test_in_half_precision_what_stands_at_a_block_is_not_below_what_is_put_there(base: FrozenBase) -> None:
    half = freeze(base.model.bfloat16())
    [block, *_] = sites_of(half, role="block")
    standing = graft_at(half, block, kind="block")
    assert boundary_of(half, [], [block]) == 1
    assert boundary_of(half, [standing], [block]) == 0, "one value changed twice, without rounding between"


def test_an_encoder_decoder_has_no_boundary() -> None:
    base = freeze(small_model("t5_relu"))
    assert blocks_of(base) == ()
    assert boundary_of(base, (), [base.sites()[-1]]) == 0


def test_below_computes_no_more_than_it_is_asked_for(base: FrozenBase) -> None:
    called = []
    for name in blocks_of(base):
        base.model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.append(name))
    try:
        below = Below(base, (), [1, 2])
        called.clear()  # of what finding the base's sites took
        both = below.read(IDS)
        assert len(called) == 2
        first = below.read(IDS, up_to=1)
    finally:
        for name in blocks_of(base):
            base.model.get_submodule(name)._forward_hooks.clear()
    assert len(called) == 3
    assert torch.equal(first[1], both[1])


@pytest.mark.parametrize("stacked", [False, True])
def test_grafts_side_by_side_answer_as_each_does_alone(base: FrozenBase, *, stacked: bool) -> None:
    ups, downs = sites_of(base, role="up"), sites_of(base, role="down")
    grafts = [
        graft_at(base, ups[0], seed=1),
        graft_at(base, ups[0], seed=2),
        graft_at(base, ups[0], rank=3, seed=3),
        graft_at(base, *downs, kind="phi", rank=2, seed=4),
        graft_at(base, downs[1], kind="rescale", seed=5),
        graft_at(base, sites_of(base, role="block")[1], kind="block", seed=6),
        graft_at(base, sites_of(base, role="insertion")[0], kind="layer", seed=7),
    ]
    standing = [graft_at(base, *ups, seed=8)]
    together = answers(compose_beside(base, standing, grafts, stacked=stacked), IDS.repeat(len(grafts), 1))
    for graft, found in zip(grafts, together.chunk(len(grafts)), strict=True):
        alone = answers(compose(base, [*standing, graft]), IDS)
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-6)


def test_what_one_graft_does_never_reaches_its_neighbour(base: FrozenBase) -> None:
    [up, *_] = sites_of(base, role="up")
    grafts = [graft_at(base, up, seed=seed) for seed in range(3)]
    with torch.no_grad():
        for parameter in grafts[1].parameters():
            parameter.fill_(float("nan"))
    model = compose_beside(base, (), grafts, stacked=True)
    nats = token_nats(model, IDS.repeat(3, 1)).view(3, -1)
    assert nats[1].isnan().all()
    assert nats[[0, 2]].isfinite().all()
    nats.mean(1).sum().backward()
    assert all(parameter.grad.isfinite().all() for graft in (grafts[0], grafts[2]) for parameter in graft.parameters())


def test_only_what_is_above_the_lowest_graft_gets_a_gradient(base: FrozenBase) -> None:
    graft = graft_at(base, sites_of(base, role="up")[1])
    below = Below(base, (), [1])
    above = Above(base, (), [graft], 1, lambda ids: below.read(ids)[1])
    token_nats(above, IDS).mean().backward()
    assert all(parameter.grad is not None for parameter in graft.parameters())
    assert all(parameter.grad is None for parameter in base.model.parameters())
    assert not any(parameter.requires_grad for name, parameter in above.named_parameters() if "beside" not in name)


def test_recomputing_gives_the_same_gradients(base: FrozenBase) -> None:
    graft, found = graft_at(base, *sites_of(base, role="up")), []
    for recompute in (False, True):
        above = Above(base, (), [graft], 0, lambda ids: ids, recompute=recompute)
        token_nats(above, IDS).mean().backward()
        found.append([parameter.grad for parameter in graft.parameters()])
        graft.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
