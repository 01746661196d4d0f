"""Losses on disk: found again to the bit, whole or not at all, and never believed when damaged."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from saint.evaluation import LossStore
from saint.progress import Progress, Silent, Task

NATS = np.array([1.25, 3.0, 0.1 + 0.2])
WHAT = {"base": "b", "corpus": "c"}


class Listener(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    @override
    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:
        yield Silent()

    @override
    def note(self, message: str) -> None:
        self.notes.append(message)


def never() -> np.ndarray:
    raise AssertionError("it was measured before")


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    LossStore(tmp_path).once(WHAT, 3, lambda: NATS)
    assert np.array_equal(LossStore(tmp_path).once(WHAT, 3, never), NATS)
    with pytest.raises(AssertionError, match="measured before"):
        LossStore(tmp_path).once({**WHAT, "corpus": "d"}, 3, never)


DAMAGES: dict[str, Callable[[str], str]] = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "another number": lambda text: text.replace("1.25", "1.26"),
    "of something else": lambda text: text.replace('"c"', '"d"'),
    "one number less": lambda text: text.replace("1.25,", ""),
    "another form": lambda _: "[1, 2]",
    "no numbers": lambda text: text.replace("1.25", '"x"'),
    "other keys": lambda text: text.replace("nats", "bits"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_measured_again_with_a_note(tmp_path: Path, damage: str) -> None:
    LossStore(tmp_path).once(WHAT, 3, lambda: NATS)
    [file] = tmp_path.iterdir()
    file.write_text(DAMAGES[damage](file.read_text(encoding="utf-8")), encoding="utf-8")
    heard = Listener()
    again = LossStore(tmp_path, progress=heard).once(WHAT, 3, lambda: NATS + 1)
    assert np.array_equal(again, NATS + 1)
    [note] = heard.notes
    assert str(file) in note
    assert "damaged" in note
    assert np.array_equal(LossStore(tmp_path).once(WHAT, 3, never), NATS + 1)


def test_losses_that_are_not_numbers_are_not_kept(tmp_path: Path) -> None:
    broken = np.array([1.0, np.nan, 2.0])
    assert np.isnan(LossStore(tmp_path).once(WHAT, 3, lambda: broken)).any()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept_is_still_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    heard = Listener()
    store = LossStore(tmp_path / "file" / "losses", progress=heard)
    for _ in range(2):
        assert np.array_equal(store.once(WHAT, 3, lambda: NATS), NATS)
    assert sum("is not kept" in note for note in heard.notes) == 1


def test_what_a_killed_process_left_half_written_is_no_result(tmp_path: Path) -> None:
    LossStore(tmp_path).once(WHAT, 3, lambda: NATS)
    [file] = tmp_path.iterdir()
    file.rename(tmp_path / f".{file.name}.123")
    assert np.array_equal(LossStore(tmp_path).once(WHAT, 3, lambda: NATS + 1), NATS + 1)


def test_people_can_read_what_a_file_is_of(tmp_path: Path) -> None:
    LossStore(tmp_path).once(WHAT, 3, lambda: NATS)
    [file] = tmp_path.iterdir()
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert found["of"] == WHAT
    assert found["nats"] == NATS.tolist()
