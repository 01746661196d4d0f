"""Compositions have names, are made of grafts that stand, and say whether they were judged as they are."""

import re
from pathlib import Path
from typing import Any

import pytest

from made_up_garden import BASE, FERN, LILY, MOSS, ROSE, Cutting, judged, made_up_garden
from saint.errors import ConfigError, LedgerError, RolledBackError, SaintError, UnknownNameError
from saint.records import Scaled, composition_digest
from saint.registry import Registry, compositions_in, find, replay, verify

IVY = Cutting("ivy")


def whole(*cuttings: Cutting) -> list[Scaled]:
    return [Scaled(graft=cutting.digest) for cutting in cuttings]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """ROSE and FERN stand, FERN on what it was not judged on; LILY was rolled back, MOSS rejected."""
    return made_up_garden(tmp_path / "garden")


def test_a_composition_is_named_renamed_and_removed_and_its_history_stays(registry: Registry) -> None:
    first = registry.compose("code", whole(FERN, ROSE), reason="as a start")
    assert first.digest == composition_digest(BASE, [FERN.digest, ROSE.digest])
    second = registry.compose("code", [Scaled(graft=ROSE.digest, scale=0.5)], reason="too much")
    assert (second.grafts, second.reason, second.number) == (
        (Scaled(graft=ROSE.digest, scale=0.5),),
        "too much",
        (first.number or 0) + 1,
    )
    assert second.digest not in (first.digest, composition_digest(BASE, [ROSE.digest]))
    again = Registry.open(registry.folder)
    assert again.composition("code") == second
    assert [one.name for one in compositions_in(again.state)] == ["base", "standing", "code"]
    again.remove_composition("code", reason="unused")
    with pytest.raises(UnknownNameError, match="nothing is called 'code'; give one of the compositions base, standing"):
        registry.composition("code")
    with pytest.raises(UnknownNameError, match="so it cannot be removed; named are none"):
        registry.remove_composition("code", reason="again")
    assert [event.name for event in find(registry, graft=ROSE.digest)][-2:] == ["composed"] * 2
    assert [event.name for event in registry.ledger.events()][-3:] == ["composed", "composed", "composition_removed"]
    assert replay(registry.ledger.events()).compositions == {}


REFUSED: dict[str, tuple[str, Any, str]] = {
    "nothing": ("code", [], "has no grafts, which is what base means"),
    "base": ("base", whole(ROSE), "'base' cannot name a composition"),
    "standing": ("standing", whole(ROSE), "'standing' cannot name a composition"),
    "path": ("../code", whole(ROSE), "'../code' cannot name a composition"),
    "long": ("a" * 65, whole(ROSE), "cannot name a composition"),
    "twice": ("code", whole(ROSE, FERN, ROSE), f"{ROSE.digest[:12]} is twice in composition code"),
    "rolled back": ("code", whole(ROSE, LILY), f"{LILY.digest[:12]} cannot be composed, its status is 'rolled back'"),
    "rejected": ("code", whole(MOSS), f"{MOSS.digest[:12]} cannot be composed, its status is 'rejected'"),
    "unknown": ("code", whole(IVY), f"no graft of this registry has the digest {IVY.digest[:12]}"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_a_composition_is_refused_and_nothing_is_written(what: str, registry: Registry) -> None:
    name, grafts, complaint = REFUSED[what]
    before = registry.ledger.num_files()
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        registry.compose(name, grafts, reason="")
    assert registry.ledger.num_files() == before


def test_a_quarantined_graft_is_refused(registry: Registry) -> None:
    registry.write("quarantined", {"graft": ROSE.digest, "reason": "harmful"})
    with pytest.raises(ConfigError, match="its status is 'quarantined'"):
        registry.compose("code", whole(ROSE), reason="")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf"), 0.0, 1e-9, 1001.0])
def test_a_scale_that_says_nothing_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"expected a number whose size is from 0\.001 to 1000"):
        Scaled(graft=ROSE.digest, scale=scale)


def test_only_what_was_accepted_together_in_that_order_at_full_scale_is_validated(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    for cutting in (ROSE, FERN, IVY):
        judged(registry, cutting)
    as_named = {
        "prefix": (whole(ROSE, FERN), True),
        "all": (whole(ROSE, FERN, IVY), True),
        "reversed": (whole(FERN, ROSE), False),
        "one": (whole(FERN), False),
        "gap": (whole(ROSE, IVY), False),
        "half": ([Scaled(graft=ROSE.digest, scale=0.5)], False),
    }
    for name, (grafts, is_validated) in as_named.items():
        assert registry.compose(name, grafts, reason="").is_validated is is_validated, name
    judgement = registry.composition("prefix").judgement
    assert judgement is not None
    assert judgement.digest == FERN.digest
    assert registry.composition("reversed").judgement is None
    assert registry.composition("base").is_validated
    assert registry.composition("standing").digest == registry.composition("all").digest
    assert registry.composition(IVY.digest[:8]).grafts == tuple(whole(ROSE, FERN, IVY))


def test_a_rollback_flags_what_holds_the_graft_and_what_stands_on_the_gap(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "garden")
    for cutting in (ROSE, FERN, IVY):
        judged(registry, cutting)
    registry.compose("both", whole(ROSE, FERN), reason="")
    registry.compose("rose", whole(ROSE), reason="")
    registry.rollback(FERN.digest, reason="harmful")
    both = registry.composition("both")
    assert (both.withdrawn, both.is_validated) == ((FERN.digest,), False)
    complaint = f"holds {FERN.digest[:12]}, which does not stand any more; name what is left of it anew"
    with pytest.raises(RolledBackError, match=complaint):
        both.must_stand()
    assert registry.composition("rose").must_stand().is_validated
    assert not registry.composition("standing").is_validated  # IVY was judged on FERN
    assert registry.composition("standing").judgement is None
    judged(registry, FERN)
    assert registry.composition("both").withdrawn == ()  # it may be used again, though not as it was judged
    with pytest.raises(UnknownNameError, match="nothing is called 'no such'"):
        registry.composition("no such")
    with pytest.raises(UnknownNameError, match="nothing is called ''"):
        registry.composition("")


WRITTEN: dict[str, dict[str, Any]] = {
    "unknown": {"grafts": [{"graft": IVY.digest, "scale": 1}], "composition": composition_digest(BASE, [IVY.digest])},
    "gone": {"grafts": [{"graft": LILY.digest, "scale": 1}], "composition": composition_digest(BASE, [LILY.digest])},
    "other digest": {"grafts": [{"graft": ROSE.digest, "scale": 1}], "composition": "0" * 64},
    "scale": {"grafts": [{"graft": ROSE.digest, "scale": 0}], "composition": "0" * 64},
    "no list": {"grafts": 3, "composition": "0" * 64},
}


@pytest.mark.parametrize("what", WRITTEN)
def test_an_entry_that_names_what_it_must_not_is_not_written_and_does_not_verify(what: str, registry: Registry) -> None:
    body = {"name": "code", "reason": "", **WRITTEN[what]}
    with pytest.raises(LedgerError, match="does not say what a 'composed' entry has to"):
        registry.write("composed", body)
    registry.ledger._must_follow = None  # as whoever writes the files by hand
    registry.write("composed", body)
    [problem] = verify(Registry.open(registry.folder)).problems
    assert "does not say what a 'composed' entry has to" in problem


def test_a_removal_of_what_has_no_such_name_does_not_verify(registry: Registry) -> None:
    registry.compose("code", whole(ROSE), reason="")
    for body in ({"name": "prose", "composition": "0" * 64}, {"name": "code", "composition": "0" * 64}):
        with pytest.raises(SaintError, match="composition"):
            registry.write("composition_removed", {**body, "reason": ""})
