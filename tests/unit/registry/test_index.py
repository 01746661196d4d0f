"""The index answers as the ledger does, whatever became of the index."""

import hashlib
import os
import random
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from made_up_history import History
from saint.cli.main import main
from saint.errors import LedgerError
from saint.registry import Event, Registry, _ledger, find


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry, history = Registry.open(tmp_path / "garden"), History(4)
    for _ in range(40):
        registry.write(*history.next(registry.state))
    return registry


def by_reading(registry: Registry, *, event: str = "", graft: str = "") -> list[Event]:
    return [
        one
        for one in registry.ledger.reread()
        if (not event or one.name == event) and (not graft or any(name.startswith(graft) for name in grafts_of(one)))
    ]


def grafts_of(event: Event) -> list[str]:
    return [event.body.get("graft", ""), *event.body.get("retrained", [])]


def answers_rightly(registry: Registry) -> bool:
    graft = registry.state.judged[0].digest
    questions = [{"event": "judged"}, {"graft": graft[:8]}, {"event": "judged", "graft": graft}, {"event": "nothing"}]
    fresh = Registry.open(registry.folder)
    return all(find(fresh, **question) == by_reading(registry, **question) for question in questions)


def test_it_answers_what_reading_everything_answers(registry: Registry) -> None:
    assert answers_rightly(registry)
    assert (registry.folder / "index.sqlite").exists()
    registry.write("noted", {"graft": "ab" * 32})
    assert [event.number for event in find(registry, graft="abab")] == [40]
    assert answers_rightly(registry)


def test_what_was_read_before_is_not_read_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    find(registry, event="judged")
    registry.write("noted", {"row": "new"})
    read, opened = [], _ledger.read_file
    monkeypatch.setattr(_ledger, "read_file", lambda path, **caps: read.append(path.name) or opened(path, **caps))
    assert [event.body for event in find(registry, event="noted")][-1] == {"row": "new"}
    assert 0 < len(read) < 15


def test_a_missing_zeroed_or_cut_index_is_made_anew(registry: Registry) -> None:
    file = registry.folder / "index.sqlite"
    for damage in (lambda content: bytes(len(content)), lambda content: content[:1000], lambda _: b""):
        assert answers_rightly(registry)
        file.write_bytes(damage(file.read_bytes()))
        assert answers_rightly(registry)
    file.unlink()
    assert answers_rightly(registry)
    file.unlink()
    os.mkfifo(file)
    assert answers_rightly(registry)


@pytest.mark.slow
def test_an_index_that_is_damaged_anywhere_is_made_anew(registry: Registry) -> None:
    draw, file = random.Random(0), registry.folder / "index.sqlite"
    expected = by_reading(registry, event="judged")
    find(registry, event="judged")
    for offset in draw.sample(range(file.stat().st_size), 200):
        content = bytearray(file.read_bytes())
        content[offset] ^= draw.randrange(1, 256)
        file.write_bytes(content)
        assert find(Registry.open(registry.folder), event="judged") == expected


def sealed(registry: Registry, content: bytes) -> None:
    """As if this machine had written it."""
    (registry.folder / "index.sqlite").write_bytes(content)
    written = registry.seal.memory.index_path(registry.folder)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(f"{len(content)} {hashlib.sha256(content).hexdigest()}\n")


LIES = {
    "missing": "DELETE FROM entries WHERE event = 'judged'; DELETE FROM grafts;",
    "renamed": "UPDATE entries SET event = CASE event WHEN 'judged' THEN 'noted' ELSE 'judged' END;",
    "of another graft": f"UPDATE grafts SET graft = '{'ab' * 32}';",
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_whose_rows_lie_is_made_anew(registry: Registry, lie: str) -> None:
    find(registry, event="judged")
    file = registry.folder / "index.sqlite"
    known = sqlite3.connect(":memory:")
    known.deserialize(file.read_bytes())
    known.executescript(LIES[lie])
    content = known.serialize()
    file.write_bytes(content)
    (registry.folder / "index.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  index.sqlite\n")
    assert answers_rightly(registry)


def test_an_index_of_another_version_or_another_ledger_is_made_anew(registry: Registry, tmp_path: Path) -> None:
    old = sqlite3.connect(":memory:")
    old.executescript("CREATE TABLE entries (number INTEGER); PRAGMA user_version = 99;")
    sealed(registry, old.serialize())
    assert answers_rightly(registry)
    other = Registry.open(tmp_path / "other")
    for row in range(5):
        other.write("judgement day", {"row": row})
    find(other, event="noted")
    sealed(registry, (other.folder / "index.sqlite").read_bytes())
    assert answers_rightly(registry)


def test_where_nothing_can_be_kept_it_answers_all_the_same(registry: Registry) -> None:
    (registry.folder / "tmp").rmdir()
    assert answers_rightly(registry)
    assert not (registry.folder / "index.sqlite").exists()


def test_a_broken_ledger_is_not_hidden_by_the_index(registry: Registry) -> None:
    [judged, *_] = find(registry, event="judged")
    place = registry.ledger.place(judged.number)
    content = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(content.replace(b'"judged"', b'"jugded"'))
    with pytest.raises(LedgerError, match=place.name):
        find(Registry.open(registry.folder), event="judged")
    place.unlink()
    with pytest.raises(LedgerError, match=f"{place.name} is missing"):
        find(Registry.open(registry.folder), event="noted")


def test_the_log_is_asked_by_event_and_graft(registry: Registry) -> None:
    graft = registry.state.judged[0].digest
    said = CliRunner().invoke(main, ["log", str(registry.folder), "--event", "judged", "--graft", graft[:10], "--json"])
    assert said.exit_code == 0
    assert graft in said.output
    assert '"rolled_back"' not in said.output
