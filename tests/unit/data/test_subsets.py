"""A subset is a beginning of its source, with its languages and its held-out text, and may share files with it."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from multilingual import content_of, write_source
from saint.data import TokenShards, derive_subset, open_shards, prepare_text
from saint.errors import ConfigError, DamagedTextError, DataError, SaintError, StorageError
from saint.progress import Silent


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    """Prepared once, to be looked at only."""
    root = tmp_path_factory.mktemp("source")
    given = {"source": str(write_source(root / "source")), "langs": ("en", "pt", "de"), "vocab_size": 300}
    prepare_text({**given, "shard_tokens": 600, "held_out_share": 0.1}, root / "text")
    return open_shards(root / "text")


@pytest.fixture
def source(made: TokenShards, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    for name, content in content_of(made.folder).items():
        (tmp_path / "text" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "text" / name).write_bytes(content)
    return tmp_path / "text"


def tokens_of(shards: TokenShards, split: str) -> list[int]:
    return [token for shard in shards.corpora[split].shards for token in shard.tolist()]


@pytest.mark.parametrize("copy_mode", ["copy", "hardlink"])
@pytest.mark.parametrize("max_tokens", [100, 600, 2500, 0])
def test_a_subset_is_the_beginning_of_its_source(copy_mode: Any, max_tokens: int, source: Path, tmp_path: Path) -> None:
    whole = open_shards(source)
    max_tokens = max_tokens or whole.train.num_tokens
    manifest = derive_subset(source, tmp_path / "subset", max_tokens=max_tokens, copy_mode=copy_mode)
    subset = open_shards(tmp_path / "subset", verify=True)
    longest = int(whole.train.num_tokens_each.max())
    assert max_tokens - longest < subset.train.num_tokens <= max_tokens
    assert tokens_of(subset, "train") == tokens_of(whole, "train")[: subset.train.num_tokens]
    assert subset.train.documents == whole.train.documents[: subset.train.num_documents]
    assert [tokens_of(subset, split) for split in ("val", "test")] == [tokens_of(whole, s) for s in ("val", "test")]
    assert subset.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    assert manifest["splits"]["train"]["num_tokens"] == subset.train.num_tokens
    assert manifest["options"]["max_tokens"] == max_tokens
    assert len(subset.train.num_bytes_each) == subset.train.num_documents


def test_links_take_no_room_and_copies_are_apart(source: Path, tmp_path: Path) -> None:
    derive_subset(source, tmp_path / "linked", max_tokens=2500, copy_mode="hardlink")
    derive_subset(source, tmp_path / "copied", max_tokens=2500, copy_mode="copy")
    assert content_of(tmp_path / "linked") == content_of(tmp_path / "copied")
    shards = sorted((tmp_path / "linked" / "train").glob("shard_*.npy"))
    shared = [file.samefile(source / "train" / file.name) for file in shards]
    assert len(shards) > 3
    assert shared == [True] * (len(shards) - 1) + [False]  # the last one is cut
    assert not any(file.stat().st_nlink > 1 for file in (tmp_path / "copied").rglob("*.npy"))


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM])
def test_links_that_cannot_be_become_copies_and_that_is_said_once(
    reason: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", refuse)
    notes = Notes()
    derive_subset(source, tmp_path / "subset", max_tokens=2500, copy_mode="hardlink", progress=notes)
    [said] = notes.said
    assert "can have no hard links" in said
    assert said.endswith(f"({os.strerror(reason)}): copying instead")
    open_shards(tmp_path / "subset", verify=True)


def test_a_disk_that_fails_is_no_reason_to_copy(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="was not linked"):
        derive_subset(source, tmp_path / "subset", max_tokens=2500, copy_mode="hardlink")
    assert not (tmp_path / "subset").exists()


def test_another_file_system_gets_a_copy(source: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == source.stat().st_dev:
        pytest.skip("there is no second file system here to link to")
    subset, notes = elsewhere / f"saint-subset-{os.getpid()}", Notes()
    try:
        derive_subset(source, subset, max_tokens=2500, copy_mode="hardlink", progress=notes)
        assert "copying instead" in notes.said[0]
        open_shards(subset, verify=True)
    finally:
        for file in sorted(subset.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        subset.rmdir()


def test_the_same_again_does_nothing_and_another_is_refused(source: Path, tmp_path: Path) -> None:
    made = derive_subset(source, tmp_path / "subset", max_tokens=2500)
    before = content_of(tmp_path / "subset")
    assert derive_subset(source, tmp_path / "subset", max_tokens=2500) == json.loads(before["manifest.json"])
    assert made["derived_from"]["max_tokens"] == 2500
    with pytest.raises(DataError, match="exists already and is not this subset"):
        derive_subset(source, tmp_path / "subset", max_tokens=2400)
    assert content_of(tmp_path / "subset") == before


@pytest.mark.parametrize(
    ("max_tokens", "given", "kind", "words"),
    [
        (10**9, {}, DataError, "a subset of 1,000,000,000 tokens is larger than its source"),
        (0, {}, ConfigError, "--max-tokens is 0; a subset needs a number of tokens above 0"),
        (3, {}, DataError, "the first document has more than 3 tokens"),
        (2500, {"vocab_size": 301}, ConfigError, "begun with vocab_size 300, and now it is 301"),
        (2500, {"langs": ("en", "fr")}, ConfigError, "begun with langs en,pt,de, and now it is en,fr"),
    ],
)
def test_what_cannot_be_is_refused(
    max_tokens: int, given: dict[str, Any], kind: type[SaintError], words: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        derive_subset(source, tmp_path / "subset", max_tokens=max_tokens, given=given)
    assert words in str(caught.value)
    assert not (tmp_path / "subset").exists()


@pytest.mark.parametrize("copy_mode", ["copy", "hardlink"])
@pytest.mark.parametrize(
    "name", ["train/shard_00000.npy", "train/documents.jsonl", "val/shard_00000.npy", "tokenizer/tokenizer.json"]
)
def test_damage_is_not_passed_on(copy_mode: Any, name: str, source: Path, tmp_path: Path) -> None:
    content = bytearray((source / name).read_bytes())
    content[-5] ^= 1
    (source / name).write_bytes(content)
    with pytest.raises(DamagedTextError, match="is damaged: its SHA-256"):
        derive_subset(source, tmp_path / "subset", max_tokens=2500, copy_mode=copy_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_source_that_is_not_finished_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished text"):
        derive_subset(source, tmp_path / "subset", max_tokens=2500)
