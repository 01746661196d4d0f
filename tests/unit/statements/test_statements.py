"""Statements say what the ledger says, of the bytes that it means, in exactly the shape that others expect."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from made_up_garden import BASE, FERN, LILY, MOSS, ROSE, TEXT, Cutting, made_up_garden
from saint.errors import StatementError
from saint.records import composition_digest, to_canonical
from saint.registry import Entry, Registry
from saint.statements import (
    PROVENANCE,
    composition_provenance,
    decision,
    must_be_statement,
    provenance,
    statement,
    test_result as result_of,
)

MAKERS = [provenance, result_of, decision]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return made_up_garden(tmp_path_factory.mktemp("statements") / "garden")


def entry(registry: Registry, graft: Cutting) -> Entry:
    return registry.entry(graft.digest)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("graft", [ROSE, LILY, FERN, MOSS], ids=lambda graft: graft.name)
def test_a_statement_is_about_the_stored_bytes_and_spells_the_same_each_time(
    registry: Registry, make: Callable[..., dict[str, Any]], graft: Cutting
) -> None:
    made = make(entry(registry, graft), registry.state)
    must_be_statement(made)
    assert [one["digest"]["sha256"] for one in made["subject"]] == [graft.digest]
    assert to_canonical(made) == to_canonical(make(entry(registry, graft), registry.state))


def test_provenance_names_base_stack_and_text(registry: Registry) -> None:
    predicate = provenance(entry(registry, FERN), registry.state)["predicate"]
    found = {one["name"]: one["digest"]["sha256"] for one in predicate["buildDefinition"]["resolvedDependencies"]}
    assert found == {
        "base": BASE,
        f"graft-{ROSE.digest[:12]}": ROSE.digest,
        f"graft-{LILY.digest[:12]}": LILY.digest,
        "prose/train": TEXT["prose/train"]["digest"],
        "plan": "d" * 64,
    }


def test_a_graft_that_was_not_trained_here_is_said_to_be_handed_in(registry: Registry) -> None:
    definition = provenance(entry(registry, MOSS), registry.state)["predicate"]["buildDefinition"]
    trained_here = provenance(entry(registry, FERN), registry.state)["predicate"]["buildDefinition"]
    assert definition["buildType"] != trained_here["buildType"]
    assert definition["externalParameters"]["training"] == "not recorded"
    assert [one["name"] for one in definition["resolvedDependencies"]] == ["base"]


def test_the_composition_has_exactly_what_stands_in_order(registry: Registry) -> None:
    made = composition_provenance(registry.state)
    definition = made["predicate"]["buildDefinition"]
    standing = [ROSE.digest, FERN.digest]
    assert made["subject"][0]["digest"]["sha256"] == composition_digest(BASE, standing)
    assert [one["digest"]["sha256"] for one in definition["resolvedDependencies"]] == [BASE, *standing]
    assert composition_digest(BASE, standing) != composition_digest(BASE, standing[::-1])


def test_a_test_result_is_that_of_the_gates(registry: Registry) -> None:
    passed, failed = (result_of(entry(registry, one), registry.state)["predicate"] for one in (ROSE, MOSS))
    assert (passed["result"], failed["result"]) == ("PASSED", "FAILED")
    assert (failed["passedTests"], failed["failedTests"]) == (["gain"], ["retention"])


def test_a_decision_is_bound_to_what_stood_to_the_policy_and_to_its_query(registry: Registry) -> None:
    said = decision(entry(registry, FERN), registry.state)["predicate"]
    assert said["parentComposition"] == composition_digest(BASE, [ROSE.digest, LILY.digest])
    assert (said["policy"], said["query"]["number"], said["query"]["numPassedBefore"]) == ("e" * 64, 3, 2)
    assert (said["outcome"], said["passed"]) == ("accept", True)


def _without_subject(one: dict[str, Any]) -> None:
    one["subject"] = []


def _bogus(one: dict[str, Any]) -> None:
    one["predicate"]["bogus"] = 1


def _short_digest(one: dict[str, Any]) -> None:
    one["subject"][0]["digest"]["sha256"] = "ab"


def _path_as_digest(one: dict[str, Any]) -> None:
    one["subject"][0]["digest"]["sha256"] = "../" * 20 + "etc1"


def _other_type(one: dict[str, Any]) -> None:
    one["predicateType"] = PROVENANCE + "9"


def _no_time(one: dict[str, Any]) -> None:
    one["predicate"]["decidedOn"] = "yesterday"


def _bool_as_number(one: dict[str, Any]) -> None:
    one["predicate"]["entry"] = True


def _not_finite(one: dict[str, Any]) -> None:
    one["predicate"]["query"]["logThreshold"] = float("nan")


@pytest.mark.parametrize(
    "damage",
    [
        _without_subject,
        _bogus,
        _short_digest,
        _path_as_digest,
        _other_type,
        _no_time,
        _bool_as_number,
        _not_finite,
    ],
)
def test_anything_else_is_refused(registry: Registry, damage: Callable[[dict[str, Any]], None]) -> None:
    made = copy.deepcopy(decision(entry(registry, FERN), registry.state))
    damage(made)
    with pytest.raises(StatementError):
        must_be_statement(made)


@pytest.mark.parametrize("wrong", [None, [], "statement", 3, {}])
def test_what_is_no_statement_at_all_is_refused(wrong: Any) -> None:
    with pytest.raises(StatementError):
        must_be_statement(wrong)


def test_every_field_that_is_asked_for_is_missed(registry: Registry) -> None:
    made = decision(entry(registry, FERN), registry.state)
    for name in made["predicate"]:
        less = {key: value for key, value in made["predicate"].items() if key != name}
        with pytest.raises(StatementError, match=name):
            statement({"graft": FERN.digest}, made["predicateType"], less)
