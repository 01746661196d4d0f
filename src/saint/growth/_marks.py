"""What the trials of a round were found to be worth at rungs: the coordinator's own notes, for when it goes on."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from saint import config, records
from saint.errors import ConfigError
from saint.growth._checks import write_whole

_MOST_BYTES = 1 << 28


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Where a trial was found to stand at a rung."""

    step: int
    """Of the rung."""
    nats: tuple[float, ...] | None
    """What it paid for each document of *select*; None for what is no number."""
    train_tokens: int
    birth_tokens: int
    time_s: float
    made_on: dict[str, Any]
    """The environment of who trained it to there."""
    has_ended: bool
    """Whether it stopped by itself, so that it stands there at later rungs as well."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Of one trial, first to last."""

    rungs: tuple[Mark, ...] = ()
    failed_before: int | None = None
    """The step of a rung that it did not come to, for it failed."""

    def at(self, step: int) -> Mark | None:
        """How it stands at a rung; None where nobody knows, or it has failed."""
        ended = [mark for mark in self.rungs if mark.has_ended and mark.step < step]
        return next((mark for mark in self.rungs if mark.step == step), ended[0] if ended else None)

    def knows(self, step: int) -> bool:
        """Whether it is known how it stands at a rung."""
        return self.at(step) is not None or (self.failed_before is not None and self.failed_before <= step)

    def before(self, step: int | None) -> Mark | None:
        """At the last rung that it came to before a step, or at all."""
        earlier = [mark for mark in self.rungs if step is None or mark.step < step]
        return earlier[-1] if earlier else None

    def with_mark(self, mark: Mark) -> "Marks":
        """The same, one rung on."""
        others = [one for one in self.rungs if one.step != mark.step]
        return replace(self, rungs=tuple(sorted([*others, mark], key=lambda one: one.step)))


def read_marks(file: Path, *, num_documents: int) -> Marks:
    """What was written down; nothing where that cannot be read, for it can be found again."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            return Marks()
        marks = config.build(json.loads(file.read_bytes()), Marks, where=file.name)
    except (OSError, ValueError, RecursionError, ConfigError):
        return Marks()
    sizes = {len(mark.nats) for mark in marks.rungs if mark.nats is not None}
    is_sound = sizes <= {num_documents} and all(_is_number(mark.nats or ()) for mark in marks.rungs)
    return marks if is_sound else Marks()


def write_marks(file: Path, marks: Marks) -> None:
    """Write down, whole or not at all.

    Raises:
        StorageError: The disk refused.
    """
    write_whole(file, records.to_canonical(marks).encode())


def _is_number(nats: Sequence[float]) -> bool:
    return all(map(math.isfinite, nats))
