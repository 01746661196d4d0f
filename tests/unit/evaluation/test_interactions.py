"""What grafts do together beyond what they do apart."""

from functools import partial

import pytest
import torch

from saint.composition import newborn
from saint.data import Splits
from saint.evaluation import Losses, evaluate, interactions
from saint.gates.conflict import Conflict
from saint.gates.retention import Retention
from saint.grafts import Graft
from saint.models import FrozenBase, freeze, token_nats
from saint.records import Candidate, Outcome, Site
from saint.statistics import negated
from saint.testing import an_evidence, tiny_base
from small_bases import moved


def graft_at(base: FrozenBase, role: str, depth: int = 0, *, seed: int = 0, size: float = 1.0) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role and site.depth == depth)
    graft = moved(newborn(base, Candidate(sites=sites, kind="phi", options={"rank": 3})), seed=seed)
    graft.set_strength(size)
    return graft


def test_it_is_the_gain_on_the_stack_less_that_on_the_rest(base: FrozenBase, data: Splits) -> None:
    one, two, graft = (graft_at(base, role, size=9.0) for role in ("up", "gate", "down"))
    losses = Losses()
    with_one, with_two = interactions(base, [one, two], graft, data.select, losses=losses)
    assert (with_one.graft, with_two.graft) == (one.digest, two.digest)
    for domain, corpus in data.select.items():
        on_all = losses.saved(base, [one, two], [one, two, graft], corpus).estimate
        for found, rest in ((with_one, two), (with_two, one)):
            alone = losses.saved(base, [rest], [rest, graft], corpus).estimate
            assert found.gain_bpb[domain].estimate == pytest.approx(on_all - alone, rel=1e-6, abs=1e-12)
            assert found.gain_bpb[domain].num_documents == corpus.num_documents


def test_one_that_does_nothing_acts_with_none(base: FrozenBase, data: Splits) -> None:
    idle, graft = newborn(base, graft_at(base, "up").candidate), graft_at(base, "down")
    [found] = interactions(base, [idle], graft, data.select)
    assert {(gain.estimate, gain.low, gain.high) for gain in found.gain_bpb.values()} == {(0.0, 0.0, 0.0)}
    assert interactions(base, (), graft, data.select) == ()


def test_the_angle_is_that_with_the_one_that_stands(base: FrozenBase, data: Splits) -> None:
    split = {"prose": data.select["prose"]}
    graft, same, elsewhere = graft_at(base, "up"), graft_at(base, "up", seed=1), graft_at(base, "down")
    on_same, on_elsewhere = interactions(base, [same, elsewhere], graft, split)
    assert on_same.angle == pytest.approx(1.0)  # phi grafts of one rank at one site have the same bases
    assert on_elsewhere.angle is None


def test_what_is_known_is_not_measured_again(base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, calls = Losses(), []
    measure = Losses.measure
    monkeypatch.setattr(Losses, "measure", lambda *args: calls.append(args) or measure(*args))
    stack, split = [graft_at(base, "up"), graft_at(base, "gate")], {"prose": data.select["prose"]}
    for graft, num_passes in ((graft_at(base, "down"), 6), (graft_at(base, "down", 1), 3)):
        calls.clear()
        evaluate(base, stack, graft, split, grown="prose", losses=losses)
        interactions(base, stack, graft, split, losses=losses)
        assert len(calls) == num_passes  # the second time neither the base, nor the stack, nor what is left of it


@pytest.mark.slow
def test_of_many_those_that_share_a_site_and_then_the_latest_are_tried(base: FrozenBase, data: Splits) -> None:
    split, graft = {"prose": data.select["prose"]}, graft_at(base, "down")
    stack = [graft_at(base, role, seed=seed) for seed in range(2) for role in ("up", "down", "gate")]
    tried = partial(interactions, base, stack, split=split)
    assert [one.graft for one in tried(graft)] == [one.digest for one in stack]
    shares, latest = {1, 4}, {2, 3, 5}  # at most five: both that share a site, then the latest
    assert [one.graft for one in tried(graft, at_most=5)] == [stack[place].digest for place in sorted(shares | latest)]
    assert [one.graft for one in tried(graft, at_most=1)] == [stack[4].digest]
    assert [one.graft for one in tried(graft_at(base, "o"), at_most=2)] == [one.digest for one in stack[-2:]]


@pytest.fixture(scope="module")
def learnt(data: Splits) -> FrozenBase:
    """A base that has learnt enough code to lose some of it."""
    model = tiny_base().model
    model.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batches = data.corpora["code/train"].batches(batch_size=8, seq_len=32, seed=0)
    for step in range(80):
        optimizer.zero_grad()
        token_nats(model, batches[step]).mean().backward()
        optimizer.step()
    return freeze(model, tokenizer=data.tokenizer)


def louder(base: FrozenBase, site: Site, channel: int, *, times: float) -> Graft:
    """A graft that adds to the weight at `site` so many times what it has of one channel of the MLP."""
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 1, "alpha": 1.0}))
    weight, part = base.model.get_submodule(site.module).weight, graft.parts[site.key]
    its = torch.zeros(1, weight.shape[0] if site.role == "up" else weight.shape[1])
    its[0, channel] = 1
    with torch.no_grad():
        part.get_parameter("a").copy_(times * weight[channel][None] if site.role == "up" else its)
        part.get_parameter("b").copy_(its.T if site.role == "up" else times * weight[:, channel][:, None])
    return graft


def test_two_grafts_that_are_harmless_alone_and_harmful_together_are_caught(learnt: FrozenBase, data: Splits) -> None:
    """One makes a quiet channel loud, the other what is read of it: either moves little, both together a lot."""
    up, down = (next(s for s in learnt.sites() if s.role == role and s.depth == 0) for role in ("up", "down"))
    weights = [learnt.model.get_submodule(site.module).weight for site in (up, down)]
    quiet = int((weights[0].norm(dim=1) * weights[1].norm(dim=0)).argmin())
    first, second = louder(learnt, up, quiet, times=200), louder(learnt, down, quiet, times=200)
    losses, code = Losses(seq_len=32), {"code": data.select["code"]}
    gates = [Retention(at_most_bpb=0.1), Conflict(at_least_bpb=-0.1)]

    def said(stack: list[Graft], graft: Graft) -> tuple[float, list[Outcome]]:
        lost = negated(losses.saved(learnt, (), [*stack, graft], code["code"]))
        found = interactions(learnt, stack, graft, code, losses=losses)
        standing = tuple(one.digest for one in stack)
        evidence = an_evidence(graft=graft.digest, stack=standing, drift_bpb={"code": lost}, interactions=found)
        return lost.high, [gate.judge(evidence).outcome for gate in gates]

    for graft in (first, second):
        lost, outcomes = said([], graft)
        assert lost < 0.05
        assert Outcome.REJECT not in outcomes
    lost, outcomes = said([first], second)
    assert outcomes == [Outcome.REJECT, Outcome.REJECT]
    assert lost > 0.15
    [found] = interactions(learnt, [first], second, code, losses=losses)
    assert found.gain_bpb["code"].high < -0.15
    assert found.angle is None  # they share no site: their weights do not tell
