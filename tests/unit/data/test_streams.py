"""A dataset is read through the package `datasets`, a language at a time, and what is wrong with it is said."""

import builtins
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multilingual import texts_of, write_jsonl
from saint.data import prepare_text
from saint.data._streams import streams_of
from saint.errors import DataError, MissingPackageError, RemoteError, SaintError

_CARD = """---
configs:
- config_name: en
  data_files: en/*.jsonl
- config_name: news.pt
  data_files: pt/*.jsonl
---
"""


def write_dataset(folder: Path) -> Path:
    """A folder as the hub has them, with a configuration for each language."""
    for lang in ("en", "pt"):
        write_jsonl(folder / lang / "part-0.jsonl", texts_of(lang, 30))
        write_jsonl(folder / lang / "part-1.jsonl", ["", *texts_of(lang, 30, seed=1)])
    (folder / "README.md").write_text(_CARD)
    return folder


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The package, without a network and with caches of its own."""
    reason = "the package datasets is not installed: pip install 'saint-g[data]'"
    found = pytest.importorskip("datasets", reason=reason, exc_type=ImportError)
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    return found


def texts_in(source: str, lang: str) -> list[str]:
    [stream] = streams_of(source, (lang,), text_key="text")
    return [document.text for document in stream.read()]


@pytest.mark.usefixtures("datasets")
def test_a_dataset_gives_its_documents_in_order(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set")
    assert texts_in(f"datasets:{folder}", "en") == [*texts_of("en", 30), *texts_of("en", 30, seed=1)]
    assert texts_in(f"datasets:{folder}:news.{{lang}}", "pt") == [*texts_of("pt", 30), *texts_of("pt", 30, seed=1)]


@pytest.mark.usefixtures("datasets")
def test_a_dataset_and_its_files_give_the_same_shards(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set")
    given = {"langs": ("en",), "vocab_size": 290, "held_out_share": 0.1}
    one = prepare_text({**given, "source": f"datasets:{folder}"}, tmp_path / "one")
    other = prepare_text({**given, "source": str(folder)}, tmp_path / "other")
    assert one["files"] == other["files"]


def refusal(kind: type[SaintError], source: str, lang: str) -> str:
    with pytest.raises(kind) as caught:
        texts_in(source, lang)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("datasets")
def test_a_dataset_without_the_language_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set")
    said = refusal(DataError, f"datasets:{folder}", "fr")
    assert said.startswith(f"language 'fr' is missing: there is no dataset {folder} with a configuration fr")
    assert "language 'en' is missing" in refusal(DataError, f"datasets:{tmp_path / 'nowhere'}", "en")


@pytest.mark.usefixtures("datasets")
def test_a_dataset_without_the_column_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set")
    (folder / "en" / "part-0.jsonl").write_text('{"body": "a text"}\n')
    assert "has no text under 'text' (it has body" in refusal(DataError, f"datasets:{folder}", "en")


@pytest.mark.usefixtures("datasets")
def test_a_dataset_that_cannot_be_reached_is_no_missing_one() -> None:
    said = refusal(RemoteError, "wikipedia", "en")
    assert said.startswith("the dataset wikimedia/wikipedia (20231101.en) could not be reached")


def stand_in(load: Callable[..., Any]) -> types.ModuleType:
    """A package `datasets` that loads so."""
    module = types.ModuleType("datasets")
    vars(module).update(load_dataset=load, exceptions=types.SimpleNamespace(DatasetsError=BufferError))
    return module


def test_a_network_that_fails_on_the_way_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, configuration: str, **asked: object) -> Any:
        assert (name, configuration, asked) == ("uonlp/CulturaX", "pt", {"split": "train", "streaming": True})
        yield {"text": "one"}
        raise builtins.ConnectionError("cut off\nfor good")

    monkeypatch.setitem(sys.modules, "datasets", stand_in(load))
    said = refusal(RemoteError, "culturax", "pt")
    assert said.startswith("the dataset uonlp/CulturaX (pt) could not be reached (cut off); run the same command again")


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = refusal(MissingPackageError, "datasets:some/set", "en")
    assert said == "the dataset some/set needs the package datasets: pip install 'saint-g[data]'"


def test_languages_and_splits_are_read_from_names(tmp_path: Path) -> None:
    for name in ("en.txt", "pt.train.txt", "pt/dev/a.txt", "pt/dev/b.txt", "pt/more.txt", "portal.txt", "de/x.txt"):
        write_jsonl(tmp_path / name, ["x"])
    streams = streams_of(str(tmp_path), ("en", "pt", "de"), text_key="text")
    assert [stream.name for stream in streams] == ["pt.val", "en", "pt.train", "de"]
    assert [len(list(stream.read())) for stream in streams] == [2, 1, 2, 1]


def test_held_out_files_without_training_files_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "en.val.jsonl", ["x"])
    with pytest.raises(DataError, match="language 'en' has no training files"):
        streams_of(str(tmp_path), ("en",), text_key="text")
