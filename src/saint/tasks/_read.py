from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Int64

from saint import discovery, records
from saint.data import read_json_objects
from saint.errors import ConfigError, DataError
from saint.tasks._question import Question
from saint.tasks._task import Task

_LABEL = ":"


@final
@dataclass(frozen=True, kw_only=True)
class Questions:
    """What is asked of a model: all questions of a source, or some that were drawn."""

    name: str
    """The task's, and after a colon what whoever measures calls this source."""
    task: Task
    questions: tuple[Question, ...]
    num_available: int
    """How many the source has."""
    seed: int | None = field(default=None)
    """By which they were drawn; None for all of them."""

    @cached_property
    def digest(self) -> str:
        """Of all that is asked."""
        return records.digest(self.questions)

    @property
    def clusters(self) -> Int64[np.ndarray, " questions"]:
        """Which questions belong together: a number for each; one that shares nothing has its own."""
        names = [f"c{q.cluster}" if q.cluster else f"q{i}" for i, q in enumerate(self.questions)]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    @property
    def chance(self) -> float | None:
        """The share that guessing gets right on average; None for open questions."""
        if self.task.sort != "choice":
            return None
        return float(np.mean([1 / len(question.options) for question in self.questions]))

    @property
    def constant(self) -> float | None:
        """The share that the best of answers that are always the same gets right, where all have the same options."""
        if self.task.sort != "choice" or len({question.options for question in self.questions}) > 1:
            return None
        places = [question.right for question in self.questions]
        return float(np.bincount(places).max() / len(places))


def task_of(name: str) -> Task:
    """The task of that name; after a colon, what it is called here may follow.

    Raises:
        UnknownNameError: There is no such task.
    """
    found: Task = discovery.find("tasks", name.partition(_LABEL)[0], Task)()  # type: ignore[abstract,unused-ignore]
    return found


def read_questions(
    name: str, source: str | Path, *, root: Path = Path(), limit: int | None = None, seed: int = 0
) -> Questions:
    """The questions of a benchmark in files of the user's.

    Args:
        name: The task, such as `arc`, or `arc:easy` where one task is measured on several sources.
        source: A file, folder or glob of .jsonl, .jsonl.gz, .jsonl.zst or .json.
        root: What a relative path is relative to.
        limit: Most questions to ask; they are drawn, for files are often sorted by subject. None for all.
        seed: Chooses which.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: The limit is below 2.
        DataError: The source is missing, unreadable, empty, or not in one of the task's formats.
    """
    task = task_of(name)
    if limit is not None and limit < 2:
        raise ConfigError(f"limit is {limit}; an interval needs at least 2 questions")
    found = [*_read(task, name, str(source), root)]
    if not found:
        raise DataError(f"{source} has no questions for {name}; give the file of the benchmark's items")
    drawn = found
    if limit is not None and limit < len(found):
        places = np.random.default_rng(seed).permutation(len(found))[:limit]
        drawn = [found[place] for place in sorted(places)]
    return Questions(
        name=name,
        task=task,
        questions=tuple(drawn),
        num_available=len(found),
        seed=None if drawn is found else seed,
    )


def _read(task: Task, name: str, source: str, root: Path) -> Iterator[Question]:
    for line, place in read_json_objects(source, root=root):
        try:
            yield from task.read(line)
        except DataError as error:
            raise DataError(
                f"{place} is no line of {name}: {error}; docs/reference/tasks.md has its formats"
            ) from error
