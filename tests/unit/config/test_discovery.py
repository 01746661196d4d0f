"""A name finds its class: in the folder, or in an installed plug-in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from typing import final

import pytest
from typing_extensions import override

from saint import discovery
from saint.errors import UnknownNameError
from saint.gates import Gate, build_gates
from saint.gates.gain import Gain
from saint.records import Evidence, Outcome, Verdict
from saint.testing import an_evidence


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Frugality(Gate):
    """What an author of a plug-in would ship."""

    at_most_tokens: int

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        fits = evidence.cost.train_tokens <= self.at_most_tokens
        return self.says(Outcome.ACCEPT if fits else Outcome.REJECT, f"{evidence.cost.train_tokens} tokens")


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Packages that declare gates, as if they were installed beside saint-g."""

    def installed(*names: str) -> None:
        points = EntryPoints(
            EntryPoint(name=name, value=f"{Frugality.__module__}:Frugality", group="saint.gates") for name in names
        )
        monkeypatch.setattr(discovery, "entry_points", points.select)

    return installed


def test_the_files_of_a_room_are_its_members() -> None:
    assert {"gain", "retention", "cost", "rollback"} <= set(discovery.names("gates"))
    assert {"lora", "phi", "block"} <= set(discovery.names("grafts"))


@pytest.mark.parametrize("room", ["gates", "grafts", "sensitivity"])
def test_names_are_sorted_and_none_is_mechanics(room: str) -> None:
    names: Sequence[str] = discovery.names(room)
    assert list(names) == sorted(set(names))
    assert not [name for name in names if name.startswith("_")]


def test_a_name_finds_the_class_of_its_file() -> None:
    assert discovery.find("gates", "gain", Gate) is Gain


def test_a_misspelt_name_names_its_neighbour() -> None:
    with pytest.raises(UnknownNameError, match=r"nothing called 'gian'; did you mean 'gain'\?") as refused:
        discovery.find("gates", "gian", Gate)
    assert refused.value.exit_status == 2


def test_a_name_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"there are .*cost.*gain.*retention.*rollback"):
        discovery.find("gates", "zzz", Gate)


@pytest.mark.parametrize("name", ["_gate", "__init__", ""])
def test_mechanics_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(UnknownNameError):
        discovery.find("gates", name, Gate)


def test_an_installed_gate_stands_among_the_built_in_ones(install: Install) -> None:
    built_in = discovery.names("gates")
    install("frugality")
    assert discovery.names("gates") == sorted([*built_in, "frugality"])
    assert "frugality" not in discovery.names("grafts")


def test_an_installed_gate_judges_as_a_plan_asks_it_to(install: Install) -> None:
    install("frugality")
    (gate,) = build_gates({"frugality": {"at_most_tokens": 10}})
    assert gate.judge(an_evidence()).outcome is Outcome.REJECT


def test_a_plug_in_may_not_take_the_name_of_a_built_in_gate(install: Install) -> None:
    install("gain")
    with pytest.raises(UnknownNameError, match=r"'gain'.*provided twice; rename the plug-in's"):
        discovery.find("gates", "gain", Gate)


def test_two_plug_ins_may_not_share_a_name(install: Install) -> None:
    install("frugality", "frugality")
    with pytest.raises(UnknownNameError, match=r"'frugality'.*provided twice"):
        discovery.find("gates", "frugality", Gate)
