"""The trials of a round that are held against each other while workers train them, from rung to rung."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

import numpy as np

from saint import records
from saint.growth._environment import environment
from saint.growth._errands import Errand, Errands
from saint.growth._journal import Journal
from saint.growth._marks import Mark, Marks, read_marks, write_marks
from saint.growth._race import Next, Race
from saint.growth._trial import Leg, Trial
from saint.training import Arrived, Trained


@final
class Brackets:
    """Gives out parts of trials as soon as their competitors have come to the rung before."""

    def __init__(
        self,
        journal: Journal,
        trials: Mapping[str, Trial],
        errands: Errands,
        environment_of: Callable[[str], Mapping[str, Any] | None],
    ) -> None:
        """Describe it.

        Args:
            trials: Name -> trial, in the order in which they are given; those that the ledger has already as well, for
                the others are held against them.
            environment_of: What a worker works with; None for this process.
        """
        self._journal, self._trials, self._errands = journal, trials, errands
        self._environment_of = environment_of
        self._select = journal.data.select[journal.data.grown_domain]
        self._marks = {
            name: read_marks(journal.marks(name), num_documents=self._select.num_documents) for name in trials
        }
        self._begun: set[str] = set()

    def begin(self) -> None:
        """Give out what may be trained now; the rest follows from what comes of that."""
        search, names = self._journal.plan.search, list(self._trials)
        for bracket in range(search.brackets):
            if members := names[bracket :: search.brackets]:
                race = Race(
                    members,
                    search.rungs_of(bracket),
                    num_steps=self._trials[members[0]].schedule.num_steps,
                    num_bytes=self._select.num_bytes_each,
                    marks=self._marks,
                )
                self._go_on(race)

    def _go_on(self, race: Race) -> None:
        parts = race.go_on()
        self._write(race)
        for part in parts:
            if part.until is not None or part.name not in self._journal.state.trained:
                self._give(race, part)

    def _give(self, race: Race, part: Next) -> None:
        name, trial = part.name, self._trials[part.name]
        before = self._marks[name].before(part.until)
        came_s, since = (before.time_s, before.train_tokens // trial.schedule.tokens_per_step) if before else (0.0, 0)
        saved = self._journal.checkpoint(name)
        errand = Errand(
            trial=trial,
            leg=Leg(since=since, until=part.until),
            name=name if part.until is None else records.digest({"trial": name, "until": part.until}),
            saved=saved,
            then=partial(self._arrived, race, part),
            carried_s=came_s,
            may_be_begun=name not in self._begun,
        )
        self._begun.add(name)
        self._errands.give(errand)

    def _arrived(self, race: Race, part: Next, arrived: Arrived, worker: str) -> None:
        trained = arrived.trained
        made_on = self._environment_of(worker) or environment(self._journal.base.model.device)
        marks = self._marks[part.name]
        if trained.failure or part.until is None:
            self._keep(part.name, trained, made_on)
        if part.until is None:
            return
        if trained.failure:
            self._mark(part.name, Marks(rungs=marks.rungs, failed_before=part.until))
        else:
            self._mark(part.name, marks.with_mark(self._mark_of(part, arrived, made_on)))
        self._go_on(race)

    def _mark_of(self, part: Next, arrived: Arrived, made_on: Mapping[str, Any]) -> Mark:
        trained, schedule = arrived.trained, self._trials[part.name].schedule
        assert part.until is not None  # it is at a rung
        assert arrived.nats is not None
        assert trained.graft is not None
        assert trained.graft.history is not None
        each = schedule.tokens_per_step
        evaluations = [(tokens // each, bpb) for tokens, bpb in trained.graft.history.select_bpb]
        return Mark(
            step=part.until,
            nats=tuple(arrived.nats.tolist()) if np.isfinite(arrived.nats).all() else None,
            train_tokens=trained.train_tokens,
            birth_tokens=trained.birth_tokens,
            time_s=trained.time_s,
            made_on=dict(made_on),
            has_ended=schedule.has_ended(evaluations, trained.train_tokens // each),
        )

    def _mark(self, name: str, marks: Marks) -> None:
        write_marks(self._journal.marks(name), marks)
        self._marks[name] = marks

    def _write(self, race: Race) -> None:
        """Those that lost, or failed where they were held against others."""
        for name, why in (*race.stopped.items(), *race.failed.items()):
            mark = self._marks[name].before(None)
            assert mark is not None  # it was at a rung
            trained = Trained(
                candidate=self._trials[name].candidate,
                graft=None,
                train_tokens=mark.train_tokens,
                birth_tokens=mark.birth_tokens,
                time_s=mark.time_s,
                stopped=why if name in race.stopped else "",
                failure=why if name in race.failed else "",
            )
            self._keep(name, trained, mark.made_on)

    def _keep(self, name: str, trained: Trained, made_on: Mapping[str, Any]) -> None:
        self._journal.keep([self._trials[name]], [trained], made_on=made_on, forget=False)
