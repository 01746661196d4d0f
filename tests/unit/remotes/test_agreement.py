"""A log that was cut short, rewritten or forked, or has checkpoints that are not its own, is refused."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from made_up_registry import contents, registry_of
from saint.cli.main import main
from saint.errors import CheckpointKeyError, ForkError, LedgerError, RemoteContentError, SaintError
from saint.registry import Checkpoint, Memory, MerkleTree, Registry, Standing, public_pem, verify
from saint.remotes import BundleRemote, FolderRemote, bundle, pull, push
from saint.remotes._names import entry_name
from saint.signing import Key, change_trust, check_signatures, embedded_trust, pin, sign_change, trust_of
from signed_garden import NOW, Machines, with_roles


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path / "machines", monkeypatch)


@pytest.fixture
def grown(tmp_path: Path, machines: Machines) -> tuple[Registry, dict[str, Key]]:
    """A registry of seven entries with signed checkpoints, on its owner's machine, and the keys of everybody."""
    (tmp_path / "machines").mkdir()
    registry, keys = with_roles(tmp_path / "here", machines)
    for rows in (3, 3):
        grow(registry, rows)
    return registry, keys


def grow(registry: Registry, num_entries: int, *, word: str = "row") -> None:
    for number in range(num_entries):
        registry.write("noted", {word: number}, contents=[f"{word} {number}".encode()])
    registry.seal.seal()


def reopened(registry: Registry) -> Registry:
    """As another process opens it; nobody signs."""
    return Registry.open(registry.folder, must_exist=True)


def overwrite(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def note_of(folder: Path, key: Key, *, size: int, origin: str = "", root: bytes = b"") -> str:
    """A checkpoint about the first entries of the registry in a folder, or one that lies."""
    registry = Registry.open(folder, must_exist=True)
    tree = MerkleTree(bytes.fromhex(event.leaf) for event in registry.ledger.events())
    checkpoint = Checkpoint(origin=origin or registry.origin, size=size, root=root or tree.root(size))
    return checkpoint.to_note(key)


def cut(folder: Path, num_entries: int) -> None:
    for number in range(num_entries, len(list(folder.glob("log/*/*")))):
        (folder / entry_name(number)).unlink()
    for note in folder.glob("checkpoints/*.note"):
        if int(note.stem) > num_entries:
            note.unlink()


def test_a_copy_has_the_name_and_the_checkpoints_and_verifies_on_another_machine(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, _ = grown
    assert push(registry, FolderRemote(tmp_path / "there")).num_notes == 2
    machines.at("reader")
    copy, pulled = pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert (copy.origin, pulled.num_notes) == (registry.origin, 2)
    assert contents(copy.folder) == contents(registry.folder)
    assert (copy.folder / "origin").read_bytes() == (registry.folder / "origin").read_bytes()
    [what] = pulled.unchecked
    assert "never verified this registry; compare the checkpoint 7:" in what
    found = verify(copy)
    assert (found.standing, found.problems, found.unchecked) == (Standing.EXTENDS, (), ())
    assert check_signatures(copy, now=NOW).problems == ()
    assert pull(FolderRemote(tmp_path / "there"), copy.folder)[1].unchecked == ()
    shutil.copytree(copy.folder, tmp_path / "elsewhere")
    assert verify(Registry.open(tmp_path / "elsewhere")).problems == ()


def test_what_was_pulled_is_remembered_in_a_new_folder_and_in_one_that_is_there(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, keys = grown
    machines.at("reader")
    pull(FolderRemote(registry.folder), tmp_path / "copy")
    known = Memory().recall(registry.origin)
    assert known is not None
    assert (known.size, known.keys) == (7, (keys["log"].public.hex(),))
    machines.at("owner")
    grow(registry, 2)
    machines.at("reader")
    pull(FolderRemote(registry.folder), tmp_path / "copy")
    known = Memory().recall(registry.origin)
    assert known is not None
    assert known.size == 9


def test_a_copy_that_nobody_verified_is_verified_before_it_is_brought_up_to_date(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, _ = grown
    shutil.copytree(registry.folder, tmp_path / "copy")
    grow(registry, 1)
    machines.at("reader")
    next((tmp_path / "copy").glob("blobs/*/*")).unlink()
    with pytest.raises(LedgerError, match="is missing"):
        pull(FolderRemote(registry.folder), tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(registry.folder, tmp_path / "copy")
    pulled = pull(FolderRemote(registry.folder), tmp_path / "copy")[1]
    assert len(pulled.unchecked) == 1
    assert pull(FolderRemote(registry.folder), tmp_path / "copy")[1].unchecked == ()


def test_the_command_ends_with_3_the_first_time_and_with_0_from_then_on(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, _ = grown
    bundle(registry, tmp_path / "all.bundle")
    machines.at("reader")
    first = CliRunner().invoke(main, ["unbundle", str(tmp_path / "all.bundle"), str(tmp_path / "copy")])
    assert first.exit_code == 3, first.output
    assert "not checked: whether entries are missing at the end" in first.output
    assert "verified" not in first.output.splitlines()[-1]
    again = CliRunner().invoke(main, ["pull", str(registry.folder), str(tmp_path / "copy")])
    assert (again.exit_code, again.output.splitlines()[-1]) == (0, "verified")


def forked(folder: Path) -> None:
    cut(folder, 4)
    grow(Registry(Registry.open(folder).store, memory=Memory(folder.parent / "nobody")), 5, word="other")


def rewritten(folder: Path) -> None:
    shutil.rmtree(folder / "log")
    (folder / "log").mkdir()
    for note in folder.glob("checkpoints/*.note"):
        note.unlink()
    grow(Registry(Registry.open(folder).store, memory=Memory(folder.parent / "nobody")), 9, word="other")


def cut_short(folder: Path) -> None:
    cut(folder, 5)


def cut_with_notes_left(folder: Path) -> None:
    (folder / entry_name(6)).unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cut_short, "has 5 entries, and 7 entries were verified here .* cut short"),
        (cut_with_notes_left, "000000007.note .* 7 entries, and there are 6: the last ones were cut off"),
        (forked, "up to entry 3 and was rewritten after it, or is a fork"),
        (rewritten, "it was rewritten as a whole"),
    ],
)
def test_a_remote_that_was_changed_is_not_made_a_new_copy_of(
    tmp_path: Path,
    grown: tuple[Registry, dict[str, Key]],
    machines: Machines,
    change: Callable[[Path], None],
    told: str,
) -> None:
    registry, _ = grown
    machines.at("reader")
    there = FolderRemote(tmp_path / "there")
    shutil.copytree(registry.folder, tmp_path / "there")
    cut(tmp_path / "there", 4)
    pull(there, tmp_path / "copy")
    push(reopened(registry), there)
    copy, _ = pull(there, tmp_path / "copy")
    known, before = Memory().recall(registry.origin), contents(copy.folder)
    change(tmp_path / "there")
    beyond = contents(tmp_path / "there")
    with pytest.raises(RemoteContentError, match=told):
        pull(there, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    if change is cut_short:  # as far as anybody can tell it is only behind the copy, which loses nothing
        assert pull(there, copy.folder)[1].num_ahead == 2
    else:
        with pytest.raises((ForkError, RemoteContentError)):
            pull(there, copy.folder)
        with pytest.raises((ForkError, RemoteContentError)):
            push(reopened(copy), there)
    assert contents(tmp_path / "there") == beyond
    assert (Memory().recall(registry.origin), contents(copy.folder)) == (known, before)


def test_a_remote_that_is_cut_and_a_copy_that_is_cut_do_not_pass_for_the_whole(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, _ = grown
    machines.at("reader")
    copy, _ = pull(FolderRemote(registry.folder), tmp_path / "copy")
    cut(copy.folder, 3)
    shutil.copytree(registry.folder, tmp_path / "there")
    cut(tmp_path / "there", 5)
    before = contents(copy.folder)
    with pytest.raises(RemoteContentError, match="has 5 entries, and 7 entries were verified here"):
        pull(FolderRemote(tmp_path / "there"), copy.folder)
    assert contents(copy.folder) == before
    pull(FolderRemote(registry.folder), copy.folder)
    assert contents(copy.folder) == contents(registry.folder)


def test_a_registry_that_was_rewritten_here_is_not_pushed(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]]
) -> None:
    registry, _ = grown
    rewritten(registry.folder)
    with pytest.raises(LedgerError, match="rewritten as a whole"):
        push(reopened(registry), FolderRemote(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


def by_another_key(folder: Path, keys: dict[str, Key]) -> str:
    return note_of(folder, keys["thief"], size=5)


def by_another_key_that_lies_beside_it(folder: Path, keys: dict[str, Key]) -> str:
    public = keys["thief"].public
    (folder / "checkpoints" / f"{hashlib.sha256(public).hexdigest()[:16]}.pem").write_bytes(public_pem(public))
    return note_of(folder, keys["thief"], size=5)


def with_another_ones_signature(folder: Path, keys: dict[str, Key]) -> str:
    """The thief's signature, said to be the log's: its four bytes are the right key's."""

    class Forger:
        public = keys["log"].public
        sign = keys["thief"].sign

    return note_of(folder, Forger(), size=5)  # type: ignore[arg-type]


NOTES: dict[str, tuple[Callable[[Path, dict[str, Key]], str], type[SaintError], str]] = {
    "another key": (by_another_key, CheckpointKeyError, "signed by none of the keys that may sign"),
    "another key, brought along": (
        by_another_key_that_lies_beside_it,
        CheckpointKeyError,
        "signed by none of the keys",
    ),
    "a false signature": (with_another_ones_signature, RemoteContentError, "has a false signature"),
    "another origin": (
        lambda folder, keys: note_of(folder, keys["log"], size=5, origin="saint-g-" + "0" * 32),
        RemoteContentError,
        "is about the registry saint-g-0000",
    ),
    "another root": (
        lambda folder, keys: note_of(folder, keys["log"], size=5, root=bytes(32)),
        RemoteContentError,
        "has another root than the first 5 entries",
    ),
    "another size": (
        lambda folder, keys: note_of(folder, keys["log"], size=6),
        RemoteContentError,
        "about 6 entries, which is not its name",
    ),
    "no note": (lambda *_: "a letter", RemoteContentError, "is not a signed checkpoint"),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("has_copy", [True, False])
def test_a_checkpoint_that_is_not_the_logs_is_refused(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines, name: str, *, has_copy: bool
) -> None:
    registry, keys = grown
    forge, kind, told = NOTES[name]
    shutil.copytree(registry.folder, tmp_path / "there")
    there = FolderRemote(tmp_path / "there")
    machines.at("reader")
    if has_copy:
        pull(there, tmp_path / "copy")
    before = contents(tmp_path / "copy")
    overwrite(tmp_path / "there" / "checkpoints" / "000000005.note", forge(tmp_path / "there", keys).encode())
    with pytest.raises(kind, match=f"checkpoints/000000005.note at .*there.*{told}"):
        pull(there, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before
    machines.at("owner")
    with pytest.raises(kind, match=told):
        push(reopened(registry), there)


def test_a_key_of_the_log_that_was_rotated_signs_and_one_that_nobody_gave_the_role_does_not(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, keys = grown
    machines.at("reader")
    copy, _ = pull(FolderRemote(registry.folder), tmp_path / "copy")
    machines.at("owner", keys["thief"])
    now = trust_of(registry)
    assert now is not None
    rotated = now.with_instead(keys["log"].key_id, keys["thief"].public_key)  # who is none from now on
    change_trust(registry, sign_change(rotated, now), reason="rotated")
    grow(registry, 1)
    machines.at("reader")
    assert pull(FolderRemote(registry.folder), copy.folder)[1].num_notes == 1
    assert verify(reopened(copy)).unchecked == ()


def test_a_machine_that_was_told_whom_to_trust_takes_no_other_log(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, keys = grown
    machines.at("reader")
    pin(reopened(registry), [keys["root1"].key_id, keys["root2"].key_id])
    made = registry_of(tmp_path / "made", 0)
    overwrite(made.folder / "origin", (registry.folder / "origin").read_bytes())
    machines.at("crook", keys["thief"])
    forged = reopened(made)
    change_trust(forged, sign_change(embedded_trust(registry.origin, keys["thief"])), reason="mine now")
    machines.at("reader")
    with pytest.raises(RemoteContentError, match="is another one than was seen before"):
        pull(FolderRemote(forged.folder), tmp_path / "copy")
    assert pull(FolderRemote(registry.folder), tmp_path / "copy")[1].num_entries == 7


def test_a_key_beside_the_checkpoints_is_the_one_that_its_name_says(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    registry, keys = grown
    shutil.copytree(registry.folder, tmp_path / "there")
    machines.at("reader")
    for content in (b"", b"a letter", public_pem(keys["thief"].public)):
        [pem] = (tmp_path / "there").glob("checkpoints/*.pem")
        overwrite(pem, content)
        with pytest.raises(RemoteContentError, match="is not the key that its name says"):
            pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")


def test_without_a_trust_file_signatures_are_said_to_be_unchecked(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]], machines: Machines
) -> None:
    _, keys = grown
    registry = registry_of(tmp_path / "plain", 0)
    registry.seal.signer = lambda: keys["thief"]
    grow(registry, 2)
    machines.at("reader")
    _, pulled = pull(FolderRemote(registry.folder), tmp_path / "copy")
    assert [what.partition(":")[0] for what in pulled.unchecked][1:] == [
        "the signatures of 1 checkpoints, the last of them checkpoints/000000002.note"
    ]
    known = Memory().recall(registry.origin)
    assert known is not None
    assert known.keys == ()


def test_only_what_a_registry_is_made_of_travels_and_pages_are_written_afresh(
    tmp_path: Path, grown: tuple[Registry, dict[str, Key]]
) -> None:
    registry, _ = grown
    for name in ("index.sqlite", "index.sqlite-journal", "trash/a.b", "tmp/draft", "work/lock", "checkpoints/x.key"):
        (registry.folder / name).parent.mkdir(exist_ok=True)
        (registry.folder / name).write_bytes(b"not for others")
    push(reopened(registry), FolderRemote(tmp_path / "there"))
    files = {path for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert not any(path.read_bytes() == b"not for others" for path in files)
    for page in ("FORMAT.md", "verify.py"):
        overwrite(tmp_path / "there" / page, b"import os")
    bundle(reopened(registry), tmp_path / "all.bundle")
    for remote, folder in (
        (FolderRemote(tmp_path / "there"), "copy"),
        (BundleRemote(tmp_path / "all.bundle"), "other"),
    ):
        pull(remote, tmp_path / folder)
        for page in ("FORMAT.md", "verify.py"):
            assert (tmp_path / folder / page).read_bytes() == (registry.folder / page).read_bytes()
        assert contents(tmp_path / folder) == contents(tmp_path / "there")


def test_a_registry_from_before_names_is_called_by_its_first_entry_on_both_sides(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", 2)
    (registry.folder / "origin").unlink()
    push(reopened(registry), FolderRemote(tmp_path / "there"))
    assert not (tmp_path / "there" / "origin").exists()
    copy, _ = pull(FolderRemote(tmp_path / "there"), tmp_path / "copy")
    assert copy.origin == reopened(registry).origin == f"saint-g-{registry.ledger.events()[0].digest[:32]}"
    assert (copy.folder / "origin").read_text() == f"{copy.origin}\n"
    copy.write("noted", {})
    push(copy, FolderRemote(tmp_path / "there"))
    assert pull(FolderRemote(tmp_path / "there"), registry.folder)[1].num_entries == 1


def test_one_registry_does_not_take_the_name_or_the_place_of_another(tmp_path: Path) -> None:
    one, other = registry_of(tmp_path / "one", 2), registry_of(tmp_path / "other", 2, word="other")
    with pytest.raises(ForkError):
        pull(FolderRemote(other.folder), one.folder)
    empty = registry_of(tmp_path / "empty", 0)
    for act in (lambda: pull(FolderRemote(one.folder), empty.folder), lambda: push(one, FolderRemote(empty.folder))):
        with pytest.raises(RemoteContentError, match=f"is {empty.origin}|registry {empty.origin}"):
            act()
    overwrite(other.folder / "origin", b"../../etc\n")
    with pytest.raises(RemoteContentError, match=r"origin at .* is not what a registry has there"):
        pull(FolderRemote(other.folder), tmp_path / "copy")


def test_a_folder_that_held_another_registry_is_not_filled_with_a_strange_one(
    tmp_path: Path, machines: Machines
) -> None:
    one, other = registry_of(tmp_path / "one", 2), registry_of(tmp_path / "other", 2)
    machines.at("reader")
    pull(FolderRemote(one.folder), tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(RemoteContentError, match=f"held the registry {one.origin} when it was last seen here"):
        pull(FolderRemote(other.folder), tmp_path / "copy")
    pull(FolderRemote(one.folder), tmp_path / "copy")


def test_the_names_that_a_registry_had_before_are_kept(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", 1)
    overwrite(registry.folder / "origin", f"{registry.origin}\nsaint-g-{'1' * 32}\n".encode())
    pull(FolderRemote(registry.folder), tmp_path / "copy")
    assert (tmp_path / "copy" / "origin").read_bytes() == (registry.folder / "origin").read_bytes()
