"""Killed while it prepares text, the same command leaves the same bytes as if nothing had happened."""

import os
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from multilingual import content_of, write_source
from saint.data import clean_raw, derive_subset, prepare_text

_MARKS = ("fsync", "replace", "rename", "unlink", "rmdir", "link")
"""Calls of the system between which what is on the disk differs."""


def mark_calls(patch: pytest.MonkeyPatch, before_each: Callable[[], None]) -> None:
    for name in _MARKS:
        patch.setattr(os, name, _marked(getattr(os, name), before_each))


def _marked(real: Callable[..., object], before_each: Callable[[], None]) -> Callable[..., object]:
    def call(*arguments: object, **more: object) -> object:
        before_each()
        return real(*arguments, **more)

    return call


def killed_before(number: int, work: Callable[[], None]) -> bool:
    """Do the work in a child that SIGKILL ends before the call of that number; whether it got that far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child of a process with threads: it starts none
        child = os.fork()
    if child == 0:
        calls = iter(range(number))

        def strike() -> None:
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        mark_calls(pytest.MonkeyPatch(), strike)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def num_calls(work: Callable[[], None]) -> int:
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        mark_calls(patch, lambda: seen.append(1))
        work()
    return len(seen)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def places(tmp_path: Path) -> Callable[[], Path]:
    """A new folder each time."""
    numbers = iter(range(10_000))
    return lambda: tmp_path / f"text-{next(numbers)}"


def prepares(source: Path) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        given = {"source": str(source), "langs": ("en", "pt", "de"), "vocab_size": 280, "held_out_share": 0.1}
        prepare_text({**given, "shard_tokens": 900}, folder)

    return prepare


def check(work: Callable[[Path], None], places: Callable[[], Path], at: slice) -> int:
    """Kill before each of some calls, do the work again, and compare; how many kills there were."""
    whole = places()
    total = num_calls(lambda: work(whole))
    numbers = range(total)[at]
    for number in numbers:
        folder = places()
        assert killed_before(number, lambda folder=folder: work(folder))  # type: ignore[misc]
        work(folder)
        assert content_of(folder) == content_of(whole), f"after a kill before call {number} of {total}"
    assert not [path for path in whole.parent.iterdir() if path.name.startswith(".")]
    return len(numbers)


def test_kills_while_text_is_prepared_change_nothing(tmp_path: Path, places: Callable[[], Path]) -> None:
    source = write_source(tmp_path / "source", number=20)
    assert check(prepares(source), places, slice(3, None, 23)) > 3


@pytest.mark.by_hand
def test_kills_anywhere_while_text_is_prepared_change_nothing(tmp_path: Path, places: Callable[[], Path]) -> None:
    source = write_source(tmp_path / "source", number=20)
    assert check(prepares(source), places, slice(0, None, 1)) > 100


def test_two_kills_change_nothing(tmp_path: Path, places: Callable[[], Path]) -> None:
    prepare = prepares(write_source(tmp_path / "source", number=20))
    whole, folder = places(), places()
    prepare(whole)
    for number in (30, 12):
        assert killed_before(number, lambda: prepare(folder))
    prepare(folder)
    assert content_of(folder) == content_of(whole)


def test_kills_while_raw_shards_are_removed_change_nothing(tmp_path: Path, places: Callable[[], Path]) -> None:
    prepare = prepares(write_source(tmp_path / "source", number=20))

    def work(folder: Path) -> None:
        if not folder.exists():
            shutil.copytree(ready, folder)
        clean_raw(folder)

    ready = tmp_path / "ready"
    prepare(ready)
    assert check(work, places, slice(0, None, 5)) > 3


@pytest.mark.parametrize("copy_mode", ["hardlink", "copy"])
def test_kills_while_a_subset_is_derived_change_nothing(
    copy_mode: str, tmp_path: Path, places: Callable[[], Path]
) -> None:
    ready = tmp_path / "ready"
    prepares(write_source(tmp_path / "source", number=20))(ready)

    def work(folder: Path) -> None:
        derive_subset(ready, folder, max_tokens=1500, copy_mode=copy_mode)  # type: ignore[arg-type]

    assert check(work, places, slice(0, None, 3)) > 3
