"""The chain of entries: what was written stays as it was, or reading says which file is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saint.errors import LedgerError, NewerFormatError
from saint.records import to_canonical
from saint.registry import Registry, verify


def registry_of(folder: Path, num_entries: int = 5) -> Registry:
    registry = Registry.open(folder)
    for number in range(num_entries):
        registry.write("noted", {"row": number}, contents=[f"seed {number}".encode()])
    return registry


def entries(registry: Registry) -> list[Path]:
    return sorted(registry.folder.glob("log/*/*.json"))


def blobs(registry: Registry) -> list[Path]:
    return sorted(path for path in registry.folder.glob("blobs/*/*") if path.is_file())


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def rewrite(path: Path, **changes: object) -> None:
    overwrite(path, to_canonical(json.loads(path.read_bytes()) | changes).encode())


def run(program: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_entries_are_numbered_without_gaps_and_each_carries_the_digest_of_the_one_before(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    written = [json.loads(path.read_bytes()) for path in entries(registry)]
    assert [entry["number"] for entry in written] == [0, 1, 2, 3, 4]
    digests = [event.digest for event in registry.ledger]
    assert [entry["previous"] for entry in written] == ["0" * 64, *digests[:-1]]


def test_a_folder_opened_anew_says_what_was_written(tmp_path: Path) -> None:
    written = registry_of(tmp_path).ledger.events()
    assert Registry.open(tmp_path).ledger.events() == written


def test_whatever_number_was_written_can_be_read(tmp_path: Path) -> None:
    scores = [1e17, -(2.0**53), 2.0**60, 1e-9, 0.1 + 0.2, 1e22, -0.0, 3]
    Registry.open(tmp_path).write("noted", {"scores": scores})
    (event,) = Registry.open(tmp_path).ledger.events()
    assert list(map(float, event.body["scores"])) == scores


def test_one_process_sees_what_another_appends(tmp_path: Path) -> None:
    one, other = registry_of(tmp_path), Registry.open(tmp_path)
    assert len(other.ledger.events()) == 5
    one.write("noted", {})
    assert len(other.ledger.events()) == 6


def test_an_entry_may_be_refused_by_what_stands_before_it(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)

    def refuse(past: list[object]) -> dict[str, object]:
        raise LedgerError(f"{len(past)} are enough")

    with pytest.raises(LedgerError, match="5 are enough"):
        registry.ledger.append("noted", refuse)
    assert len(entries(registry)) == 5


@pytest.mark.parametrize("position", range(0, 300, 23))
def test_any_changed_byte_of_an_entry_is_found(tmp_path: Path, position: int) -> None:
    registry = registry_of(tmp_path)
    changed = entries(registry)[2]
    content = bytearray(changed.read_bytes())
    content[position % len(content)] ^= 1
    overwrite(changed, bytes(content))
    with pytest.raises(LedgerError) as found:
        verify(Registry.open(tmp_path))
    assert any(path.name in str(found.value) for path in entries(registry)[2:4])


def test_a_chain_that_is_held_open_is_read_anew_by_verification(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    rewrite(entries(registry)[1], body={"row": 7})
    assert len(registry.ledger.events()) == 5
    with pytest.raises(LedgerError, match="000000002"):
        verify(registry)


def test_an_entry_rewritten_in_other_words_is_found(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    last = entries(registry)[-1]
    overwrite(last, json.dumps(json.loads(last.read_bytes()), indent=1).encode())
    with pytest.raises(LedgerError, match=last.name):
        Registry.open(tmp_path).ledger.events()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"3", b"\xff\xfe", b'{"format":1,"number":4}'])
def test_an_entry_that_is_none_any_more_is_found(tmp_path: Path, content: bytes) -> None:
    registry = registry_of(tmp_path)
    last = entries(registry)[-1]
    overwrite(last, content)
    with pytest.raises(LedgerError, match=last.name):
        Registry.open(tmp_path).ledger.events()


@pytest.mark.parametrize("key", ["event", "body", "blobs", "time"])
def test_a_last_entry_with_a_misspelt_key_is_found(tmp_path: Path, key: str) -> None:
    registry = registry_of(tmp_path)
    last = entries(registry)[-1]
    entry = json.loads(last.read_bytes())
    entry[f"{key}s"] = entry.pop(key)
    overwrite(last, to_canonical(entry).encode())
    with pytest.raises(LedgerError, match=last.name):
        Registry.open(tmp_path).ledger.events()


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_removed_entry_is_found_on_reading_and_nothing_is_written_into_the_gap(tmp_path: Path, number: int) -> None:
    removed = entries(registry_of(tmp_path))[number]
    removed.unlink()
    registry = Registry.open(tmp_path)
    for _ in range(2):
        with pytest.raises(LedgerError, match=f"{removed.name} is missing though later entries exist"):
            registry.ledger.events()
    with pytest.raises(LedgerError, match=removed.name):
        registry.write("noted", {})
    with pytest.raises(LedgerError, match=removed.name):
        verify(registry)
    assert not removed.exists()


def test_a_removed_last_entry_shows_in_the_head_that_was_noted_elsewhere(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    noted = verify(registry).head
    entries(registry)[-1].unlink()
    cut = verify(Registry.open(tmp_path))
    assert cut.num_entries == 4
    assert cut.head != noted


def test_swapped_entries_are_found(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    second, third = entries(registry)[2:4]
    contents = second.read_bytes(), third.read_bytes()
    overwrite(second, contents[1])
    overwrite(third, contents[0])
    with pytest.raises(LedgerError, match=second.name):
        Registry.open(tmp_path).ledger.events()


def test_an_entry_of_another_registry_does_not_fit(tmp_path: Path) -> None:
    ours, theirs = registry_of(tmp_path / "ours"), registry_of(tmp_path / "theirs")
    ours.write("noted", {"row": "ours"})
    theirs.write("noted", {"row": "theirs"})
    theirs.write("noted", {"row": "after it"})
    shutil.copy(entries(theirs)[6], tmp_path / "ours" / "log" / "000000")
    with pytest.raises(LedgerError, match="000000006"):
        Registry.open(tmp_path / "ours").ledger.events()


def test_an_entry_of_a_newer_format_is_left_to_a_newer_version(tmp_path: Path) -> None:
    last = entries(registry_of(tmp_path))[-1]
    rewrite(last, format=99)
    with pytest.raises(NewerFormatError, match=f"{last.name} has format 99.*update saint-g") as newer:
        Registry.open(tmp_path).ledger.events()
    assert newer.value.exit_status == 3


def test_verification_counts_what_it_read(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    registry.write("noted", {}, contents=[b"seed 0"])
    found = verify(registry)
    assert (found.num_entries, found.num_blobs, found.num_bytes) == (6, 5, 5 * len("seed 0"))
    assert found.head == registry.ledger.events()[-1].digest
    assert found.problems == ()


def test_a_changed_blob_is_a_problem(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    damaged = blobs(registry)[0]
    overwrite(damaged, damaged.read_bytes()[:-1])
    (problem,) = verify(registry).problems
    assert damaged.name[:12] in problem
    assert "was changed" in problem
    with pytest.raises(LedgerError, match="was changed"):
        registry.payload(damaged.name)


def test_every_missing_blob_is_a_problem(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    gone = blobs(registry)[:2]
    for blob in gone:
        blob.unlink()
    problems = verify(registry).problems
    assert [blob.name[:12] in problem for blob, problem in zip(gone, problems, strict=True)] == [True, True]
    assert all("is missing" in problem for problem in problems)


def test_putting_twice_is_putting_once(tmp_path: Path) -> None:
    store = Registry.open(tmp_path).store
    first = store.put(b"a seed")
    place = store.blob_path(first)
    before = place.stat().st_ino
    assert store.put(b"a seed") == first
    assert place.stat().st_ino == before
    assert store.get(first) == b"a seed"


def test_putting_a_damaged_blob_again_heals_it(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    damaged = registry.store.blob_path(registry.store.put(b"seed 3"))
    overwrite(damaged, b"seed X")
    assert verify(registry).problems
    registry.store.put(b"seed 3")
    assert verify(registry).problems == ()


def test_what_is_written_is_read_only(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in [*entries(registry), *blobs(registry)]} == {0o444}
    assert not list((tmp_path / "tmp").iterdir())


FULL_DISK = """
import resource, signal, sys
from saint.errors import StorageError
from saint.registry import Registry
registry = Registry.open(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    registry.write("noted", eval(sys.argv[2]), contents=[eval(sys.argv[3])])
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize(("body", "content"), [("{}", "bytes(10**6)"), ("{'rows': 'x' * 10**6}", "b'small'")])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, body: str, content: str) -> None:
    registry = registry_of(tmp_path)
    before = {path: path.read_bytes() for path in [*entries(registry), *blobs(registry)]}
    said, errors = run(FULL_DISK, tmp_path, body, content).communicate(timeout=60)
    assert "was not written" in said, errors
    assert "make room" in said
    assert not list((tmp_path / "tmp").iterdir())
    assert [path for path in entries(registry) if path not in before] == []
    assert [path.read_bytes() for path in blobs(registry) if path not in before] in ([], [b"small"])
    assert all(path.read_bytes() == content for path, content in before.items())
    found = verify(Registry.open(tmp_path))
    assert (found.num_entries, found.problems) == (5, ())
    Registry.open(tmp_path).write("noted", {})
    assert verify(Registry.open(tmp_path)).num_entries == 6


DYING = """
import os, sys
from saint.registry import Registry
registry = Registry.open(sys.argv[1])
os.link = lambda *_: os._exit(9)  # the power fails before the finished file has its name
registry.write("noted", {}, contents=[bytes(1000)])
"""


def test_a_process_that_dies_while_writing_leaves_only_a_draft(tmp_path: Path) -> None:
    registry = registry_of(tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with run(DYING, tmp_path) as dying:
        dying.communicate(timeout=60)
    assert dying.returncode == 9
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent.name for path in left} == {"tmp"}
    registry.write("noted", {}, contents=[bytes(1000)])
    assert verify(Registry.open(tmp_path)).num_entries == 6


APPENDING = """
import sys
from saint.registry import Registry
registry = Registry.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for row in range(15):
    registry.write("noted", {"who": sys.argv[2], "row": row}, contents=[f"seed {row}".encode()])
"""


def test_two_processes_append_and_no_entry_is_lost(tmp_path: Path) -> None:
    Registry.open(tmp_path)
    with run(APPENDING, tmp_path, "ada") as ada, run(APPENDING, tmp_path, "bea") as bea:
        for gardener in (ada, bea):
            assert gardener.stdout is not None
            assert gardener.stdout.readline() == "ready\n"
        for gardener in (ada, bea):
            assert gardener.stdin is not None
            gardener.stdin.write("go\n")
            gardener.stdin.flush()
        while ada.poll() is None or bea.poll() is None:
            assert verify(Registry.open(tmp_path)).problems == ()  # who reads meanwhile is never told of a gap
    assert (ada.returncode, bea.returncode) == (0, 0)
    registry = Registry.open(tmp_path)
    written = [(event.body["who"], event.body["row"]) for event in registry.ledger]
    for who in ("ada", "bea"):
        assert [row for name, row in written if name == who] == list(range(15))
    assert [path.name for path in entries(registry)] == [f"{number:09d}.json" for number in range(30)]
    assert verify(registry).problems == ()
