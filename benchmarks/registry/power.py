"""The power fails: every state that a disk may be left in, as far as flushing allows it, is checked.

What a store really did is written down (`disks.Recording`): some processes write one after the other and die at some
call. Then the power fails after each call: content that was not flushed is lost, torn or zeroed, and names that were
not flushed in their folder are there or not, each on its own. The model takes a disk at its word.
"""

import functools
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, final
from unittest import mock

from benchmarks.registry.disks import Killed, Recording
from saint.errors import SaintError
from saint.records import to_canonical
from saint.registry import Registry
from saint.registry._store import Store
from saint.report import Figure

_ENTRIES_PER_FOLDER = 3
"""Folders are short, so that many of them begin."""
Call = tuple[Any, ...]


@final
@dataclass(kw_only=True)
class Story:
    """What some processes did with one registry, in order, and what they were told was done."""

    folder: Path
    calls: list[Call] = field(default_factory=list)
    acknowledged: list[tuple[int, int, str, str]] = field(default_factory=list)
    """Number of calls before it, number and digest of the entry, and digest of its blob."""


def figures(folder: Path) -> list[Figure]:
    """Of 60 stories, and of fewer with the store's known faults put back in."""
    found = search(folder / "whole", num_stories=60, per_call=4)
    wrong = sum(num for name, num in found.items() if name not in ("states", "acknowledged"))
    faults: list[Careless] = [{"sync": forget}, {"_settle": settle_what_is_new}]
    noticed = sum(
        len(search(folder / f"fault-{number}", num_stories=20, per_call=4, careless=fault)) > 2
        for number, fault in enumerate(faults)
    )
    return [
        Figure(name="power_loss_states", value=found["states"], target=40_000, sense="at_least"),
        Figure(name="power_loss_violations", value=wrong, target=0, sense="at_most"),
        Figure(name="power_loss_known_faults_noticed", value=noticed, target=len(faults), sense="at_least"),
    ]


Careless = Mapping[str, Callable[..., object]]
"""Method of the store -> what it does instead."""


def forget(*_: object) -> None:
    """Do nothing."""


def settle_what_is_new(store: Store, folder: Path) -> None:
    """Flush the name of a folder only when making it, as if whoever made one always lived to flush it."""
    if not folder.is_dir():
        settle_what_is_new(store, folder.parent)
        store._disk.make_folder(folder)
        store._disk.sync(folder.parent)


def tell(folder: Path, seed: int, careless: Careless = MappingProxyType({})) -> Story:
    """Let six processes write to a new registry in `folder`, each until it dies.

    Args:
        careless: What of the store to break, to see whether the model notices.
    """
    draw, story, names = random.Random(seed), Story(folder=folder), dict[Path, int]()
    folder.mkdir(parents=True)
    with ExitStack() as patches:
        patches.enter_context(mock.patch("saint.registry._ledger._ENTRIES_PER_FOLDER", _ENTRIES_PER_FOLDER))
        for method, instead in careless.items():
            patches.enter_context(mock.patch.object(Store, method, instead))
        for process in range(6):
            disk = Recording(story.calls, names, draw.randrange(8, 90))
            try:
                _live(story, disk, process, draw)
            except Killed:
                continue
    return story


def _live(story: Story, disk: Recording, process: int, draw: random.Random) -> None:
    with mock.patch("saint.registry._registry.Store", functools.partial(Store, disk=disk)):
        registry = Registry.open(story.folder)
    for row in range(4):
        content = b"the same for all" if draw.random() < 0.25 else draw.randbytes(8)
        event = registry.write("noted", {"process": process, "row": row}, contents=[content])
        story.acknowledged.append((len(story.calls), event.number, event.digest, event.blobs[0]))


@final
class _Plug:
    """What is durable and what is not yet, after some calls."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._flushed: dict[int, bytes] = {}
        self._written: dict[int, bytes] = {}
        self._names: dict[Path, int] = {}
        self._folders = {root}
        self._made: list[Path] = []
        self._changes: list[tuple[Path, int | None]] = []

    def after(self, call: Call) -> None:
        """One more call was made."""
        what, *about = call
        if what == "write":
            self._written[about[0]] = self._written.get(about[0], b"") + about[1]
        elif what == "flush":
            self._flushed[about[0]] = self._written.get(about[0], b"")
        elif what == "made":
            self._made.append(about[0])
        elif what == "link":
            self._changes.append((about[1], about[0]))
        elif what == "unlink":
            self._changes.append((about[0], None))
        else:
            self._sync(about[0])

    def _sync(self, folder: Path) -> None:
        self._folders.update(one for one in self._made if one.parent == folder)
        self._made = [one for one in self._made if one.parent != folder]
        for change in [change for change in self._changes if change[0].parent == folder]:
            _apply(self._names, change)
        self._changes = [change for change in self._changes if change[0].parent != folder]

    def pull(self, draw: random.Random) -> dict[Path, bytes]:
        """What may be there when the power is back."""
        mode = draw.choice(["nothing more", "some", "all"])

        def survives() -> bool:
            return mode == "all" or (mode == "some" and draw.random() < 0.5)

        folders = self._folders | {one for one in self._made if survives()}
        names = dict(self._names)
        for change in self._changes:
            if survives():
                _apply(names, change)
        return {
            place: self._content(file, draw)
            for place, file in names.items()
            if folders.issuperset(_above(place, self._root))
        }

    def _content(self, file: int, draw: random.Random) -> bytes:
        written = self._written.get(file, b"")
        if self._flushed.get(file) == written:
            return written
        return draw.choice([b"", written[: len(written) // 2], bytes(len(written)), written])


@functools.lru_cache(maxsize=100_000)
def _above(place: Path, root: Path) -> frozenset[Path]:
    return frozenset(above for above in place.parents if above.is_relative_to(root))


def _apply(names: dict[Path, int], change: tuple[Path, int | None]) -> None:
    place, file = change
    if file is None:
        names.pop(place, None)
    else:
        names[place] = file


def states(story: Story, draw: random.Random, per_call: int) -> Iterator[tuple[int, dict[Path, bytes]]]:
    """How many calls were made before the power failed, and what is there afterwards."""
    plug = _Plug(story.folder)
    for num_calls, call in enumerate(story.calls, start=1):
        plug.after(call)
        for _ in range(per_call):
            yield num_calls, plug.pull(draw)


def violation(story: Story, num_calls: int, files: Mapping[Path, bytes]) -> str:
    """What of a state breaks the registry's promise; "" for nothing."""
    log = story.folder / "log"
    places = sorted((place for place in files if place.suffix == ".json" and place.parent.parent == log), key=str)
    if [int(place.stem) for place in places] != list(range(len(places))):
        return "gap in the log"
    entries = [_read(files[place]) for place in places]
    if [entry.previous for entry in entries] != ["0" * 64, *(entry.digest for entry in entries)][: len(entries)]:
        return "broken chain"
    blobs = [story.folder / "blobs" / entry.blob[:2] / entry.blob for entry in entries]
    if any(_digest(files.get(blob, b"lost")) != blob.name for blob in blobs):
        return "an entry's blob lost or torn"
    told = [one[1:] for one in story.acknowledged if one[0] <= num_calls]
    there = {(number, entry.digest, entry.blob) for number, entry in enumerate(entries)}
    if told and story.folder / "registry.json" not in files:
        return "the marker lost"
    return "" if there.issuperset(told) else "an acknowledged entry lost"


class _Entry(NamedTuple):
    previous: str
    digest: str
    blob: str


@functools.lru_cache(maxsize=100_000)
def _read(content: bytes) -> _Entry:
    try:
        entry = json.loads(content)
        assert to_canonical(entry).encode() == content
    except ValueError:
        return _Entry("torn", "", "")
    return _Entry(entry["previous"], _digest(content), entry["blobs"][0])


@functools.lru_cache(maxsize=100_000)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def search(
    folder: Path, *, num_stories: int, per_call: int, seed: int = 0, careless: Careless = MappingProxyType({})
) -> dict[str, int]:
    """Check states of many stories; says how many, and what was violated how often."""
    found, draw = {"states": 0, "acknowledged": 0}, random.Random(seed)
    for number in range(num_stories):
        story = tell(folder / f"story-{number}", 1000 * seed + number, careless)
        found["acknowledged"] += len(story.acknowledged)
        for num_calls, files in states(story, draw, per_call):
            found["states"] += 1
            if wrong := violation(story, num_calls, files):
                found[wrong] = found.get(wrong, 0) + 1
    return found


def opens(story: Story, folder: Path, files: Mapping[Path, bytes]) -> str:
    """Put a state on a real disk, open it, and write on; says what went wrong, or ""."""
    for place, content in files.items():
        there = folder / place.relative_to(story.folder)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(content)
    with mock.patch("saint.registry._ledger._ENTRIES_PER_FOLDER", _ENTRIES_PER_FOLDER):
        try:
            Registry.open(folder).write("noted", {}, contents=[b"after the power came back"])
            events = Registry.open(folder).ledger.events()
        except SaintError as error:
            return str(error)
    return "" if events[-1].name == "noted" else "what was written is not there"
