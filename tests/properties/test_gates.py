"""Laws of the gates, whatever the numbers."""

from hypothesis import given, strategies as st

from saint.gates import verdicts
from saint.gates.cost import Cost as CostGate
from saint.gates.gain import Gain
from saint.gates.retention import Retention
from saint.records import Cost, Decision, Interval, Outcome, Verdict
from saint.testing import an_evidence

LADDER = [Outcome.REJECT, Outcome.DEFER, Outcome.ACCEPT]
small = st.floats(-1, 1, allow_nan=False)
widths = st.floats(0, 1, allow_nan=False)


def interval(low: float, width: float) -> Interval:
    return Interval(estimate=low + width / 2, low=low, high=low + width, standard_error=width / 4, num_documents=9)


@given(low=small, width=widths, lift=widths, asked=small)
def test_more_gain_never_gets_a_stricter_verdict(low: float, width: float, lift: float, asked: float) -> None:
    gate = Gain(at_least_bpb=asked)
    evidence = [an_evidence(gain_bpb=interval(at, width)) for at in (low, low + lift)]
    worse, better = (LADDER.index(gate.judge(one).outcome) for one in evidence)
    assert worse <= better


@given(low=small, width=widths, lift=widths, allowed=st.floats(0, 1))
def test_more_forgetting_never_gets_a_milder_verdict(low: float, width: float, lift: float, allowed: float) -> None:
    gate = Retention(at_most_bpb=allowed)
    evidence = [an_evidence(drift_bpb={"code": interval(at, width)}) for at in (low, low + lift)]
    better, worse = (LADDER.index(gate.judge(one).outcome) for one in evidence)
    assert worse <= better


@given(low=small, width=widths, asked=small)
def test_accept_means_that_the_whole_interval_is_on_the_right_side(low: float, width: float, asked: float) -> None:
    found = interval(low, width)
    outcome = Gain(at_least_bpb=asked).judge(an_evidence(gain_bpb=found)).outcome
    assert (outcome is Outcome.ACCEPT) == (found.low >= asked)
    assert (outcome is Outcome.REJECT) == (found.high < asked)


@given(size=st.integers(0, 1000), allowed=st.integers(0, 1000))
def test_cost_has_no_grey(size: int, allowed: int) -> None:
    outcome = CostGate(at_most_params=allowed).judge(an_evidence(cost=Cost(num_params=size))).outcome
    assert outcome is (Outcome.ACCEPT if size <= allowed else Outcome.REJECT)


@given(outcomes=st.lists(st.sampled_from(LADDER), min_size=1))
def test_the_strictest_verdict_wins(outcomes: list[Outcome]) -> None:
    decision = Decision(verdicts=tuple(Verdict(gate="g", outcome=outcome, reason="1") for outcome in outcomes))
    assert decision.outcome is min(outcomes, key=LADDER.index)


def test_all_gates_are_asked_after_a_refusal() -> None:
    bad = an_evidence(gain_bpb=interval(-0.2, 0.1), drift_bpb={"code": interval(0.5, 0.1)})
    said = verdicts(bad, [Gain(at_least_bpb=0.3), Retention(at_most_bpb=0.1)])
    assert [verdict.outcome for verdict in said] == [Outcome.REJECT, Outcome.REJECT]
