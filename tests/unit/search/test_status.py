"""What a search says of itself, and what may be asked of it."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saint.errors import StorageError
from saint.search import Control, RoleStatus, SearchStatus, StatusFile, Word, WorkerStatus, look

_STATUS = SearchStatus(
    pid=os.getpid(),
    host=socket.gethostname(),
    executor="processes",
    started=100.0,
    written=200.0,
    round=1,
    workers=(WorkerStatus(name="w1", state="busy", role="search", job="ab" * 32, since=150.0, units=4096, done=3),),
    jobs={"proposed": 2, "leased": 1},
    roles={"search": RoleStatus(done=3, seconds=12.5, units=9000)},
    lost=1,
    said=("w0 died",),
)


def _write(work: Path, status: SearchStatus) -> None:
    assert StatusFile(work).show(lambda: status)


def test_what_is_said_is_seen(tmp_path: Path) -> None:
    _write(tmp_path, _STATUS)
    assert look(tmp_path, now=201.0) == (_STATUS, "")
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"], "no draft is left"


def test_it_is_said_twice_a_second_at_most(tmp_path: Path) -> None:
    time = iter([0.0, 0.1, 0.4, 0.5, 0.6, 0.7])
    made = []

    def make() -> SearchStatus:
        made.append(1)
        return _STATUS

    file = StatusFile(tmp_path, clock=lambda: next(time))
    assert [file.show(make) for _ in range(5)] == [True, False, False, True, False]
    assert file.show(make, at_once=True)
    assert len(made) == 3, "what is not written is not made"


def test_a_disk_that_refuses_ends_no_search(tmp_path: Path) -> None:
    (tmp_path / "search.json").mkdir()
    assert not StatusFile(tmp_path).show(lambda: _STATUS)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"], "no draft is left"


def test_nobody_is_at_work(tmp_path: Path) -> None:
    assert look(tmp_path) == (None, "no search with workers was under way here")
    gone = replace(_STATUS, pid=2**22 + 1)  # above every process of Linux
    for status, why in (
        (gone, f"its coordinator, process {gone.pid}, died"),
        (replace(_STATUS, pid=0), "its coordinator, process 0, died"),
        (replace(_STATUS, ended=True), "the search ended"),
    ):
        _write(tmp_path, status)
        assert look(tmp_path, now=200.0) == (status, why)


def test_one_of_another_machine_is_believed_for_a_while(tmp_path: Path) -> None:
    status = replace(_STATUS, host="elsewhere", pid=1)
    _write(tmp_path, status)
    assert look(tmp_path, now=700.0) == (status, "")
    assert "process 1 on elsewhere, has said nothing for 1,000 s" in look(tmp_path, now=1200.0).nobody


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "cannot be read"),
        ('{"format": 1, "pid": 12', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('"' + "x" * (1 << 22) + '"', "over 4,194,304 bytes"),
        ('{"format": 2, "words": []}', "has format '2', this version reads 1"),
        ("[]", "expected a table"),
        ('{"format": 1, "pid": 12}', "needs the key 'host'"),
        ({"written": "NaN"}, "expected a number"),
        ({"workers": [{"name": "w", "state": "asleep"}]}, "expected 'starting' or 'idle' or 'busy'"),
        ({"more": 1}, "no key 'more'"),
    ],
)
def test_what_no_coordinator_wrote_is_said_so(tmp_path: Path, content: str | dict[str, Any], why: str) -> None:
    _write(tmp_path, _STATUS)
    place = tmp_path / "search.json"
    text = content if isinstance(content, str) else json.dumps({**json.loads(place.read_text()), **content})
    place.write_text(text)
    found = look(tmp_path)
    assert found.status is None
    assert why in found.nobody


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "search.json")
    assert "no ordinary file" in look(tmp_path).nobody


def test_a_word_is_heard_once_and_the_last_one_counts(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert control.asked() is None
    control.ask(Word.PAUSE)
    control.ask(Word.STOP)
    assert (tmp_path / "search.control").read_text() == "stop\n"
    assert control.asked() is Word.STOP
    assert control.asked() is None
    (tmp_path / "search.control").write_text("rm -rf\n")
    assert control.asked() is None
    assert not list(tmp_path.iterdir())


def test_a_word_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "search.control").mkdir()
    with pytest.raises(StorageError, match=r"search\.control was not written"):
        Control(tmp_path).ask(Word.STOP)
