"""Text to train a base on: every token is accounted for, languages are mixed evenly, splits share nothing."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multilingual import content_of, texts_of, write_jsonl, write_source
from saint.data import TokenShards, clean_raw, finalize_text, open_shards, open_splits, prepare_text
from saint.errors import BusyError, ConfigError, DamagedTextError, DataError, NewerFormatError
from saint.folders import alone_in
from saint.progress import Progress, Silent, Task

LANGS = ("en", "pt", "de")
MULTILINGUAL = Path(__file__).parents[3].parent / "shared" / "data" / "multilingual"


def options(source: Path, **more: Any) -> dict[str, Any]:
    return {"source": str(source), "langs": LANGS, "vocab_size": 300, "shard_tokens": 600, **more}


def prepared(folder: Path, **more: Any) -> TokenShards:
    given = options(write_source(folder / "source"), held_out_share=0.1, **more)
    prepare_text(given, folder / "text")
    return open_shards(folder / "text", verify=True)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    """Prepared once, to be looked at only."""
    return prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def folder(shards: TokenShards, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return Path(shutil.copytree(shards.folder, tmp_path / "text"))


def documents_in(shards: TokenShards, split: str) -> list[str]:
    """What the tokens of a split spell, document by document."""
    tokens = np.concatenate([*shards.corpora[split].shards]).tolist()
    text = shards.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    first, *rest = text.split(shards.tokenizer.bos_token)
    assert first == ""
    return rest


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Watched(Progress):
    """Adds up what every task says."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.totals: dict[str, int | None] = {}
        self.under_way = ""

    @contextmanager
    def task(self, description: str, *, total: int | None, unit: str) -> Iterator[Task]:
        self.under_way = f"{description} ({unit})"
        self.totals[self.under_way] = total
        yield self

    def advance(self, amount: int) -> None:
        self.done[self.under_way] += amount

    def note(self, message: str) -> None:
        pass


def test_every_document_is_in_one_split_and_comes_back_exactly(shards: TokenShards) -> None:
    found = [text for split in ("train", "val", "test") for text in documents_in(shards, split)]
    assert sorted(found) == sorted(text for lang in LANGS for text in texts_of(lang, 60))
    listed = [digest for corpus in shards.corpora.values() for digest in corpus.documents]
    assert len(set(listed)) == len(listed) == len(found)


def test_the_manifest_counts_what_is_there(shards: TokenShards) -> None:
    assert shards.vocab_size == len(shards.tokenizer) == 300
    for split, corpus in shards.corpora.items():
        sums = shards.manifest["splits"][split]
        assert sums["num_tokens"] == corpus.num_tokens == sum(len(shard) for shard in corpus.shards)
        assert sums["num_documents"] == corpus.num_documents
        assert sums["num_bytes"] == sum(len(text.encode()) for text in documents_in(shards, split))
        assert sum(one["num_tokens"] for one in sums["langs"].values()) == corpus.num_tokens
        for lang in LANGS:
            assert shards.of_language(split, lang).num_tokens == sums["langs"][lang]["num_tokens"]
    assert {path for path in content_of(shards.folder) if not path.startswith(("_raw", "manifest"))} == set(
        shards.manifest["files"]
    )
    assert all(shard.dtype == np.uint16 for shard in shards.train.shards)
    assert len(shards.train.shards) > 3
    assert max(map(len, shards.train.shards)) <= 600


def test_any_beginning_has_the_languages_of_the_whole(tmp_path: Path) -> None:
    shards = prepared(tmp_path, max_tokens=6000)
    totals = {lang: sums["num_tokens"] for lang, sums in shards.manifest["splits"]["train"]["langs"].items()}
    lines = (shards.folder / "train" / "documents.jsonl").read_text().splitlines()
    seen: Counter[str] = Counter()
    longest = max(json.loads(line)["num_tokens"] for line in lines)
    for line in map(json.loads, lines):
        seen[line["lang"]] += line["num_tokens"]
        shares = [seen[lang] / totals[lang] for lang in LANGS]
        assert max(shares) - min(shares) <= 2 * longest / min(totals.values())


def test_languages_get_equal_parts_to_within_a_document(tmp_path: Path) -> None:
    shards = prepared(tmp_path, max_tokens=6000)
    longest = int(shards.train.num_tokens_each.max())
    for sums in shards.manifest["splits"]["train"]["langs"].values():
        assert 2000 - longest < sums["num_tokens"] <= 2000


def test_a_language_that_is_short_of_text_is_named(tmp_path: Path) -> None:
    source, notes = write_source(tmp_path / "source"), Notes()
    write_jsonl(source / "de.jsonl.gz", texts_of("de", 20))
    prepare_text(options(source, held_out_share=0.1), tmp_path / "text", progress=notes)
    assert [note for note in notes.said if note.startswith("de has")]


def test_splits_that_others_cut_are_kept_and_copies_stay_with_what_is_held_out(tmp_path: Path) -> None:
    source, texts = tmp_path / "source", texts_of("en", 40)
    write_jsonl(source / "en.train.jsonl", texts)
    write_jsonl(source / "en" / "validation" / "a.jsonl", [texts[3], *texts_of("en", 3, seed=1)])
    write_jsonl(source / "en.test.jsonl.gz", [texts[3], texts[4]])
    manifest = prepare_text(options(source, langs=("en",)), tmp_path / "text")
    shards = open_shards(tmp_path / "text")
    where = {text: split for split in shards.corpora for text in documents_in(shards, split)}
    assert (where[texts[3]], where[texts[4]], where[texts[5]]) == ("test", "test", "train")
    assert sorted(text for text, split in where.items() if split == "val") == sorted(texts_of("en", 3, seed=1))
    assert manifest["num_copies"] == 3


def test_what_looks_like_a_separator_in_a_text_is_text(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", langs=("en",))
    write_jsonl(source / "en.jsonl.gz", [*texts_of("en", 60), "a <|endoftext|> in a text"])
    prepare_text(options(source, langs=("en",), held_out_share=0.0), tmp_path / "text")
    shards = open_shards(tmp_path / "text")
    starts = sum(int((shard == shards.tokenizer.bos_token_id).sum()) for shard in shards.train.shards)
    assert starts == shards.train.num_documents == 61


def test_a_bar_moves_by_the_tokens(tmp_path: Path) -> None:
    watched = Watched()
    given = options(write_source(tmp_path / "source"), held_out_share=0.1, max_tokens=3000)
    manifest = prepare_text(given, tmp_path / "text", progress=watched)
    for lang in LANGS:
        task = f"reading {lang} (tokens)"
        assert watched.totals[task] == 1000
        assert watched.done[task] == manifest["splits"]["train"]["langs"][lang]["num_tokens"]
    total = sum(sums["num_tokens"] for sums in manifest["splits"].values())
    assert watched.done["writing shards (tokens)"] == watched.totals["writing shards (tokens)"] == total


def test_a_vocabulary_that_the_text_cannot_fill_is_said(tmp_path: Path) -> None:
    notes = Notes()
    given = options(write_source(tmp_path / "source", number=20), vocab_size=5000, held_out_share=0.1)
    manifest = prepare_text(given, tmp_path / "text", progress=notes)
    assert manifest["vocab_size"] < 5000
    assert notes.said[0].endswith("5,000 was asked for")


def test_a_batch_is_found_by_the_tokens_seen_before_it(shards: TokenShards) -> None:
    train = shards.train
    single = train.batches(batch_size=1, seq_len=16, seed=3)
    rows = torch.cat([single[step] for step in range(single.num_windows + 9)])  # into the next epoch
    fours = train.batches(batch_size=4, seq_len=16, seed=3)
    for row in (0, 1, 5, single.num_windows - 2, single.num_windows + 5):
        assert torch.equal(fours.at(row * 16), rows[row : row + 4])
    with pytest.raises(DataError, match="position 17 is no multiple of seq_len 16"):
        fours.at(17)


def test_the_same_command_again_does_nothing(shards: TokenShards) -> None:
    before = {file: file.stat().st_mtime_ns for file in shards.folder.rglob("*")}
    assert prepare_text({}, shards.folder) == shards.manifest
    assert {file: file.stat().st_mtime_ns for file in shards.folder.rglob("*")} == before


def test_shards_are_finalized_without_the_source_and_raw_shards_cleaned(tmp_path: Path) -> None:
    shards = prepared(tmp_path)
    whole = content_of(shards.folder)
    for name in (*shards.manifest["files"], "manifest.json"):
        if not name.startswith("tokenizer"):
            (shards.folder / name).unlink()
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    finalize_text({"vocab_size": 300}, shards.folder)
    assert content_of(shards.folder) == whole
    clean_raw(shards.folder)
    assert content_of(shards.folder) == {name: found for name, found in whole.items() if not name.startswith("_raw")}
    finalize_text({}, shards.folder)


def refusal(kind: type[Exception], *, folder: Path, finalize: bool = False, **given: Any) -> str:
    with pytest.raises(kind) as caught:
        (finalize_text if finalize else prepare_text)(given, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vocab_size": 299}, "begun with vocab_size 300, and now it is 299"),
        ({"langs": ("en", "pt")}, "begun with langs en,pt,de, and now it is en,pt"),
        ({"max_tokens": 100}, "begun with max_tokens 0, and now it is 100"),
    ],
)
@pytest.mark.parametrize("finalize", [False, True])
def test_other_options_than_before_are_refused(
    given: dict[str, Any], words: str, folder: Path, *, finalize: bool
) -> None:
    assert words in refusal(ConfigError, folder=folder, finalize=finalize, **given)
    (folder / "manifest.json").unlink()  # as in the middle of the work
    assert words in refusal(ConfigError, folder=folder, finalize=finalize, **given)


def test_a_missing_language_is_named_before_anything_is_written(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", langs=("en", "pt"))
    said = refusal(DataError, folder=tmp_path / "text", **options(source))
    assert said.startswith("language 'de' is missing")
    assert list((tmp_path / "text").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"langs": ("en", "en")}, "--langs is 'en,en'"),
        ({"langs": ("en", "")}, "--langs is 'en,'"),
        ({"max_tokens": 2}, "nothing for each of 3 languages"),
        ({"max_tokens": -1}, "must not be negative"),
        ({"held_out_share": 0.5}, "--held-out-share is 0.5"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    assert words in refusal(ConfigError, folder=tmp_path / "text", **options(source, **given))


def test_text_that_is_not_enough_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    said = refusal(DataError, folder=tmp_path / "small", **options(source, max_tokens=9))
    assert said.startswith("en has no train documents that fit into 3 tokens")
    write_jsonl(source / "pt.jsonl.gz", ["", " "])
    assert refusal(DataError, folder=tmp_path / "none", **options(source)).startswith("pt has no train documents; give")
    said = refusal(DataError, folder=tmp_path / "vocabulary", **options(source, vocab_size=256))
    assert said.startswith("vocab_size is 256")


def test_a_source_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    said = refusal(DataError, folder=tmp_path / "text", **options(tmp_path / "nowhere"))
    assert "which is no folder" in said


def test_a_mistake_that_came_to_nothing_may_be_corrected(tmp_path: Path) -> None:
    source, given = write_source(tmp_path / "source"), {"vocab_size": 256, "held_out_share": 0.1}
    refusal(DataError, folder=tmp_path / "text", **options(source, **given))
    manifest = prepare_text({"vocab_size": 290}, tmp_path / "text")
    assert manifest["options"] == {
        **manifest["options"],
        "vocab_size": 290,
        "source": str(source),
        "held_out_share": 0.1,
    }


@pytest.mark.parametrize("name", ["thesis.txt", "_raw/thesis.txt", "tokenizer/tokenizer.json"])
def test_a_folder_with_other_files_is_left_alone(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "text" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    said = refusal(DataError, folder=tmp_path / "text", **options(write_source(tmp_path / "source")))
    assert f"has other files in it, such as {name.removeprefix('_raw/').split('/')[0]}" in said
    assert content_of(tmp_path / "text") == {name: b"mine"}


def test_finalizing_needs_raw_shards_and_all_of_them(folder: Path, tmp_path: Path) -> None:
    assert "has no raw shards to finalize" in refusal(DataError, folder=tmp_path / "nowhere", finalize=True)
    (folder / "manifest.json").unlink()
    for file in (folder / "_raw").glob("de_*.json"):
        file.unlink()
    said = refusal(DataError, folder=folder, finalize=True)
    assert said == "de is not read to its end; run the command without --finalize again"
    with pytest.raises(DataError, match="is not finished, so its raw shards are needed"):
        clean_raw(folder)


def test_a_source_that_changed_is_noticed(tmp_path: Path) -> None:
    shards = prepared(tmp_path)
    (shards.folder / "manifest.json").unlink()
    (last := sorted((shards.folder / "_raw").glob("de_*.json"))[-1]).unlink()
    assert last.name != "de_00000.json"
    write_jsonl(tmp_path / "source" / "de.jsonl.gz", texts_of("de", 60, seed=1))
    assert "so the source has changed" in refusal(DataError, folder=shards.folder)
    write_jsonl(tmp_path / "source" / "de.test.jsonl", texts_of("de", 3))
    assert "has other files than before" in refusal(DataError, folder=shards.folder)


@pytest.mark.parametrize("name", ["train/shard_00001.npy", "val/documents.jsonl", "tokenizer/tokenizer.json"])
def test_a_damaged_file_is_named(name: str, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-7] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedTextError, match=f"{name} is damaged: its SHA-256"):
        open_shards(folder, verify=True)
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(DamagedTextError, match=f"{name} is damaged: it should have"):
        open_shards(folder)
    (folder / name).unlink()
    with pytest.raises(DamagedTextError, match=f"{name} is damaged: .* is missing"):
        open_shards(folder)


@pytest.mark.parametrize("name", ["en_00001.npy", "pt_00000.json", "plan.json"])
def test_a_damaged_raw_file_is_named(name: str, folder: Path) -> None:
    (folder / "manifest.json").unlink()
    content = (folder / "_raw" / name).read_bytes()
    (folder / "_raw" / name).write_bytes(content[:-2])
    assert name in refusal(DamagedTextError, folder=folder, finalize=True)


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_a_tokenizer_that_did_not_make_the_shards_is_refused(tmp_path: Path) -> None:
    ours, theirs = prepared(tmp_path / "ours"), prepared(tmp_path / "theirs", vocab_size=290)
    files = dict(ours.manifest["files"])
    for name in ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"):
        (theirs.folder / name).replace(ours.folder / name)
        files[name] = theirs.manifest["files"][name]
    rewrite_manifest(ours.folder, files=files)
    with pytest.raises(DamagedTextError, match=r"vocabulary of 290 and is not .* whose vocabulary is 300"):
        open_shards(ours.folder, verify=True)


def test_a_model_with_too_few_rows_is_refused(shards: TokenShards) -> None:
    shards.must_fit(300)
    with pytest.raises(ConfigError, match=r"vocabulary of 299 and the shards in .* one of 300"):
        shards.must_fit(299)


def test_an_empty_shard_is_refused(folder: Path) -> None:
    np.save(folder / "train" / "shard_99999.npy", np.zeros(0, dtype=np.uint16))
    with pytest.raises(DataError, match="is empty"):
        open_shards(folder)


def test_what_is_no_finished_text_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="holds token shards to train a base on"):
        open_splits(folder)
    with pytest.raises(DataError, match="has no val text of language 'fr'"):
        open_shards(folder).of_language("val", "fr")
    rewrite_manifest(folder, format=2)
    with pytest.raises(NewerFormatError, match="shards of format 2"):
        open_shards(folder)
    rewrite_manifest(folder, kind="something else")
    with pytest.raises(DataError, match="holds splits for growth"):
        open_shards(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DamagedTextError, match="cannot be read"):
        open_shards(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished text"):
        open_shards(folder)


def test_two_processes_do_not_prepare_the_same_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path / "text"), pytest.raises(BusyError, match="another process is at work"):
        prepare_text(options(write_source(tmp_path / "source")), tmp_path / "text")


@pytest.mark.slow
@pytest.mark.skipif(not MULTILINGUAL.is_dir(), reason="the shared multilingual text is not on this machine")
def test_real_text_of_five_languages(tmp_path: Path) -> None:
    langs = ("en", "pt", "es", "fr", "de")
    given = {"source": str(MULTILINGUAL), "langs": langs, "max_tokens": 200_000, "vocab_size": 2000}
    prepare_text(given, tmp_path / "text")
    shards = open_shards(tmp_path / "text", verify=True)
    assert 190_000 < shards.train.num_tokens <= 200_000
    assert set(shards.corpora) == {"train", "val", "test"}
    for corpus in shards.corpora.values():
        assert corpus.num_bytes / corpus.num_tokens > 2.4
