"""Disks that die, refuse, or write down what they were asked."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, final

from typing_extensions import override

from saint.registry._disk import Disk

Step = Literal["opened", "written", "protected", "flushed", "linked", "removed", "synced"]
POINTS = (
    "blob opened", "blob written", "blob protected", "blob flushed", "blob linked", "blob removed", "blob synced",
    "entry opened", "entry written", "entry protected", "entry flushed", "entry linked", "entry synced",
)  # fmt: skip
"""What of a write was done last when its process is killed."""


class Watched(Disk):
    """Does all that it is asked, and calls `before` and `after` each time."""

    def __init__(self) -> None:
        self._sorts: dict[int, str] = {}

    def before(self, step: Step | Literal["made"], what: Path | int) -> None:
        """Asked of something in a folder, of a file, or of an open file."""

    def after(self, step: Step | Literal["made"], what: Path | int) -> None:
        """It was done."""

    @override
    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._do("made", folder, lambda: super(Watched, self).make_folder(folder))

    @override
    def open_draft(self, draft: Path) -> int:
        self.before("opened", draft)
        descriptor = super().open_draft(draft)
        self._sorts[descriptor] = sort_of(draft)
        self.after("opened", draft)
        self.drafted(descriptor, draft)
        return descriptor

    def drafted(self, descriptor: int, draft: Path) -> None:
        """This is the open file of that draft."""

    @override
    def write(self, descriptor: int, content: memoryview) -> int:
        return self._do("written", descriptor, lambda: super(Watched, self).write(descriptor, content))  # type: ignore[no-any-return]

    @override
    def protect(self, descriptor: int) -> None:
        self._do("protected", descriptor, lambda: super(Watched, self).protect(descriptor))

    @override
    def flush(self, descriptor: int) -> None:
        self._do("flushed", descriptor, lambda: super(Watched, self).flush(descriptor))

    @override
    def link(self, draft: Path, place: Path) -> None:
        self._do("linked", place, lambda: super(Watched, self).link(draft, place))

    @override
    def sync(self, folder: Path) -> None:
        self._do("synced", folder, lambda: super(Watched, self).sync(folder))

    @override
    def remove(self, file: Path) -> None:
        self._do("removed", file, lambda: super(Watched, self).remove(file))

    def _do(self, step: Any, what: Path | int, work: Callable[[], Any]) -> Any:
        self.before(step, what)
        done = work()
        self.after(step, what)
        return done


def sort_of(path: Path) -> str:
    """Whether a file or folder belongs to a blob or to an entry."""
    return "entry" if ".json" in path.name or path.parent.name == "log" else "blob"


@final
class Deadly(Watched):
    """The process is killed right after a named point was reached for the n-th time."""

    def __init__(self, point: str, occurrence: int) -> None:
        super().__init__()
        self._point, self._left = point, occurrence

    @override
    def after(self, step: Any, what: Path | int) -> None:
        sort = self._sorts[what] if isinstance(what, int) else sort_of(what)
        if f"{sort} {step}" == self._point and (step != "synced" or _holds_files(what)):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _holds_files(what: Path | int) -> bool:
    return isinstance(what, Path) and what.parent.name in ("blobs", "log")


@final
class Refusing(Watched):
    """The n-th call fails, before anything was done; with `for_good` all later ones as well."""

    def __init__(self, call: int, number: int, *, for_good: bool) -> None:
        super().__init__()
        self._left, self._number, self._for_good = call, number, for_good
        self.refused: list[str] = []

    @override
    def before(self, step: Any, what: Path | int) -> None:
        self._left -= 1
        if self._left == 0 or (self._for_good and self._left < 0):
            self.refused.append(step)
            raise OSError(self._number, os.strerror(self._number))


@final
class Slow(Disk):
    """Takes a few bytes at a time, as a disk may."""

    @override
    def write(self, descriptor: int, content: memoryview) -> int:
        return super().write(descriptor, content[:7])


@final
class Careless(Disk):
    """Flushes nothing: to make a long ledger quickly."""

    @override
    def flush(self, descriptor: int) -> None:
        pass

    @override
    def sync(self, folder: Path) -> None:
        pass


class Killed(BaseException):
    """A process that is gone does nothing any more, not even what stands in a `finally`."""


@final
class Recording(Watched):
    """Writes down what was done of what can be lost, until its process dies before some call."""

    def __init__(self, done: list[tuple[Any, ...]], names: dict[Path, int], lives: int) -> None:
        """Begin.

        Args:
            done: Of all processes, in order.
            names: File -> which one it is, of all processes.
            lives: How many calls the process lives for.
        """
        super().__init__()
        self._done, self._names, self._lives = done, names, lives
        self._files: dict[int, int] = {}

    @override
    def before(self, step: Any, what: Path | int) -> None:
        self._lives -= 1
        if self._lives < 0:
            raise Killed

    @override
    def after(self, step: Any, what: Path | int) -> None:
        if step == "flushed":
            assert isinstance(what, int)
            self._done.append(("flush", self._files[what]))
        elif step in ("made", "synced"):
            self._done.append((step, what))
        elif step == "removed":
            assert isinstance(what, Path)
            self._names.pop(what)
            self._done.append(("unlink", what))

    @override
    def drafted(self, descriptor: int, draft: Path) -> None:
        file = self._files[descriptor] = self._names[draft] = len(self._done)  # no other file has this number
        self._done.append(("link", file, draft))

    @override
    def write(self, descriptor: int, content: memoryview) -> int:
        num = super().write(descriptor, content)
        self._done.append(("write", self._files[descriptor], bytes(content[:num])))
        return num

    @override
    def flush(self, descriptor: int) -> None:
        self._do("flushed", descriptor, lambda: None)  # the power fails in the model alone

    @override
    def sync(self, folder: Path) -> None:
        self._do("synced", folder, lambda: None)

    @override
    def link(self, draft: Path, place: Path) -> None:
        super().link(draft, place)
        self._names[place] = self._names[draft]
        self._done.append(("link", self._names[draft], place))
