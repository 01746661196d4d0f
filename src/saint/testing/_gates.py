from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from saint.gates import Gate, build_gates
from saint.records import Candidate, Cost, Evidence, Footprint, Interval, Outcome, Removal, Site, Spread


def an_evidence(**changes: Any) -> Evidence:
    """Evidence that a reasonable policy accepts, with `changes`."""
    site = Site(sort="linear", module="model.layers.0.mlp.up_proj", role="up", depth=0, d_in=16, d_out=24)
    evidence = Evidence(
        graft="1" * 64,
        candidate=Candidate(sites=(site,), kind="phi", options={"rank": 4}),
        base="0" * 64,
        stack=(),
        documents={"prose": "2" * 64, "code": "3" * 64},
        grown="prose",
        gain_bpb=Interval(estimate=0.2, low=0.18, high=0.22, standard_error=0.01, num_documents=50),
        regression_bpb={"code": Interval(estimate=0.01, low=0.0, high=0.02, standard_error=0.005, num_documents=50)},
        drift_bpb={"code": Interval(estimate=0.01, low=0.0, high=0.02, standard_error=0.005, num_documents=50)},
        spreads={
            "prose": {against: Spread(mean=0.2, deviation=0.1, num_documents=50) for against in ("stack", "base")},
            "code": {against: Spread(mean=-0.01, deviation=0.1, num_documents=50) for against in ("stack", "base")},
        },
        canary_p=0.4,
        cost=Cost(num_params=16, num_bytes=512, train_tokens=1000, flops_per_token=64, foldable=True),
        removal=Removal(restored=True, max_abs_difference=0.0, num_tokens=64),
        footprint=Footprint(
            kl_nats={"prose": 0.1, "code": 0.01},
            saved_by_class={"prose": {"word start": 0.3, "other": 0.1}, "code": {"word start": -0.01}},
            saved_by_position={"prose": (0.2, 0.1), "code": (0.0, -0.01)},
            effective_rank=2.5,
            energy=1e-4,
        ),
    )
    return replace(evidence, **changes)


class GateSuite:
    """What every gate must keep: subclass it and set `gate`, settings, and evidence for each answer."""

    gate: str
    settings: Mapping[str, Any]
    accepted: Evidence
    refused: Evidence
    """Evidence that must be rejected: a gate that cannot fail is none."""

    def build(self) -> Gate:
        """The gate as a plan builds it."""
        return build_gates({self.gate: self.settings})[0]

    def test_it_accepts_what_is_good(self) -> None:
        assert self.build().judge(self.accepted).outcome is Outcome.ACCEPT

    def test_it_can_fail(self) -> None:
        assert self.build().judge(self.refused).outcome is Outcome.REJECT

    def test_asking_twice_answers_the_same(self) -> None:
        gate = self.build()
        assert gate.judge(self.refused) == gate.judge(self.refused)

    def test_its_verdict_has_its_name_and_a_reason(self) -> None:
        verdict = self.build().judge(self.refused)
        assert verdict.gate == self.gate
        assert any(letter.isdigit() for letter in verdict.reason)
