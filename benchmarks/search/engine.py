"""The engine's ways of taking a step, one cohort at a time, as `saint.training.train_many` takes them."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from benchmarks.search.setting import Setting
from benchmarks.search.steps import schedule_of
from saint.composition import Prefix, PrefixCache, boundary_of, newborn
from saint.data import Corpus
from saint.models import FrozenBase, counting_flops
from saint.records import Candidate
from saint.training._learner import Learner
from saint.training._together import Together

_FOR_EVER = 1_000_000  # steps: no timing comes to the end of a schedule


@final
class _Again:
    """Some batches over and over, where a learner expects the text that it never comes to the end of."""

    def __init__(self, text: Corpus, batches: Sequence[Tensor], seed: int = 0) -> None:
        self.corpus, self.seed, self._batches = text, seed, batches

    def __getitem__(self, step: int) -> Tensor:
        return self._batches[step % len(self._batches)]


@final
class EngineSteps:
    """Steps of one cohort, as many for each call as there are batches."""

    def __init__(
        self,
        setting: Setting,
        base: FrozenBase,
        candidates: Sequence[Candidate],
        text: Corpus,
        batches: Sequence[Tensor],
        *,
        cached: bool,
        stacked: bool = True,
    ) -> None:
        """Put the candidates into one cohort.

        Args:
            cached: Whether what the blocks below give is kept; it is computed in the first call, which is not timed.
            stacked: Whether grafts of one kind at one site are computed in one batched product.
        """
        schedule = schedule_of(setting, num_steps=_FOR_EVER)
        again: Any = _Again(text, batches)
        grafts = [newborn(base, candidate) for candidate in candidates]
        self.learners = [
            Learner(dict(graft.named_parameters()), again, schedule, of={}, lr=graft.candidate.lr) for graft in grafts
        ]
        boundary = boundary_of(base, (), [site for candidate in candidates for site in candidate.sites])
        prefix = Prefix(base, (), [boundary], PrefixCache() if cached else None)
        self._passes = Together(
            base,
            (),
            list(zip(self.learners, grafts, strict=True)),
            boundary,
            prefix,
            schedule=schedule,
            stacked=stacked,
            keep=cached,
        )
        self._num_steps = len(batches)
        self.grafts = grafts

    def __call__(self) -> None:
        for _ in range(self._num_steps):
            for learner in self.learners:
                learner.begin_step()
            self._passes.backward(self.learners)
            for learner in self.learners:
                learner.take_step()

    @property
    def num_flops(self) -> int:
        """Operations of forward and backward passes in one call, counted; it learns on while they are."""
        with counting_flops() as counter:
            self()
        return int(counter.get_total_flops())
