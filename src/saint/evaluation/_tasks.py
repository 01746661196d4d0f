"""How well a model does on the questions of a benchmark: one way of scoring, whatever the benchmark."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import nn

from saint.data import Tokens, encode
from saint.errors import DataError
from saint.evaluation._completions import completion_costs, continuations
from saint.records import Interval
from saint.statistics import negated, paired_interval, paired_score_interval, score_interval
from saint.tasks import Question, Questions

PerQuestion = Float64[np.ndarray, " questions"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@final
@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """What one model has on each question.

    `accuracy`: 1 where the right option is the likeliest, as the harness of EleutherAI has it (`acc`); of options that
    are equally likely each counts as an equal share. `accuracy_per_byte`: the same where the logarithms are divided by
    the UTF-8 bytes of their options, which takes away what short options have for being short (`acc_norm`).
    `exact_match` and `f1`: of what the model writes, best over the accepted answers.
    """

    scores: Mapping[str, PerQuestion]
    """Measure -> a score between 0 and 1 for each question."""
    right_nats: PerQuestion
    """-ln p(right option | context)."""
    right_bytes: Int64[np.ndarray, " questions"]
    clusters: Int64[np.ndarray, " questions"]

    def intervals(self) -> dict[str, Interval]:
        """Each measure's mean; what may hold of other questions of the kind.

        Raises:
            DataError: There are too few questions.
        """
        return {name: score_interval(scores, self.clusters) for name, scores in self.scores.items()}

    def above(self, other: "TaskScores") -> dict[str, Interval]:
        """How much higher each measure is than another model's on the same questions.

        Raises:
            DataError: There are too few questions.
        """
        return {
            name: paired_score_interval(other.scores[name], scores, self.clusters)
            for name, scores in self.scores.items()
        }

    def right_bpb(self) -> Interval:
        """Bits per byte of the right options; lower is better. It moves where a small model's accuracy does not yet.

        Raises:
            DataError: There are too few questions.
        """
        nats, sizes = self._of_clusters()
        return paired_interval(nats, np.zeros_like(nats), sizes)

    def right_bpb_above(self, other: "TaskScores") -> Interval:
        """How many bits per byte of the right options more than another model's; below 0 is better.

        Raises:
            DataError: There are too few questions.
        """
        nats, sizes = self._of_clusters()
        return negated(paired_interval(other._of_clusters()[0], nats, sizes))

    def group_means(self, groups: Sequence[str]) -> dict[str, dict[str, int | float]]:
        """Group -> each measure's mean over its questions."""
        names, places = np.unique(np.array(groups), return_inverse=True)
        sizes = np.bincount(places)
        means = {name: np.bincount(places, weights=scores) / sizes for name, scores in self.scores.items()}
        return {
            str(group): {"num_questions": int(size), **{name: float(mean[at]) for name, mean in means.items()}}
            for at, (group, size) in enumerate(zip(names, sizes, strict=True))
        }

    def _of_clusters(self) -> tuple[Float64[np.ndarray, " clusters"], Int64[np.ndarray, " clusters"]]:
        """(nats, bytes) of the right options of each cluster."""
        sizes = np.bincount(self.clusters, weights=self.right_bytes)
        return np.bincount(self.clusters, weights=self.right_nats), sizes.round().astype(np.int64)


def score_task(model: nn.Module, tokenizer: Any, asked: Questions, *, seq_len: int = 1024) -> TaskScores:
    """Ask a model all questions.

    They are cut into tokens as `split_pairs` does; a start token comes first, also where a tokenizer would add none.

    Args:
        model: Any language model of transformers, or a composition.
        seq_len: Most tokens that a model is shown, if it reads as many; of longer contexts it is shown the end.

    Raises:
        DataError: An option is no token to the tokenizer, or a likelihood is not a number.
        ConfigError: The model cannot read a prompt and write as many tokens as the task wants.
    """
    offered = _offered(asked)
    pairs = [pair for question in offered for pair in question.pairs]
    costs = completion_costs(model, *split_pairs(tokenizer, pairs), seq_len=seq_len)
    if not np.isfinite(costs.nats).all():
        place = int(np.flatnonzero(~np.isfinite(costs.nats))[0])
        raise DataError(
            f"{asked.name}: {pairs[place][1]!r:.60} has a likelihood that is not a number; look at the model's weights"
        )
    sizes = np.array([len(option.strip().encode()) for _, option in pairs], dtype=np.int64)
    counts = np.array([len(question.options) for question in offered], dtype=np.int64)
    firsts = np.cumsum(counts) - counts
    right = firsts + np.array([question.right for question in offered], dtype=np.int64)
    if asked.task.sort == "answer":
        scores = _written(model, tokenizer, asked, seq_len)
    elif asked.task.sort == "word":
        scores = {"accuracy": costs.is_likeliest[right].astype(np.float64)}
    else:
        scores = {
            "accuracy": _chosen(costs.nats, firsts, counts, right),
            "accuracy_per_byte": _chosen(costs.nats / np.maximum(sizes, 1), firsts, counts, right),
        }
    return TaskScores(
        scores=scores, right_nats=costs.nats[right], right_bytes=np.maximum(sizes[right], 1), clusters=asked.clusters
    )


def split_pairs(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> tuple[list[Tokens], list[Tokens]]:
    """(contexts, what follows them) in tokens, the contexts with a start token.

    Both are cut together, and what follows has the tokens after as many as the context alone has; spaces at the end of
    a context go to what follows, as the harness of EleutherAI has it.
    """
    stripped = [context.rstrip() for context, _ in pairs]
    after = [context[len(bare) :] + more for bare, (context, more) in zip(stripped, pairs, strict=True)]
    before, alone = encode(tokenizer, stripped), encode(tokenizer, after)
    whole = encode(tokenizer, [bare + more for bare, more in zip(stripped, after, strict=True)])
    return before, [
        both[len(context) :] if len(both) > len(context) else option[1:]
        for context, both, option in zip(before, whole, alone, strict=True)
    ]


def normal_answer(text: str) -> str:
    """An answer in lower case, without punctuation, English articles and extra spaces, as SQuAD compares them."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def word_f1(written: str, accepted: str) -> float:
    """The harmonic mean of precision and recall of words."""
    mine, theirs = normal_answer(written).split(), normal_answer(accepted).split()
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs)) if shared else float(mine == theirs)


def _offered(asked: Questions) -> list[Question]:
    """The questions with the options whose likelihood is wanted: of an open question the first answer's."""
    if asked.task.sort == "choice":
        return list(asked.questions)
    return [Question(contexts=question.contexts, options=question.options[:1]) for question in asked.questions]


def _chosen(
    costs: Float64[np.ndarray, " options"],
    firsts: Int64[np.ndarray, " questions"],
    counts: Int64[np.ndarray, " questions"],
    right: Int64[np.ndarray, " questions"],
) -> PerQuestion:
    """1 where the right option costs least; where several cost as little, its share of them."""
    is_least: Bool[np.ndarray, " options"] = costs == np.repeat(np.minimum.reduceat(costs, firsts), counts)
    found: PerQuestion = is_least[right] / np.add.reduceat(is_least.astype(np.float64), firsts)
    return found


def _written(model: Any, tokenizer: Any, asked: Questions, seq_len: int) -> dict[str, PerQuestion]:
    """What the model writes on one line, held against each accepted answer."""
    prompts = encode(tokenizer, [question.contexts[0] for question in asked.questions])
    tokens = continuations(model, prompts, max_tokens=asked.task.max_tokens, seq_len=seq_len)
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    lines = [text.strip().partition("\n")[0] for text in texts]
    each = [(line, question.options) for line, question in zip(lines, asked.questions, strict=True)]
    exact = [float(normal_answer(line) in {normal_answer(one) for one in accepted}) for line, accepted in each]
    f1 = [max(word_f1(line, one) for one in accepted) for line, accepted in each]
    return {"exact_match": np.array(exact), "f1": np.array(f1)}
