"""The published command lines of data preparation, word for word, and what may be wrong with them."""

import json
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from multilingual import texts_of, write_jsonl, write_source
from saint.cli.main import main
from saint.data import open_shards

ROOT = Path(__file__).parents[3]
PUBLISHED = r"""
python scripts/prepare_multilingual_data.py \
  --output-dir data/multilingual_350m --max-tokens 9000 --vocab-size 300 --langs en,pt,es,fr,de
python scripts/prepare_multilingual_data.py \
  --output-dir data/multilingual_350m --vocab-size 300 --finalize --clean-raw
python scripts/prepare_multilingual_data.py --derive-subset-from data/multilingual_350m \
  --output-dir data/multilingual_125m --max-tokens 4500 --subset-copy-mode hardlink
"""


@pytest.fixture(autouse=True)
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(tmp_path / "source")
    write_jsonl(source / "es" / "all.jsonl", texts_of("pt", 60, seed=1))
    write_jsonl(source / "fr" / "all.jsonl", texts_of("en", 60, seed=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAINT_TEXT_SOURCE", "source")


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def prepare(more: str = "") -> Result:
    return run(f"data prepare --output-dir text --langs en,de --vocab-size 300 --held-out-share 10% {more}")


def assert_refused(result: Result, status: int, words: str) -> None:
    assert result.exit_code == status, (result.output, result.exception)
    said = result.stderr.strip().splitlines()[-1]
    assert words in said
    assert "Traceback" not in result.output


def test_the_published_lines_work_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in PUBLISHED.replace("\\\n", "").strip().splitlines():
        _, script, *arguments = shlex.split(line)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        assert ended.value.code == 0
    large, small = (
        open_shards("data/multilingual_350m", verify=True),
        open_shards("data/multilingual_125m", verify=True),
    )
    assert 8_500 < large.train.num_tokens <= 9_000
    assert 4_400 < small.train.num_tokens <= 4_500
    assert sorted(small.manifest["splits"]["train"]["langs"]) == ["de", "en", "es", "fr", "pt"]
    assert not Path("data/multilingual_350m/_raw").exists()


def test_sizes_are_told(tmp_path: Path) -> None:
    told = prepare().stdout.splitlines()
    manifest = json.loads((tmp_path / "text" / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert told[0] == "text: vocabulary of 300"
    assert told[1].startswith(
        f"  train: {train['num_tokens']:,} tokens (de {train['langs']['de']['num_tokens']:,}, en "
    )
    found: dict[str, Any] = json.loads(prepare("--json").stdout)
    assert found["splits"] == manifest["splits"]
    assert found["folder"] == "text"


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ("--langs en,xx", 2, "language 'xx' is missing"),
        ("--finalize", 2, "text has no raw shards to finalize; run the command without --finalize first"),
        ("--vocab-size 100", 2, "vocab_size is 100; a byte-level tokenizer needs at least 257"),
        ("--source nowhere", 2, "--source is nowhere, which is no folder"),
        ("--subset-copy-mode copy", 2, "--subset-copy-mode needs --derive-subset-from."),
        ("--derive-subset-from a --finalize", 2, "A subset has no raw shards"),
        ("--derive-subset-from nowhere --max-tokens 5", 2, "nowhere has no manifest.json"),
        ("--held-out-share 60%", 2, "--held-out-share is 0.6"),
        ("--tokenizer x", 2, "Without a PLAN --tokenizer is bpe or unicode."),
        ("--set seed=1", 2, "--set needs a PLAN."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(more: str, status: int, words: str) -> None:
    assert_refused(prepare(more), status, words)


def test_other_options_than_before_are_refused() -> None:
    assert prepare().exit_code == 0
    assert_refused(prepare("--vocab-size 301"), 2, "text was begun with vocab_size 300, and now it is 301")
    assert_refused(run("data prepare --output-dir text --vocab-size 301 --finalize"), 2, "begun with vocab_size 300")
    subset = "data prepare --derive-subset-from text --output-dir subset"
    assert_refused(run(f"{subset} --max-tokens 999999"), 2, "a subset of 999,999 tokens is larger than its source")
    assert_refused(run(f"{subset} --max-tokens 99 --langs fr"), 2, "begun with langs en,de, and now it is fr")
    assert_refused(run(subset), 2, "--max-tokens is 0")


def test_damage_is_a_check_that_failed(tmp_path: Path) -> None:
    assert prepare().exit_code == 0
    (tmp_path / "text" / "train" / "shard_00000.npy").write_bytes(b"")
    subset = "data prepare --derive-subset-from text --output-dir subset --max-tokens 99"
    assert_refused(run(subset), 1, "train/shard_00000.npy is damaged")


def test_a_plan_and_options_of_text_for_a_base_do_not_go_together() -> None:
    result = run("data prepare plan.toml --output-dir text --langs en")
    assert_refused(result, 2, "With a PLAN there are --output-dir, --tokenizer, --set and --json only.")
