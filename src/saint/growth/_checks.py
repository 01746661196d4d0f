"""How the coordinator checks what a worker says came of training: nothing counts that was not found to be so here."""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import final

from saint import grafts, records
from saint.composition import PrefixCache
from saint.errors import GraftFileError, RefusedResultError, StorageError
from saint.grafts import Graft, History, grow_from
from saint.growth._answers import (
    Answer,
    PerDocument,
    Tolerance,
    chosen_documents,
    history_in,
    must_agree,
    must_be_as_said,
    with_measured,
)
from saint.growth._checking_crew import CheckingCrew
from saint.growth._journal import Journal
from saint.growth._trial import Leg, Trial
from saint.search import unpack
from saint.training import (
    Arrived,
    Part,
    Schedule,
    SelectReader,
    Trained,
    Workspace,
    birth_tokens,
    cache_of,
    checkpoint_bytes,
    state_in,
    train_part,
)

BYTES_PER_LOSS = 32
"""What a figure takes at most when it is said."""


@final
class Checker:
    """Looks at what comes back, with what it needs for that at hand."""

    def __init__(
        self, *, spot_check: float, sends_checkpoints: bool, tolerance: Tolerance, crew: CheckingCrew | None = None
    ) -> None:
        """Describe it.

        Args:
            spot_check: Share of the documents of *select* that a graft is measured on.
            sends_checkpoints: Whether a part comes with its checkpoint, as where there is no common folder.
            tolerance: How far what a worker says may be from what is found.
            crew: Processes that measure grafts for this one, on all of *select*.
        """
        self._spot_check, self._sends_checkpoints, self._crew = spot_check, sends_checkpoints, crew
        self._tolerance = tolerance
        self._cache: PrefixCache | None = None
        self._readers: dict[str, SelectReader] = {}

    def close(self) -> None:
        """Forget what is kept."""
        if self._cache is not None:
            self._cache.close()
        self._cache = None
        self._readers.clear()

    def most_bytes(self, journal: Journal, trial: Trial, leg: Leg) -> int:
        """What an honest answer takes at most."""
        candidate, select = trial.candidate, journal.data.select[journal.data.grown_domain]
        most = grafts.num_bytes(candidate.kind, candidate.options, candidate.sites)
        most += BYTES_PER_LOSS * select.num_documents
        return most + (self._checkpoint_bytes(journal, trial) if self._sends(leg) else 0)

    def arrived(
        self, journal: Journal, trial: Trial, leg: Leg, answer: bytes, *, at_most_s: float = math.inf
    ) -> Arrived:
        """What `arriving` comes to, where this process measures."""
        found = self.arriving(journal, trial, leg, answer, at_most_s=at_most_s)()
        assert found is not None  # nobody else has to be waited for
        return found

    def arriving(
        self, journal: Journal, trial: Trial, leg: Leg, answer: bytes, *, at_most_s: float = math.inf
    ) -> Callable[[], Arrived | None]:
        """Where a part of a trial has come to, once everything about it has been found to be so.

        A failure is what the worker claims and no more: there are no weights that could be measured.

        Args:
            at_most_s: Seconds by this process's clock that the training can have taken.

        Returns:
            What is to be asked for it; it says None as long as others measure. It raises `RefusedResultError`, too.

        Raises:
            RefusedResultError: It has not.
        """
        header, pieces = unpack(answer)
        told = Answer(header)
        told.must_be("base", journal.base.digest)
        candidate = trial.candidate
        told.must_be("candidate", records.digest(candidate))
        time_s = told.seconds("time_s", at_most=at_most_s)
        birth = told.whole("birth_tokens", at_most=0 if trial.start else birth_tokens(candidate, trial.schedule))
        if failure := told.text("failure"):
            tokens = self._tokens_of_failure(trial.schedule, leg, told)
            failed = Trained(
                candidate=candidate, graft=None, train_tokens=tokens, birth_tokens=birth, time_s=time_s, failure=failure
            )
            return lambda: Arrived(trained=failed)
        graft = self._graft(trial, leg, pieces)
        history = history_in(trial.schedule, told, trial, leg)
        if birth != history.birth_tokens or time_s != history.time_s:
            raise RefusedResultError(
                f"it was shown {birth:,} tokens before it learnt and took {time_s:.6g} s, or {history.birth_tokens:,} "
                f"tokens and {history.time_s:.6g} s"
            )
        measuring = self._measuring(journal, trial, leg, graft, told)

        def look() -> Arrived | None:
            if (nats := measuring()) is None:
                return None
            if leg.until is not None:
                must_agree(told.number("rung_nats"), float(nats.sum()), "nats at the rung", self._tolerance)
            if self._sends(leg):
                self._keep_checkpoint(journal, trial, graft, history, pieces[1])
            reader = self.reader(journal, trial.schedule, trial.stack)
            graft.history = with_measured(history, reader.bpb(nats), self._tolerance)
            trained = Trained(
                candidate=candidate, graft=graft, train_tokens=history.train_tokens, birth_tokens=birth, time_s=time_s
            )
            return Arrived(trained=trained, nats=None if leg.until is None else nats)

        return look

    def done_here(self, journal: Journal, trial: Trial, leg: Leg) -> Arrived:
        """The part, trained by this process from the beginning."""
        return train_part(
            journal.base,
            trial.stack,
            Part(candidate=trial.candidate, start=trial.going_on, until=leg.until),
            journal.data.train,
            select=journal.data.select[journal.data.grown_domain],
            schedule=trial.schedule,
            search=journal.plan.search,
            work=Workspace(),
        )

    def reader(self, journal: Journal, schedule: Schedule, stack: Sequence[Graft]) -> SelectReader:
        """What measures grafts on a stack as training with a schedule does."""
        name = records.digest({"schedule": schedule.identity, "stack": [graft.digest for graft in stack]})
        if name not in self._readers:
            self.close()  # it was another stack's, maybe
            self._cache = cache_of(journal.plan.search)  # which rounds what it keeps as that of a worker does
            select = journal.data.select[journal.data.grown_domain]
            self._readers = {name: SelectReader(journal.base, stack, select, schedule, cache=self._cache)}
        return self._readers[name]

    def _sends(self, leg: Leg) -> bool:
        return self._sends_checkpoints and leg.until is not None

    @staticmethod
    def _checkpoint_bytes(journal: Journal, trial: Trial) -> int:
        select = journal.data.select[journal.data.grown_domain]
        num_rungs = len(journal.plan.search.rungs)
        return checkpoint_bytes(
            trial.candidate, trial.schedule, num_documents=select.num_documents, num_rungs=num_rungs
        )

    @staticmethod
    def _tokens_of_failure(schedule: Schedule, leg: Leg, told: Answer) -> int:
        each, end = schedule.tokens_per_step, schedule.num_steps if leg.until is None else leg.until
        tokens = told.whole("train_tokens", at_most=end * each)
        if tokens % each or tokens < leg.since * each:
            raise RefusedResultError(
                f"it says that it failed after {tokens:,} tokens, expected steps of {each:,} from {leg.since} on"
            )
        return tokens

    def _graft(self, trial: Trial, leg: Leg, pieces: Sequence[bytes]) -> Graft:
        candidate = trial.candidate
        most = grafts.num_bytes(candidate.kind, candidate.options, candidate.sites)
        if len(pieces) != 1 + self._sends(leg) or len(pieces[0]) > most:
            sizes = ", ".join(f"{len(piece):,}" for piece in pieces) or "no"
            beside = " and a checkpoint" if self._sends(leg) else ""
            raise RefusedResultError(f"expected a graft of {most:,} bytes{beside}, got {sizes} bytes")
        content = pieces[0]
        try:
            graft = grow_from(candidate, weights=content).eval()
        except GraftFileError as error:
            raise RefusedResultError(f"what it sent is no such graft: {error}") from error
        strength = trial.start.strength if trial.start is not None else 1.0
        if graft.strength != strength or graft.to_bytes() != content:
            raise RefusedResultError(
                f"expected a graft of strength {strength:g} as it is written here, got one of {graft.strength:g}"
            )
        graft.requires_grad_(requires_grad=False)
        return graft

    def _measuring(
        self, journal: Journal, trial: Trial, leg: Leg, graft: Graft, told: Answer
    ) -> Callable[[], PerDocument | None]:
        """Begin to find what a graft costs on each document of *select*, by processes beside this one or here."""
        if self._crew is None:
            return lambda: self._nats(journal, trial, leg, graft, told)
        select = journal.data.select[journal.data.grown_domain]
        return self._crew.measuring(trial.stack, graft, select, trial.schedule, journal.plan.search)

    def _nats(self, journal: Journal, trial: Trial, leg: Leg, graft: Graft, told: Answer) -> PerDocument:
        """What a graft costs on each document of *select*: measured here, or said and spot-checked here."""
        if self._spot_check == 1 or (leg.until is not None and told.number("rung_nats") is None):
            return self.reader(journal, trial.schedule, trial.stack).nats(graft)
        select = journal.data.select[journal.data.grown_domain]
        nats = told.costs(select.num_documents)
        chosen = chosen_documents(select.num_documents, self._spot_check)
        with closing(cache_of(journal.plan.search)) as cache:
            spot = SelectReader(journal.base, trial.stack, select.take(chosen), trial.schedule, cache=cache)
            must_be_as_said(nats[chosen], spot.nats(graft), self._tolerance)
        return nats

    def _keep_checkpoint(self, journal: Journal, trial: Trial, graft: Graft, history: History, content: bytes) -> None:
        """Keep what the next part goes on from, if it is at the very state that was measured."""
        if len(content) > (most := self._checkpoint_bytes(journal, trial)):
            raise RefusedResultError(f"expected a checkpoint of at most {most:,} bytes, got {len(content):,}")
        weights = graft.to_bytes()
        found = state_in(
            content,
            journal.base,
            trial.stack,
            Part(candidate=trial.candidate, start=trial.going_on),
            journal.data.train,
            weights=weights,
            schedule=trial.schedule,
        )
        if found is None or found.to_bytes() != weights:
            raise RefusedResultError("the checkpoint that it sent is not one of the graft that it sent")
        there = found.history
        if there is None or (there.train_tokens, there.select_bpb) != (history.train_tokens, history.select_bpb):
            raise RefusedResultError(
                "the checkpoint that it sent came to another step, or was evaluated otherwise, than it says"
            )
        if there.time_s > history.time_s:  # whoever goes on from it would say so
            raise RefusedResultError(
                f"the checkpoint that it sent took {there.time_s:.6g} s, and training {history.time_s:.6g} s"
            )
        write_whole(journal.checkpoint(journal.name_of(trial)), content)


def write_whole(place: Path, content: bytes) -> None:
    """Write a file of work in progress, all of it or nothing.

    Raises:
        StorageError: The disk refused.
    """
    draft = place.with_suffix(f".{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(place)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{place} was not written ({error.strerror}); make room") from error
