"""The nouns say the same on disk as in memory, and a decision is as strict as its strictest verdict."""

import json
from dataclasses import replace

import pytest

from saint import config, records
from saint.records import Decision, Evidence, Outcome, Site, Verdict
from saint.testing import an_evidence, tiny_base

SITE = Site(sort="linear", module="model.layers.0.mlp.up_proj", role="up", depth=0, d_in=16, d_out=24)


def decision(*outcomes: str) -> Decision:
    return Decision(verdicts=tuple(Verdict(gate="gain", outcome=Outcome(one), reason="0.1") for one in outcomes))


def through_json(evidence: Evidence) -> Evidence:
    return config.build(json.loads(json.dumps(records.to_plain(evidence))), Evidence, where="evidence")


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["accept", "accept"], "accept"),
        (["accept", "defer"], "defer"),
        (["defer", "reject"], "reject"),
        (["reject", "accept", "accept"], "reject"),
    ],
)
def test_a_decision_is_as_strict_as_its_strictest_verdict(verdicts: list[str], outcome: str) -> None:
    assert decision(*verdicts).outcome is Outcome(outcome)


def test_a_linear_site_is_known_by_the_name_of_its_module() -> None:
    assert SITE.key == SITE.module


def test_places_of_different_sorts_at_one_module_have_different_keys() -> None:
    keys = {replace(SITE, sort=sort).key for sort in ("linear", "block", "insertion")}
    assert len(keys) == 3
    assert all(key.startswith(SITE.module) for key in keys)


def test_no_two_sites_of_a_base_share_a_key() -> None:
    keys = [site.key for site in tiny_base().sites()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    "evidence",
    [
        an_evidence(),
        an_evidence(removal=None, drift_bpb={}, stack=("4" * 64, "5" * 64), logits="6" * 64),
        an_evidence(candidate=replace(an_evidence().candidate, options={"rank": 2, "alpha": 1.0, "basis": "random"})),
    ],
)
def test_evidence_comes_back_from_json_as_it_went_in(evidence: Evidence) -> None:
    back = through_json(evidence)
    assert back == evidence
    assert records.digest(back) == records.digest(evidence)


def test_any_change_of_evidence_changes_its_digest() -> None:
    gain = an_evidence().gain_bpb
    changed = an_evidence(gain_bpb=replace(gain, estimate=gain.estimate + 1e-15))
    assert records.digest(changed) != records.digest(an_evidence())


def test_plain_data_holds_only_what_json_has() -> None:
    plain = records.to_plain({"evidence": an_evidence(), "outcome": Outcome.DEFER, 3: (1, 2)})
    assert plain["outcome"] == "defer"
    assert type(plain["outcome"]) is str
    assert plain["3"] == [1, 2]
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize("value", [2.0**53, 2.0**60, 1e17, -3e20, 1e21, 1.5e300])
def test_a_large_whole_number_is_read_back_and_written_as_it_was(value: float) -> None:
    written = records.to_canonical({"score": value})
    back = json.loads(written)
    assert float(back["score"]) == value
    assert records.to_canonical(back) == written


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**60, 10**21, 10**400])
def test_an_integer_that_readers_of_json_would_round_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="store it as text"):
        records.to_canonical({"seed": value})


def test_a_decision_of_no_gate_accepts_nothing() -> None:
    assert Decision(verdicts=()).outcome is Outcome.DEFER
