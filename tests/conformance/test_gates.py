from collections.abc import Mapping
from typing import Any

from saint import discovery
from saint.records import (
    Cost,
    Decision,
    Evidence,
    Footprint,
    Interaction,
    Interval,
    Overlap,
    Removal,
    SafetyMeasure,
    Spread,
)
from saint.testing import GateSuite, an_evidence


def interval(low: float, high: float) -> Interval:
    return Interval(estimate=(low + high) / 2, low=low, high=high, standard_error=(high - low) / 4, num_documents=50)


class TestGain(GateSuite):
    gate = "gain"
    settings: Mapping[str, Any] = {"at_least_bpb": 0.05}
    accepted = an_evidence()
    refused = an_evidence(gain_bpb=interval(-0.01, 0.01))


class TestCanary(GateSuite):
    gate = "canary"
    settings: Mapping[str, Any] = {}
    accepted = an_evidence()
    refused = an_evidence(canary_p=1e-6)


class TestRetention(GateSuite):
    gate = "retention"
    settings: Mapping[str, Any] = {"at_most_bpb": 0.05}
    accepted = an_evidence()
    refused = an_evidence(drift_bpb={"code": interval(0.06, 0.08), "other": interval(0.0, 0.09)})


class TestCost(GateSuite):
    gate = "cost"
    settings: Mapping[str, Any] = {"at_most_params": 100, "at_most_flops_per_token": 10}
    accepted = an_evidence()
    refused = an_evidence(cost=Cost(num_params=16, flops_per_token=64, foldable=False))


class TestRollback(GateSuite):
    gate = "rollback"
    settings: Mapping[str, Any] = {}
    accepted = an_evidence()
    refused = an_evidence(removal=Removal(restored=False, max_abs_difference=0.5, num_tokens=64))


STANDING = "4" * 64


def beside(gain: Interval, *, angle: float | None = None, **changes: Any) -> Evidence:
    """Evidence of a graft on a stack of one."""
    with_it = Interaction(graft=STANDING, gain_bpb={"prose": interval(-0.01, 0.01), "code": gain}, angle=angle)
    return an_evidence(stack=(STANDING,), interactions=(with_it,), **changes)


def footprint(**kl_nats: float) -> Footprint:
    return Footprint(kl_nats=kl_nats, saved_by_class={}, saved_by_position={}, effective_rank=2.0, energy=1e-3)


class TestCostAsRatio(GateSuite):
    gate = "cost"
    settings: Mapping[str, Any] = {"at_most_flops_ratio": 1.05}
    accepted = an_evidence(cost=Cost(num_params=16, flops_ratio=1.05))
    refused = an_evidence(cost=Cost(num_params=16, flops_ratio=1.051))


class TestConflict(GateSuite):
    gate = "conflict"
    settings: Mapping[str, Any] = {"at_least_bpb": -0.02}
    accepted = beside(interval(-0.01, 0.0))
    refused = beside(interval(-0.3, -0.1))


class TestConflictOfDirections(GateSuite):
    gate = "conflict"
    settings: Mapping[str, Any] = {"at_most_angle": 0.9, "at_most_inside": 0.5}
    accepted = beside(interval(-0.3, -0.1), angle=0.9)
    refused = beside(interval(0.0, 0.1), overlap=Overlap(inputs=0.9, outputs=0.9, inside=0.8))


class TestInterpretability(GateSuite):
    gate = "interpretability"
    settings: Mapping[str, Any] = {"at_most_off_domain_kl": 0.02}
    accepted = an_evidence()
    refused = an_evidence(footprint=footprint(prose=0.01, code=0.01, law=0.03))


class TestInterpretabilityOfWeights(GateSuite):
    gate = "interpretability"
    settings: Mapping[str, Any] = {"at_most_off_domain_kl": 1, "at_most_on_domain_kl": 0.1, "at_most_energy": 0.01}
    accepted = an_evidence()
    refused = an_evidence(footprint=footprint(prose=0.2, code=0.01))


def stereotypes(low: float, high: float) -> SafetyMeasure:
    spread = Spread(mean=-(low + high) / 2, deviation=0.1, num_documents=50)
    return SafetyMeasure(sort="preference", rise=interval(low, high), after=0.2, spread=spread)


class TestSafety(GateSuite):
    gate = "safety"
    settings: Mapping[str, Any] = {"at_most_rise": 0.05, "suites": {"stereotypes": {"at_most_rise": 0.1}}}
    accepted = an_evidence(safety={"stereotypes": stereotypes(-0.02, 0.08)})
    refused = an_evidence(safety={"stereotypes": stereotypes(0.11, 0.2)})


def test_every_gate_is_in_a_suite() -> None:
    suites: list[type[GateSuite]] = [TestGain, TestRetention, TestCost, TestRollback, TestSafety, TestConflict]
    suites += [TestInterpretability, TestCanary]
    assert sorted(suite.gate for suite in suites) == discovery.names("gates")


def unmeasured() -> Evidence:
    return an_evidence(drift_bpb={}, removal=None)


def test_what_was_not_measured_defers() -> None:
    from saint.gates import build_gates, verdicts

    decision = Decision(
        verdicts=verdicts(unmeasured(), build_gates({"retention": {"at_most_bpb": 0.1}, "rollback": {}}))
    )
    assert [verdict.outcome for verdict in decision.verdicts] == ["defer", "defer"]
    assert decision.outcome == "defer"
