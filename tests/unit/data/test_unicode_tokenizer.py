"""A tokenizer of characters: every text comes back, ids are code points where they can be, frequent runs have one."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings, strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from multilingual import texts_of, write_jsonl, write_source
from saint.cli.main import main
from saint.data import TOKEN_CLASSES, encode, open_shards, open_splits, prepare_text, token_classes, train_tokenizer
from saint.errors import ConfigError, DataError
from saint.interfaces import token_texts

TEXTS = ["the thin thing, the other thing.\n" * 30, "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e\u306e\u672c " * 20]
SMALL, PUBLISHED = 600, 65536


@pytest.fixture(scope="module", params=[SMALL, PUBLISHED])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, vocab_size=request.param, sort="unicode")


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@example(text="\U0001f389 \ue005\uf8ff \ufffe\uffff\x00 <0x41> <unused_55300>  \t\n the")
def test_any_text_comes_back(text: str) -> None:
    for vocab_size in (SMALL, PUBLISHED):
        made = _made(vocab_size)
        assert made.decode(ids_of(made, text)) == text


def _made(vocab_size: int, _known: dict[int, PreTrainedTokenizerFast] = {}) -> PreTrainedTokenizerFast:  # noqa: B006
    if vocab_size not in _known:
        _known[vocab_size] = train_tokenizer(TEXTS, vocab_size=vocab_size, sort="unicode")
    return _known[vocab_size]


def test_every_id_has_a_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(tokenizer) <= tokenizer.vocab_size


def test_ids_are_code_points_as_published() -> None:
    made = train_tokenizer(TEXTS, vocab_size=PUBLISHED, sort="unicode")
    assert len(made) == PUBLISHED
    vocabulary = {number: spelled for spelled, number in made.get_vocab().items()}
    points = [*range(0xD800), *range(0xF900, 0x10000)]
    assert all(vocabulary[point] == chr(point) for point in points)
    assert made.bos_token_id == 0xE000
    runs = [vocabulary[number] for number in (*range(0xD800, 0xE000), *range(0xE101, 0xF900))]
    used = [run for run in runs if not run.startswith("<unused_")]
    assert runs[: len(used)] == sorted(used, key=lambda run: (-len(run), run))
    assert ids_of(made, "\u8a9e") == [0x8A9E]


def test_a_small_vocabulary_has_the_characters_of_the_text() -> None:
    made = train_tokenizer(TEXTS, vocab_size=SMALL, sort="unicode")
    vocabulary = made.get_vocab()
    assert all(vocabulary[chr(point)] == point for point in range(256))
    assert made.bos_token_id == 256
    others = [513 + place for place in range(4)]
    assert [made.convert_ids_to_tokens(number) for number in others] == sorted("\u65e5\u672c\u8a9e\u306e")
    assert len(ids_of(made, "\U0001f389")) == 4  # its bytes


def test_runs_are_the_most_frequent_pairs_and_triples(tokenizer: PreTrainedTokenizerFast) -> None:
    runs = {spelled for spelled in tokenizer.get_vocab() if 1 < len(spelled) <= 3}
    counted: dict[str, int] = {}
    for text in TEXTS:
        for length in (2, 3):
            for start in range(len(text) - length + 1):
                run = text[start : start + length]
                counted[run] = counted.get(run, 0) + 1
    assert runs <= counted.keys()
    left_out = [counted[run] for run in counted.keys() - runs]
    assert min(counted[run] for run in runs) >= max(left_out, default=0)
    assert len(ids_of(tokenizer, "the thing")) <= 4


def test_no_run_crosses_documents() -> None:
    made = train_tokenizer(["ab"] * 5 + ["x"], vocab_size=SMALL, sort="unicode")
    assert [run for run in made.get_vocab() if 1 < len(run) <= 3] == ["ab"]
    assert len(made) == 514


def test_text_in_pieces_gives_the_same_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_tokenizer(TEXTS, vocab_size=SMALL, sort="unicode")
    monkeypatch.setattr("saint.data._unicode._CHARACTERS_AT_ONCE", 100)
    pieces = train_tokenizer([*TEXTS], vocab_size=SMALL, sort="unicode")
    assert whole.backend_tokenizer.to_str() == pieces.backend_tokenizer.to_str()


def test_it_is_saved_and_loaded_as_any_tokenizer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "the \U0001f389 th\u00efng\n \ue005"
    assert ids_of(loaded, text) == ids_of(tokenizer, text)
    assert loaded.decode(ids_of(loaded, text)) == text
    [tokens] = encode(loaded, [text])
    assert tokens[0] == loaded.bos_token_id


def test_classes_and_texts_of_its_tokens() -> None:
    made = _made(SMALL)
    classes = [TOKEN_CLASSES[number] for number in token_classes(made, vocab_size=SMALL)]
    named = {text: classes[ids_of(made, text)[0]] for text in ("7", "(", "\n", "\u8a9e")}
    assert list(named.values()) == ["digits", "punctuation", "whitespace", "inside of word"]
    texts = token_texts(made, SMALL)
    assert len(set(texts)) == SMALL
    assert texts[65] == "A"
    assert texts[257 + 0xE9] == "<<0xE9>>"  # a byte that is no whole character


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match="vocab_size is 512; a Unicode tokenizer needs at least 513"):
        train_tokenizer(TEXTS, vocab_size=512, sort="unicode")


def test_text_for_a_base_is_prepared_with_it_and_goes_on_with_it(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    line = ["data", "prepare", "--output-dir", str(tmp_path / "text"), "--source", str(source), "--langs", "en,de"]
    line += ["--vocab-size", "600", "--held-out-share", "10%"]
    done = CliRunner().invoke(main, [*line, "--tokenizer", "unicode"])
    assert done.exit_code == 0, done.output
    text = open_shards(tmp_path / "text", verify=True)
    assert text.manifest["options"]["tokenizer"] == "unicode"
    assert AutoTokenizer.from_pretrained(tmp_path / "text" / "tokenizer").bos_token_id == 256
    again = CliRunner().invoke(main, [*line, "--tokenizer", "bpe"])
    assert again.exit_code == 2
    assert "was begun with tokenizer unicode, and now it is bpe; give the same options" in again.stderr
    other = CliRunner().invoke(main, [*line, "--tokenizer", "somewhere"])
    assert other.exit_code == 2
    assert "Without a PLAN --tokenizer is bpe or unicode." in other.stderr


def test_text_that_was_begun_before_there_was_a_choice_has_a_bpe(tmp_path: Path) -> None:
    given = {"source": str(write_source(tmp_path / "source")), "langs": ("en",), "vocab_size": 300}
    manifest = prepare_text(given, tmp_path / "text")
    assert "tokenizer" not in manifest["options"]
    again = prepare_text({**given, "tokenizer": "bpe"}, tmp_path / "text")
    assert again["files"] == manifest["files"]
    with pytest.raises(ConfigError, match="was begun with tokenizer bpe, and now it is unicode"):
        prepare_text({**given, "tokenizer": "unicode"}, tmp_path / "text")


def test_splits_for_growth_are_prepared_with_it(tmp_path: Path) -> None:
    plan = "vocab_size = 600\n"
    for role, lang in (("retain", "en"), ("grow", "de")):
        write_jsonl(tmp_path / f"{lang}.jsonl", texts_of(lang, 200))
        plan += f'[domains.{lang}]\nrole = "{role}"\nsources = ["{lang}.jsonl"]\n'
    (tmp_path / "plan.toml").write_text(plan, encoding="utf-8")
    line = ["data", "prepare", str(tmp_path / "plan.toml"), "--output-dir", str(tmp_path / "text")]
    done = CliRunner().invoke(main, [*line, "--tokenizer", "unicode"])
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "text" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plan"]["tokenizer"] == "unicode"
    assert open_splits(tmp_path / "text").tokenizer.bos_token_id == 256
