import pytest
import torch

from saint.composition import newborn
from saint.data import Splits
from saint.errors import BaseChangedError
from saint.evaluation import Losses, evaluate
from saint.gates.rollback import Rollback
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Candidate, Outcome
from saint.testing import GraftSuite


def phi(base: FrozenBase, role: str = "up", rank: int = 3) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role)
    return newborn(base, Candidate(sites=sites, kind="phi", options={"rank": rank}))


def test_a_newborn_gains_exactly_nothing(base: FrozenBase, data: Splits) -> None:
    evidence = evaluate(base, (), phi(base), data.select, grown="prose")
    assert evidence.gain_bpb.estimate == evidence.gain_bpb.standard_error == 0.0
    assert evidence.drift_bpb["code"].estimate == 0.0


def test_gain_is_against_the_stack_and_drift_against_the_base(base: FrozenBase, data: Splits) -> None:
    below, above = GraftSuite().moved(phi(base)), GraftSuite().moved(phi(base, "down"))
    first = evaluate(base, (), below, data.select, grown="prose")
    second = evaluate(base, [below], above, data.select, grown="prose")
    assert second.stack == (below.digest,)
    both = Losses().saved(base, (), [below, above], data.select["prose"]).estimate
    assert first.gain_bpb.estimate + second.gain_bpb.estimate == pytest.approx(both, rel=1e-9)
    lost = first.regression_bpb["code"].estimate + second.regression_bpb["code"].estimate
    assert second.drift_bpb["code"].estimate == pytest.approx(lost, rel=1e-9)


def test_removal_is_measured(base: FrozenBase, data: Splits) -> None:
    evidence = evaluate(base, (), GraftSuite().moved(phi(base)), data.select, grown="prose")
    assert evidence.removal is not None
    assert evidence.removal.restored
    assert evidence.removal.num_tokens == 64
    assert Rollback().judge(evidence).outcome is Outcome.ACCEPT


def test_a_graft_that_writes_to_the_base_is_caught(base: FrozenBase, data: Splits) -> None:
    graft = phi(base)
    weight = base.model.get_submodule(graft.candidate.sites[0].module).weight

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        with torch.no_grad():
            weight.add_(1e-3)
        return y

    next(iter(graft.parts.values())).forward = forward  # type: ignore[method-assign]
    with pytest.raises(BaseChangedError, match="weights"):
        evaluate(base, (), graft, data.select, grown="prose")


def test_cost_is_counted(base: FrozenBase, data: Splits) -> None:
    graft = phi(base, "up", rank=3)
    cost = evaluate(base, (), graft, data.select, grown="prose").cost
    sites = graft.candidate.sites
    assert cost.num_params == len(sites) * 3 * 3
    assert cost.flops_per_token == sum(2 * 3 * (site.d_in + 3 + site.d_out) for site in sites)
    assert cost.num_bytes == len(graft.to_bytes())
    assert cost.foldable


def test_operations_that_are_no_matrix_products_are_counted_too(base: FrozenBase, data: Splits) -> None:
    sites = tuple(site for site in base.sites() if site.role == "up")
    graft = newborn(base, Candidate(sites=sites, kind="sparse", options={"entries": 2, "by": "random"}))
    assert evaluate(base, (), graft, data.select, grown="prose").cost.flops_per_token == len(sites) * 2 * 2


def test_what_was_measured_is_not_measured_again(
    base: FrozenBase, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, calls = Losses(), []
    measure = Losses.measure
    monkeypatch.setattr(
        Losses, "measure", lambda self, model, corpus: calls.append(corpus.name) or measure(self, model, corpus)
    )
    graft = GraftSuite().moved(phi(base))
    for _ in range(3):
        evaluate(base, (), graft, data.select, grown="prose", losses=losses)
    assert sorted(calls) == sorted(2 * ["prose/select", "code/select"]), "base and base + graft, once each"


def test_windows_and_batches_do_not_change_a_loss(base: FrozenBase, data: Splits) -> None:
    graft = GraftSuite().moved(phi(base))
    one = Losses(seq_len=32, batch_size=1).of(base, [graft], data.held_out)
    other = Losses(seq_len=32, batch_size=16).of(base, [graft], data.held_out)
    assert one == pytest.approx(other, rel=1e-5)


def test_the_ordinary_bootstrap_stands_beside_the_intervals(base: FrozenBase, data: Splits) -> None:
    evidence = evaluate(base, (), GraftSuite().moved(phi(base)), data.select, grown="prose")
    gain, drift = evidence.bootstrap_bpb["prose"], evidence.bootstrap_bpb["code"]
    assert gain.estimate == pytest.approx(evidence.gain_bpb.estimate)
    assert drift.estimate == pytest.approx(evidence.drift_bpb["code"].estimate)
    assert gain.low < gain.estimate < gain.high
    assert gain.standard_error == pytest.approx(evidence.gain_bpb.standard_error, rel=0.3)
