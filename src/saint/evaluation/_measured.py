"""What is said of a model, alone or beside another one, on a benchmark or a text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from torch import nn

from saint.data import Corpus
from saint.errors import DataError
from saint.evaluation._losses import Losses
from saint.evaluation._tasks import TaskScores, score_task
from saint.records import Interval
from saint.statistics import negated, paired_interval
from saint.tasks import Questions

Answering = tuple[nn.Module, Any]
"""A model with its tokenizer."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number of a model, and how far it is from another model's on the same items."""

    value: Interval
    difference: Interval | None = None
    """This model's less the other's; None where there is no other."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """A model on a benchmark."""

    task: str
    reference: str
    licence: str
    questions: str
    """Digest of what was asked."""
    num_questions: int
    num_available: int
    num_clusters: int
    """Independent observations among the questions, such as articles."""
    seed: int | None
    """By which questions were drawn; None where all were asked."""
    chance: float | None
    """What guessing gets of the accuracy; None for open questions."""
    constant: float | None
    """What the best answer that is always the same gets, where all questions have the same options."""
    measures: Mapping[str, Measure]
    """Scores between 0 and 1; more is better."""
    right_bpb: Measure
    """Bits per byte of the right option; less is better."""
    groups: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)
    """Subject or phenomenon -> each measure's mean there."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TextResult:
    """A model on a text."""

    text: str
    corpus: str
    """Digest of the documents as they were cut into tokens."""
    num_documents: int
    num_bytes: int
    bpb: Measure
    """Bits per byte; less is better."""


def measure_task(
    asked: Questions, mine: Answering, other: Answering | None = None, *, seq_len: int = 1024
) -> TaskResult:
    """Ask a model, and another one beside it if given, and say what came of it with 95 % intervals.

    Raises:
        DataError: There are too few questions for an interval, or a likelihood is not a number.
    """
    scores = score_task(*mine, asked, seq_len=seq_len)
    beside = None if other is None else score_task(*other, asked, seq_len=seq_len)
    above: Mapping[str, Interval] = {} if beside is None else scores.above(beside)
    groups = [question.group for question in asked.questions]
    return TaskResult(
        task=asked.name,
        reference=asked.task.reference,
        licence=asked.task.licence,
        questions=asked.digest,
        num_questions=len(asked.questions),
        num_available=asked.num_available,
        num_clusters=len(np.unique(scores.clusters)),
        seed=asked.seed,
        chance=asked.chance,
        constant=asked.constant,
        measures={name: Measure(value=value, difference=above.get(name)) for name, value in scores.intervals().items()},
        right_bpb=_right(scores, beside),
        groups=scores.group_means(groups) if any(groups) else {},
    )


def measure_text(
    corpus: Corpus,
    model: nn.Module,
    other: tuple[Corpus, nn.Module] | None = None,
    *,
    losses: Losses | None = None,
) -> TextResult:
    """Bits per byte of a model on a text, and how many more than another one's.

    Args:
        corpus: The text in the tokens of the model.
        other: The same text in the tokens of another model, and that model.
        losses: Says how the text is cut.

    Raises:
        DataError: The text has fewer than two documents, a loss is not a number, or the other text is another one.
    """
    losses = losses or Losses()
    nats, sizes = losses.measure(model, corpus), corpus.num_bytes_each
    difference = None
    if other is not None:
        theirs, beside = other
        if theirs.documents != corpus.documents:
            raise DataError(f"{theirs.name} is not the text that {corpus.name} is; measure both models on one text")
        difference = negated(paired_interval(losses.measure(beside, theirs), nats, sizes))
    return TextResult(
        text=corpus.name,
        corpus=corpus.digest,
        num_documents=corpus.num_documents,
        num_bytes=corpus.num_bytes,
        bpb=Measure(value=paired_interval(nats, np.zeros_like(nats), sizes), difference=difference),
    )


def _right(scores: TaskScores, beside: TaskScores | None) -> Measure:
    return Measure(value=scores.right_bpb(), difference=None if beside is None else scores.right_bpb_above(beside))
