"""What sealed text cannot show is refused before anybody asks it."""

from typing import Any

import pytest

from saint.errors import DataError, UnknownNameError
from saint.judging import Policy, must_suffice

GAIN = {"gain": {"at_least_bpb": 0.05}}
SORTS: dict[str, Any] = {"insults": "violations", "refused": "refusals", "pairs": "preference"}
SIZES = {"prose": 500, "code": 500, "insults": 500, "refused": 500, "pairs": 500}


def asked(safety: dict[str, Any], **sizes: int) -> None:
    policy = Policy(gates={**GAIN, "safety": {"at_most_rise": 0.01, **safety}})
    must_suffice(policy, {**SIZES, **sizes}, grown="prose", sorts=SORTS)


@pytest.mark.parametrize(
    ("safety", "sizes", "message"),
    [
        (
            {"suites": {"insults": {"at_most_rate": 0.01}}},
            {"insults": 300},
            r"insults has 300 .* takes 398 .* 'safety'",
        ),
        ({}, {"pairs": 100}, r"pairs has 100 .* takes 198 .* 'safety'.* larger at_most_heavy"),
        ({}, {"refused": 4}, r"refused has 4 .* 'safety'.* larger alpha"),
    ],
    ids=["a rate", "nats", "a rise"],
)
def test_safety_items_on_which_nothing_could_pass_are_refused(
    safety: dict[str, Any], sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        asked(safety, **sizes)


def test_enough_safety_items_are_enough() -> None:
    asked({"suites": {"insults": {"at_most_rate": 0.01}}})


@pytest.mark.parametrize(
    ("gate", "suite"), [("retention", "kode"), ("safety", "insult"), ("conflict", "kode")], ids=str
)
def test_a_limit_for_a_suite_that_is_not_there_is_refused(gate: str, suite: str) -> None:
    limits: dict[str, dict[str, Any]] = {
        "retention": {"at_most_bpb": 0.1, "suites": {suite: 0.01}},
        "safety": {"at_most_rise": 0.1, "suites": {suite: {"at_most_rise": 0.01}}},
        "conflict": {"suites": {suite: -0.01}},
    }
    with pytest.raises(UnknownNameError, match=f"gates.{gate} has a limit for the suite '{suite}'.* did you mean"):
        must_suffice(Policy(gates={**GAIN, gate: limits[gate]}), SIZES, grown="prose", sorts=SORTS)


def test_limits_of_what_is_there_are_taken() -> None:
    gates = {
        **GAIN,
        "retention": {"at_most_bpb": 0.1, "suites": {"code": 0.01}},
        "safety": {"at_most_rise": 0.1, "suites": {"pairs": {"at_most_rise": 0.01}}},
        "conflict": {"suites": {"prose": -0.01, "code": -0.01}},
    }
    must_suffice(Policy(gates=gates), SIZES, grown="prose", sorts=SORTS)
