"""What was judged is kept, what stands is a replay of it, and nothing is judged on a past that has moved on."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saint.errors import (
    BaseChangedError,
    BusyError,
    LedgerError,
    NewerFormatError,
    NotARegistryError,
    StaleEvidenceError,
    UnknownNameError,
)
from saint.records import Decision, Outcome, Verdict, to_canonical
from saint.registry import Ledger, Registry, verify
from saint.testing import an_evidence


@dataclass(frozen=True)
class Cutting:
    """All that the registry needs to know of a graft."""

    name: str

    def to_bytes(self) -> bytes:
        return f"weights of {self.name}".encode()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


ROSE, LILY, FERN = Cutting("rose"), Cutting("lily"), Cutting("fern")


def decision(outcome: str = "accept") -> Decision:
    return Decision(verdicts=(Verdict(gate="gain", outcome=Outcome(outcome), reason="gain +0.2"),))


def record(registry: Registry, graft: Cutting, outcome: str = "accept", **changes: Any) -> str:
    evidence = an_evidence(graft=graft.digest, **{"stack": tuple(registry.state.standing), **changes})
    return registry.record(graft, evidence, decision(outcome))


def standing(registry: Registry) -> list[str]:
    return [entry.digest for entry in registry.accepted()]


def statuses(registry: Registry) -> dict[str, str]:
    return {entry.digest: entry.status for entry in registry.state.judged}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "garden")


@pytest.fixture
def grown(registry: Registry) -> Registry:
    for graft in (ROSE, LILY, FERN):
        record(registry, graft)
    return registry


def test_accepted_deferred_and_rejected_grafts_are_all_kept(registry: Registry) -> None:
    record(registry, ROSE, "accept")
    record(registry, LILY, "defer")
    record(registry, FERN, "reject")
    assert statuses(registry) == {ROSE.digest: "stands", LILY.digest: "deferred", FERN.digest: "rejected"}
    assert standing(registry) == [ROSE.digest]
    assert [registry.payload(graft.digest) for graft in (ROSE, LILY, FERN)] == [
        graft.to_bytes() for graft in (ROSE, LILY, FERN)
    ]
    assert verify(registry).num_blobs == 3


def test_grafts_stand_in_the_order_in_which_they_were_accepted(grown: Registry) -> None:
    assert standing(grown) == [ROSE.digest, LILY.digest, FERN.digest]


def test_the_state_is_a_replay(grown: Registry) -> None:
    grown.rollback(LILY.digest, reason="worse on code")
    assert Registry.open(grown.folder).state == grown.state


def test_what_was_recorded_is_read_back_whole(registry: Registry) -> None:
    evidence, said = an_evidence(graft=ROSE.digest, logits="7" * 64), decision()
    registry.record(ROSE, evidence, said, round_number=2)
    entry = Registry.open(registry.folder).entry(ROSE.digest)
    assert (entry.evidence, entry.decision, entry.candidate) == (evidence, said, evidence.candidate)
    assert (entry.round, entry.number) == (2, 0)


def test_evidence_about_another_graft_is_refused(registry: Registry) -> None:
    with pytest.raises(LedgerError, match=f"about graft {LILY.digest[:12]}, not {ROSE.digest[:12]}"):
        registry.record(ROSE, an_evidence(graft=LILY.digest), decision())
    assert registry.ledger.events() == []


def test_evidence_from_another_stack_is_stale(grown: Registry) -> None:
    other = Cutting("moss")
    for stack in ((), (LILY.digest, ROSE.digest, FERN.digest), (ROSE.digest, LILY.digest)):
        with pytest.raises(StaleEvidenceError, match="evaluate it again on the present stack"):
            record(grown, other, stack=stack)
    assert len(grown.ledger.events()) == 3


def test_evidence_goes_stale_when_another_process_accepts_first(registry: Registry) -> None:
    elsewhere = Registry.open(registry.folder)
    assert registry.state.standing == []
    record(elsewhere, ROSE)
    with pytest.raises(StaleEvidenceError):
        record(registry, LILY, stack=())
    assert standing(registry) == [ROSE.digest]


def test_evidence_about_another_base_is_refused(registry: Registry) -> None:
    record(registry, ROSE)
    with pytest.raises(BaseChangedError, match="about base 000000000000, the evidence about 999999999999"):
        record(registry, LILY, base="9" * 64)
    assert len(registry.ledger.events()) == 1


def test_a_graft_that_stands_is_not_put_on_top_of_itself(registry: Registry) -> None:
    record(registry, ROSE)
    with pytest.raises(LedgerError, match=f"{ROSE.digest[:12]} stands already"):
        record(registry, ROSE)
    registry.rollback(ROSE.digest, reason="to try")
    assert standing(registry) == []


def test_rolling_back_in_the_middle_leaves_the_others_standing_and_says_what_is_unvalidated(grown: Registry) -> None:
    assert grown.rollback(LILY.digest[:10], reason="worse on code") == LILY.digest
    assert standing(grown) == [ROSE.digest, FERN.digest]
    assert [entry.unvalidated for entry in grown.accepted()] == [False, True]
    taken = grown.entry(LILY.digest)
    assert (taken.status, taken.rollback_reason) == ("rolled back", "worse on code")
    assert not taken.unvalidated


def test_rolling_back_the_top_leaves_the_rest_validated(grown: Registry) -> None:
    grown.rollback(FERN.digest, reason="worse on code")
    assert [entry.unvalidated for entry in grown.accepted()] == [False, False]


def test_nothing_is_rolled_back_under_whoever_is_at_work_on_what_stands(grown: Registry) -> None:
    elsewhere = Registry.open(grown.folder)
    with elsewhere.alone():
        with pytest.raises(BusyError, match="another process grows"):
            grown.rollback(FERN.digest, reason="worse on code")
        elsewhere.take_out(ROSE.digest, reason="worse on code")
    assert standing(grown) == [LILY.digest, FERN.digest]
    grown.rollback(FERN.digest, reason="worse on code")
    assert standing(grown) == [LILY.digest]


def test_the_logits_on_record_are_of_just_what_stands(registry: Registry) -> None:
    for number, graft in enumerate((ROSE, LILY, FERN)):
        record(registry, graft, logits=str(number) * 64)
        assert registry.state.logits == str(number) * 64
    registry.rollback(LILY.digest, reason="worse on code")
    assert registry.state.logits == ""
    again = an_evidence(graft=FERN.digest, stack=(ROSE.digest,), logits="7" * 64)
    registry.rejudge(again, decision("defer"))
    assert (registry.state.logits, registry.accepted()[-1].unvalidated) == ("7" * 64, True)
    registry.rollback(ROSE.digest, reason="worse on code")
    assert registry.state.logits == "", "it was judged again on what is gone"
    registry.rollback(FERN.digest, reason="worse on code")
    assert registry.state.logits == ""


def test_rolling_back_deletes_nothing(grown: Registry) -> None:
    before = {path: path.read_bytes() for path in grown.folder.rglob("*") if path.is_file()}
    grown.rollback(ROSE.digest, reason="worse on code")
    assert before.items() <= {path: path.read_bytes() for path in grown.folder.rglob("*") if path.is_file()}.items()
    assert grown.payload(ROSE.digest) == ROSE.to_bytes()
    assert verify(grown).problems == ()


def test_a_graft_may_come_back_once_it_was_judged_on_the_present_stack(grown: Registry) -> None:
    grown.rollback(ROSE.digest, reason="worse on code")
    record(grown, ROSE)
    assert standing(grown) == [LILY.digest, FERN.digest, ROSE.digest]
    assert [entry.unvalidated for entry in grown.accepted()] == [True, True, False]
    assert [entry.status for entry in grown.state.judged if entry.digest == ROSE.digest] == ["rolled back", "stands"]
    assert grown.entry(ROSE.digest).status == "stands"


def test_what_does_not_stand_cannot_be_rolled_back_and_what_stands_is_listed(registry: Registry) -> None:
    record(registry, ROSE)
    record(registry, LILY, "defer")
    with pytest.raises(UnknownNameError, match=f"{LILY.digest[:12]} does not stand.*standing: {ROSE.digest[:12]}"):
        registry.rollback(LILY.digest, reason="x")
    registry.rollback(ROSE.digest, reason="x")
    with pytest.raises(UnknownNameError, match=f"{ROSE.digest[:12]} does not stand.*standing: none"):
        registry.rollback(ROSE.digest, reason="x")
    assert len(registry.ledger.events()) == 3


def test_an_unknown_digest_is_refused_and_the_known_ones_are_listed(grown: Registry) -> None:
    with pytest.raises(UnknownNameError, match="no graft of this registry has the digest 'zzz'") as refused:
        grown.rollback("zzz", reason="x")
    assert all(graft.digest[:12] in str(refused.value) for graft in (ROSE, LILY, FERN))
    assert refused.value.exit_status == 2


def test_a_digest_that_could_be_several_grafts_is_refused(registry: Registry) -> None:
    grafts = [Cutting(f"seedling {number}") for number in range(17)]  # two of them begin with the same digit
    for graft in grafts:
        record(registry, graft, "defer")
    firsts = [graft.digest[0] for graft in grafts]
    shared = next(digit for digit in firsts if firsts.count(digit) > 1)
    with pytest.raises(UnknownNameError, match=f"several grafts of this registry has the digest '{shared}'"):
        registry.entry(shared)


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("judged", {"graft": "1" * 64}),
        ("judged", {"evidence": [], "decision": {}}),
        ("rolled_back", {"graft": "1" * 64, "reason": "it never stood"}),
        ("rolled_back", {"reason": "of nothing"}),
        ("round_closed", {"round": 5}),
        ("trained", {}),
    ],
)
def test_an_entry_that_cannot_follow_the_others_is_not_written(
    grown: Registry, event: str, body: dict[str, Any]
) -> None:
    with pytest.raises(LedgerError, match="entry 3"):
        grown.write(event, body)
    assert len(grown.ledger.events()) == 3
    Ledger(grown.store).append(event, lambda _: body)  # as a version that did not look would have
    with pytest.raises(LedgerError, match="entry 3"):
        _ = grown.state
    (problem,) = verify(grown).problems
    assert "entry 3" in problem


def test_an_event_of_a_kind_that_is_not_known_here_is_kept(grown: Registry) -> None:
    grown.write("watered", {"litres": 2})
    (event,) = grown.state.others
    assert (event.name, event.body) == ("watered", {"litres": 2})
    assert verify(grown).problems == ()


@pytest.mark.parametrize("must_exist", [True, False])
def test_a_folder_with_something_else_is_left_as_it_is(tmp_path: Path, must_exist: bool) -> None:  # noqa: FBT001
    (tmp_path / "letters.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(NotARegistryError, match="is not a registry") as refused:
        Registry.open(tmp_path, must_exist=must_exist)
    assert refused.value.exit_status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_file_is_not_a_registry(tmp_path: Path) -> None:
    file = tmp_path / "letters.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(NotARegistryError):
        Registry.open(file)
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_not_there_is_not_made_when_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotARegistryError, match="saint init"):
        Registry.open(tmp_path / "garden", must_exist=True)
    assert not (tmp_path / "garden").exists()


@pytest.mark.parametrize("found", ["", "[]", "{}", '{"format":"new"}'])
def test_a_damaged_marker_is_named(grown: Registry, found: str) -> None:
    set_marker(grown, found)
    with pytest.raises(NotARegistryError, match=r"registry\.json (is not what a registry has|has the format 'new')"):
        Registry.open(grown.folder)


def test_a_registry_of_a_newer_format_is_left_to_a_newer_version(grown: Registry) -> None:
    set_marker(grown, to_canonical({"format": 99, "hash": "sha256"}))
    before = sorted(grown.folder.rglob("*"))
    with pytest.raises(NewerFormatError, match=r"registry format 99.*update saint-g") as newer:
        Registry.open(grown.folder)
    assert newer.value.exit_status == 3
    assert sorted(grown.folder.rglob("*")) == before


def set_marker(registry: Registry, content: str) -> None:
    marker = registry.folder / "registry.json"
    marker.chmod(0o644)
    marker.write_text(content, encoding="utf-8")


def test_a_forged_last_word_shows_in_the_head_that_was_noted_elsewhere(grown: Registry) -> None:
    noted = verify(grown).head
    last = sorted(grown.folder.glob("log/*/*.json"))[-1]
    forged = json.loads(last.read_bytes())
    forged["body"]["decision"]["verdicts"][0]["outcome"] = "reject"
    last.chmod(0o644)
    last.write_text(to_canonical(forged), encoding="utf-8")
    assert verify(Registry.open(grown.folder)).head != noted


def test_who_waits_comes_before_who_was_there_already(tmp_path: Path) -> None:
    registry, order, waits = Registry.open(tmp_path), [], threading.Event()

    def come() -> None:
        with Registry.open(tmp_path).alone(waits.set):
            order.append("who waited")

    with ThreadPoolExecutor(1) as pool:
        with registry.alone():
            waiting = pool.submit(come)
            assert waits.wait(60)
            with pytest.raises(BusyError, match="another process grows"), Registry.open(tmp_path).alone():
                pass
        with registry.alone(lambda: None):
            order.append("who was there")
        waiting.result()
    assert order == ["who waited", "who was there"]
