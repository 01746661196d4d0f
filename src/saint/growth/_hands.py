"""The coordinator's half of growth with workers: gives out trials, and believes nothing of what comes back."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from safetensors import SafetensorError
from typing_extensions import override

from saint import grafts, records
from saint.composition import PrefixCache, boundary_of, restore_one
from saint.errors import GraftFileError, RefusedResultError, SaintError
from saint.grafts import Graft, grow_from
from saint.growth._answers import (
    ON_A_GPU,
    Answer,
    Tolerance,
    chosen_documents,
    history_in,
    must_be_as_said,
    with_measured,
)
from saint.growth._greeting import greeted
from saint.growth._journal import Journal
from saint.growth._orders import Brief, MeasureAgain, TrainWhole, order_for, sent
from saint.growth._telling import Told
from saint.growth._trial import Trial
from saint.growth._validation import apart_bpb, measured_here
from saint.growth._whole import CONTROLS, with_weights
from saint.growth._worker import open_bench
from saint.growth._workforce import ControlMade, ControlRun, Workforce
from saint.progress import Progress
from saint.records import Candidate
from saint.registry import Entry, Registry
from saint.search import Crew, Effort, Executor, Job, Lookout, OpenBench, Role, unpack
from saint.training import Schedule, SelectReader, Trained, birth_tokens, train_many

_BYTES_PER_LOSS = 32
VALIDATED = "validated"
WORK_DONE = "work_done"


def opening(brief: Brief, prepare: Callable[[], None] | None = None) -> OpenBench:
    """What each worker calls first, wherever it is."""
    return partial(open_bench, brief, prepare)


@final
class Hands(Workforce):
    """Workers that train what growth wants trained."""

    def __init__(
        self,
        registry: Registry,
        brief: Brief,
        executor: Executor,
        number: int,
        *,
        lookout: Lookout | None = None,
        lease_s: float = 60.0,
        spot_check: float = 1.0,
    ) -> None:
        """Describe them.

        Args:
            lookout: Says how they stand, and hears what is asked of them.
            lease_s: Seconds without a word after which a worker is given up.
            spot_check: Share of the documents of *select* that each graft is measured again on, chosen by chance after
                it is back. Below 1 a worker also says what it costs on each, and a lie about few of them may pass.
        """
        self.brief = brief
        self._tolerance = ON_A_GPU if brief.gpus else Tolerance()
        self.crew = Crew(executor, number, greet=self._greet, lease_s=lease_s)
        self._lookout, self._spot_check = lookout, spot_check
        self._num_lost = 0
        self._validating: set[str] = set()
        self._written: dict[Role, Effort] = {}
        self._told_lost, self._told_refused = 0, 0
        self._registry = registry
        self._cache = PrefixCache()
        self._readers: dict[str, SelectReader] = {}
        self._environments: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crew.__exit__(kind, error, trace)
        self._cache.close()

    @override
    def train(self, journal: Journal, trials: Sequence[Trial]) -> None:
        """Have trials trained and checked; each is in the ledger as soon as it was."""
        jobs = {journal.name_of(trial): trial for trial in trials}

        def check(job: Job, worker: str, answer: bytes) -> None:
            trial = jobs[job.name]
            trained = self.checked(journal, trial, answer)
            journal.keep([trial], [trained], made_on=self._environments[worker])

        listed = [self.job_for(journal, trial, journal.checkpoint(name)) for name, trial in jobs.items()]
        self.crew.submit(listed, check=check)
        self.wait(journal.progress, list(jobs), sum(trial.schedule.num_tokens for trial in trials))

    @override
    def begin_round(self, number: int) -> None:
        if self._lookout is not None:
            self._lookout.round = number

    @override
    def train_controls(self, journal: Journal, runs: Mapping[str, ControlRun]) -> dict[str, ControlMade]:
        """Have controls trained at once.

        The weights of a whole base are as large as it is, so it is trained further by a worker only where that can
        leave them in the registry's folder.
        """
        made: dict[str, ControlMade] = {}
        jobs: list[Job] = []

        def lora(run: ControlRun, candidate: Candidate) -> None:
            trial = Trial(candidate=candidate, stack=(), schedule=run.schedule)

            def check(_job: Job, _worker: str, answer: bytes) -> None:
                trained = self.checked(journal, trial, answer)
                made["lora"] = ControlMade(failure=trained.failure, graft=trained.graft)

            name = records.digest({"control": "lora", "trial": journal.name_of(trial)})
            saved = journal.checkpoint(run.checkpoint)
            jobs.append(self.job_for(journal, trial, saved, role=Role.CONTROL, name=name))
            self.crew.submit(jobs[-1:], check=check)

        def full(run: ControlRun) -> None:
            def check(_job: Job, _worker: str, answer: bytes) -> None:
                made["full"] = self._checked_whole(journal, run, answer)

            jobs.append(self._whole_job(journal, run))
            self.crew.submit(jobs[-1:], check=check)

        for run in runs.values():
            if run.candidate is not None:
                lora(run, run.candidate)
            elif self.brief.work and not journal.base.is_quantised:
                full(run)
        self.wait(journal.progress, [job.name for job in jobs], sum(job.num_units or 0 for job in jobs))
        return made

    @override
    def validate(self, journal: Journal) -> None:
        """Have each graft that stands measured again by a worker, unless one has; what comes of it is written later."""
        known = {event.body["graft"] for event in journal.state.others if event.name == VALIDATED}
        for entry in journal.registry.accepted():
            name = records.digest({"validation": entry.digest, "stack": entry.evidence.stack})
            if entry.digest in known or name in self._validating or entry.digest in journal.state.submitted:
                continue
            self._validating.add(name)
            stack = [restore_one(journal.registry, digest) for digest in entry.evidence.stack]
            graft = restore_one(journal.registry, entry.digest)
            job = Job(
                name=name,
                role=Role.VALIDATION,
                group="development text",
                label=f"{entry.candidate.kind} at {len(entry.candidate.sites)} sites",
                body=MeasureAgain(stack=sent(stack), graft=sent([graft])[0]),
                at_most_bytes=_BYTES_PER_LOSS * 3 * sum(one.num_documents for one in journal.data.select.values()),
            )
            self.crew.submit([job], check=partial(self._validated, journal, entry, stack, graft))
        self.crew.turn(patience_s=0.0, tell=lambda _job, _units: None)

    @override
    def close_round(self, journal: Journal, number: int) -> None:
        """Write down what the round's work took so far, and what was gained with it."""
        now = dict(self.crew.efforts)
        spent = {role: _less(effort, self._written.get(role, Effort())) for role, effort in now.items()}
        self._written = now
        body = {
            "round": number,
            "workers": self.crew.number,
            "lost": self.crew.num_lost - self._told_lost,
            "refused": self.crew.num_refused - self._told_refused,
            "roles": {str(role): {"jobs": e.done, "seconds": e.seconds, "units": e.units} for role, e in spent.items()},
        }
        self._told_lost, self._told_refused = self.crew.num_lost, self.crew.num_refused
        journal.registry.write(WORK_DONE, body)

    @override
    def finish(self, journal: Journal) -> None:
        """Wait until what stands has been measured again."""
        self.validate(journal)
        if not self.crew.queue.is_over:
            self.wait(journal.progress, None, None)

    def job_for(
        self, journal: Journal, trial: Trial, checkpoint: Path, *, role: Role = Role.SEARCH, name: str = ""
    ) -> Job:
        """A trial as a job; workers that have what its sites' lower blocks give are preferred."""
        candidate = trial.candidate
        below = boundary_of(journal.base, trial.stack, candidate.sites)
        saved = str(checkpoint.relative_to(self._registry.work)) if self.brief.work else ""
        return Job(
            name=name or journal.name_of(trial),
            role=role,
            group=f"above {below} blocks",
            label=f"{candidate.kind} at {len(candidate.sites)} sites",
            num_units=trial.schedule.num_tokens,
            body=order_for(trial, journal.plan.search, checkpoint=saved, by_document=self._spot_check < 1),
            at_most_bytes=grafts.num_bytes(candidate.kind, candidate.options, candidate.sites)
            + _BYTES_PER_LOSS * journal.data.select[journal.data.grown_domain].num_documents,
        )

    def wait(self, progress: Progress, names: Sequence[str] | None, num_tokens: int | None) -> None:
        """Until jobs are done, or all, telling who watches which worker does what."""

        def watch(crew: Crew) -> None:
            told.look(crew)
            if self._lookout is not None:
                self._lookout(crew)

        with (
            progress.task(f"{self.crew.number} workers", total=num_tokens, unit="tokens") as task,
            Told(progress, self._num_lost) as told,
        ):
            try:
                self.crew.finish(names, tell=lambda _job, units: task.advance(units), watch=watch)
            finally:
                self._num_lost = told.num_lost

    def checked(self, journal: Journal, trial: Trial, answer: bytes) -> Trained:
        """What came of a trial, once everything about it has been found to be so.

        Raises:
            RefusedResultError: It has not.
        """
        header, pieces = unpack(answer)
        told = Answer(header)
        told.must_be("base", journal.base.digest)
        told.must_be("candidate", records.digest(trial.candidate))
        if failure := told.text("failure"):
            return self._failed(journal, trial, failure)
        graft = self._graft(trial, pieces)
        history = history_in(trial.schedule, told, trial)
        graft.history = with_measured(history, self._measured_again(journal, trial, graft, told), self._tolerance)
        birth = told.whole("birth_tokens", at_most=0 if trial.start else birth_tokens(trial.candidate, trial.schedule))
        if birth != history.birth_tokens:
            raise RefusedResultError(f"it was shown {birth:,} tokens before it learnt, or {history.birth_tokens:,}")
        return Trained(
            candidate=trial.candidate,
            graft=graft,
            train_tokens=history.train_tokens,
            birth_tokens=birth,
            time_s=told.seconds("time_s"),
        )

    def _whole_job(self, journal: Journal, run: ControlRun) -> Job:
        body = TrainWhole(
            lr=journal.plan.controls.full_lr,
            schedule=run.schedule,
            seed=journal.plan.seed,
            checkpoint=str(journal.checkpoint(run.checkpoint).relative_to(self._registry.work)),
            file=f"{CONTROLS}/{run.file}",
        )
        return Job(
            name=records.digest({"control": "full", "order": records.to_plain(body), "base": journal.base.digest}),
            role=Role.CONTROL,
            group="the whole base",
            label="the whole base",
            num_units=run.schedule.num_tokens,
            body=body,
            at_most_bytes=0,  # beyond what everybody may say
        )

    def _checked_whole(self, journal: Journal, run: ControlRun, answer: bytes) -> ControlMade:
        """What came of training the whole base further, measured here.

        A failure is believed: a control is what growth is compared with, and no part of it.
        """
        header, _ = unpack(answer)
        told = Answer(header)
        told.must_be("base", journal.base.digest)
        if failure := told.text("failure"):
            return ControlMade(failure=failure)
        history = history_in(run.schedule, told, None)
        path = self._registry.work / CONTROLS / run.file
        try:
            told.must_be("weights", records.file_digest(path))
            reader = self._reader(journal, run.schedule, ())
            measured = reader.bpb(reader.nats_of(with_weights(journal.base, path, 1.0)))
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            if isinstance(error, SaintError):
                raise
            raise RefusedResultError(f"the weights that it left cannot be used ({error})") from error
        return ControlMade(history=with_measured(history, measured, self._tolerance))

    def _validated(
        self, journal: Journal, entry: Entry, stack: Sequence[Graft], graft: Graft, job: Job, worker: str, answer: bytes
    ) -> None:
        """Write down whether a worker finds of a graft what the evidence says that it was accepted by.

        Where it does not, what it says is measured here as well before it is written.
        """
        header, _ = unpack(answer)
        told = Answer(header)
        told.must_be("base", journal.base.digest)
        told.must_be("graft", entry.digest)
        select, evidence = journal.data.select, entry.evidence
        found = {name: told.losses(name, corpus.num_documents) for name, corpus in select.items()}
        apart = apart_bpb(found, evidence, select)
        if apart > self._tolerance.validated_bpb:
            here = measured_here(journal.base, stack, graft, select, seq_len=journal.plan.evaluation_seq_len)
            if abs(apart_bpb(here, evidence, select) - apart) > self._tolerance.validated_bpb:
                raise RefusedResultError("what it says that an accepted graft does to text is not what it does")
        body = {"graft": entry.digest, "stack": evidence.stack, "agrees": apart <= self._tolerance.validated_bpb}
        journal.registry.write(
            VALIDATED, {**body, "apart_bpb": apart, "made_on": self._environments[worker]["machine"]}
        )
        if apart > self._tolerance.validated_bpb:
            journal.progress.note(
                f"{job.label}, which was accepted, does to development text what is {apart:.2g} bits per byte from its "
                "evidence; look at `saint show` and take it out with `saint rollback` if that matters"
            )

    def _graft(self, trial: Trial, pieces: Sequence[bytes]) -> Graft:
        candidate = trial.candidate
        most = grafts.num_bytes(candidate.kind, candidate.options, candidate.sites)
        if len(pieces) != 1 or len(pieces[0]) > most:
            sizes = ", ".join(f"{len(piece):,}" for piece in pieces) or "no"
            raise RefusedResultError(f"expected a graft of {most:,} bytes, got {sizes} bytes")
        [content] = pieces
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

    def _failed(self, journal: Journal, trial: Trial, failure: str) -> Trained:
        """A failure is no weights that could be measured, so it has to come about here as well."""
        starts = {records.digest(trial.candidate): trial.going_on} if trial.going_on is not None else {}
        [trained] = train_many(
            journal.base,
            trial.stack,
            [trial.candidate],
            journal.data.train,
            select=journal.data.select[journal.data.grown_domain],
            schedule=trial.schedule,
            search=journal.plan.search,
            starts=starts,
        )
        if not trained.failure:
            raise RefusedResultError(f"it said that training failed ({failure[:80]}), which it does not")
        return trained

    def _measured_again(self, journal: Journal, trial: Trial, graft: Graft, told: Answer) -> float:
        """What a graft costs on *select*, in bits per byte: measured here, or said and spot-checked here."""
        reader = self._reader(journal, trial.schedule, trial.stack)
        if self._spot_check == 1:
            return reader.bpb(reader.nats(graft))
        select = journal.data.select[journal.data.grown_domain]
        nats = told.costs(select.num_documents)
        chosen = chosen_documents(select.num_documents, self._spot_check)
        with closing(PrefixCache()) as cache:
            spot = SelectReader(journal.base, trial.stack, select.take(chosen), trial.schedule, cache=cache)
            must_be_as_said(nats[chosen], spot.nats(graft), self._tolerance)
        return reader.bpb(nats)

    def _reader(self, journal: Journal, schedule: Schedule, stack: Sequence[Graft]) -> SelectReader:
        name = records.digest({"schedule": schedule.identity, "stack": [graft.digest for graft in stack]})
        if name not in self._readers:
            self._cache.close()  # it was another stack's, maybe
            select = journal.data.select[journal.data.grown_domain]
            self._readers = {name: SelectReader(journal.base, stack, select, schedule, cache=self._cache)}
        return self._readers[name]

    def _greet(self, worker: str, hello: bytes) -> None:
        first = next(iter(self._environments.values()), None)
        self._environments[worker] = greeted(worker, hello, self.brief, first)


def _less(one: Effort, other: Effort) -> Effort:
    return Effort(done=one.done - other.done, seconds=one.seconds - other.seconds, units=one.units - other.units)
