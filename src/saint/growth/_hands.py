"""The coordinator's half of growth with workers: gives out trials, and believes nothing of what comes back."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, final

from safetensors import SafetensorError
from typing_extensions import override

from saint import records
from saint.composition import boundary_of, restore_one
from saint.errors import RefusedResultError, SaintError
from saint.grafts import Graft
from saint.growth._answers import ON_A_GPU, Answer, Tolerance, history_in, must_be_in_time, with_measured
from saint.growth._brackets import Brackets
from saint.growth._checking_crew import CheckingCrew
from saint.growth._checks import BYTES_PER_LOSS, Checker
from saint.growth._errands import Errand, Errands, errand_for
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
from saint.search import Attentive, Crew, Effort, Executor, Job, Lookout, OpenBench, Role, unpack
from saint.training import Arrived, time_in

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
        checking: CheckingCrew | None = None,
    ) -> None:
        """Describe them.

        Args:
            lookout: Says how they stand, and hears what is asked of them.
            lease_s: Seconds without a word after which a worker is given up.
            spot_check: Share of the documents of *select* that each graft is measured again on, chosen by chance after
                it is back. Below 1 a worker also says what it costs on each, and a lie about few of them may pass.
            checking: Processes that measure grafts for the coordinator on all of *select*, beside it.
        """
        self.brief = brief
        self._tolerance = ON_A_GPU if brief.gpus else Tolerance()
        self.crew = Crew(executor, number, greet=self._greet, lease_s=lease_s)
        self._lookout, self._spot_check, self._checking = lookout, spot_check, checking
        self._num_lost, self._round = 0, 0
        self._validating: set[str] = set()
        self._written: dict[Role, Effort] = {}
        self._told_lost, self._told_refused = 0, 0
        self._registry = registry
        self.checker = Checker(
            spot_check=spot_check, sends_checkpoints=not brief.work, tolerance=self._tolerance, crew=checking
        )
        self._environments: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for crew in self._crews:
            crew.__exit__(kind, error, trace)
        self.checker.close()
        if error is not None:  # nobody came to the end of the round, and the work was done all the same
            with suppress(SaintError, OSError):
                self._write_rest()

    @override
    def train(self, journal: Journal, trials: Sequence[Trial]) -> None:
        """Have trials trained and checked; each is in the ledger as soon as it was."""
        named = {journal.name_of(trial): trial for trial in trials}
        missing, errands = journal.unknown(trials), self._errands(journal)

        def keep(trial: Trial, arrived: Arrived, worker: str) -> None:
            journal.keep([trial], [arrived.trained], made_on=self._environment_of(worker))

        if journal.plan.search.rungs and len(named) > 1:
            Brackets(journal, named, errands, self._environment_of).begin()
        else:
            for trial in missing:
                name = journal.name_of(trial)
                errands.give(errand_for(trial, name, journal.checkpoint(name), partial(keep, trial)))
        self.wait(journal.progress, errands.names, sum(trial.schedule.num_tokens for trial in missing))
        for name in named:  # the rungs needed to know all of them until now
            journal.forget(name)

    @override
    def watched(self, progress: Progress) -> Progress:
        """Hear a pause or a stop, and say how all stand, while the coordinator weighs and judges as well."""
        lookout, crew = self._lookout, self.crew
        return progress if lookout is None else Attentive(progress, lambda: lookout(crew))

    @override
    def begin_round(self, number: int) -> None:
        self._round = number
        if self._lookout is not None:
            self._lookout.round = number

    @override
    def train_controls(self, journal: Journal, runs: Mapping[str, ControlRun]) -> dict[str, ControlMade]:
        """Have controls trained at once.

        The weights of a whole base are as large as it is, so it is trained further by a worker only where that can
        leave them in the registry's folder.
        """
        made: dict[str, ControlMade] = {}
        errands, num_tokens = self._errands(journal), 0
        for name, run in runs.items():
            if run.candidate is not None:
                errands.give(self._lora_errand(journal, name, run, run.candidate, made))
            elif self.brief.work and not journal.base.is_quantised:
                errands.names.append(self._give_whole(journal, name, run, made))
            else:
                continue
            num_tokens += run.schedule.num_tokens
        self.wait(journal.progress, errands.names, num_tokens)
        return made

    @staticmethod
    def _lora_errand(
        journal: Journal, control: str, run: ControlRun, candidate: Candidate, made: dict[str, ControlMade]
    ) -> Errand:
        trial = Trial(candidate=candidate, stack=(), schedule=run.schedule)

        def then(arrived: Arrived, _worker: str) -> None:
            made[control] = ControlMade(failure=arrived.trained.failure, graft=arrived.trained.graft)

        name = records.digest({"control": control, "trial": journal.name_of(trial)})
        return errand_for(trial, name, journal.checkpoint(run.checkpoint), then, role=Role.CONTROL)

    def _give_whole(self, journal: Journal, control: str, run: ControlRun, made: dict[str, ControlMade]) -> str:
        """Have the whole base trained further; returns the name of the job."""
        job, saved, carried_s = self._whole_job(journal, run), journal.checkpoint(run.checkpoint), list[float]()

        def before() -> None:
            carried_s.append(time_in(saved))

        def check(job: Job, _worker: str, answer: bytes) -> None:
            most_s = carried_s[0] + self.crew.seconds_of(job.name)
            try:
                made[control] = self._checked_whole(journal, run, answer, at_most_s=most_s)
            except RefusedResultError:
                saved.unlink(missing_ok=True)  # maybe that misled it
                raise

        self.crew.submit([job], check=check, before=before)
        return job.name

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
                at_most_bytes=BYTES_PER_LOSS * 3 * sum(one.num_documents for one in journal.data.select.values()),
            )
            self.crew.submit([job], check=partial(self._validated, journal, entry, stack, graft))
        self.crew.turn(patience_s=0.0, tell=lambda _job, _units: None)

    @override
    def close_round(self, journal: Journal, number: int) -> None:
        """Write down what the round's work took so far, by role."""
        self._write_work(number, self._spent())

    @override
    def finish(self, journal: Journal) -> None:
        """Wait until what stands has been measured again."""
        self.validate(journal)
        if not self.crew.queue.is_over:
            self.wait(journal.progress, None, None)
        self._write_rest()

    def _spent(self) -> dict[Role, Effort]:
        """What work took that is not in the ledger yet."""
        now = {role: effort for crew in self._crews for role, effort in crew.efforts.items()}
        spent = {role: _less(effort, self._written.get(role, Effort())) for role, effort in now.items()}
        return {role: effort for role, effort in spent.items() if effort != Effort()}

    def _write_rest(self) -> None:
        """Write down what work took since the last time, if there was any."""
        if (spent := self._spent()) or self.crew.num_lost > self._told_lost:
            self._write_work(self._round, spent)

    def _write_work(self, number: int, spent: Mapping[Role, Effort]) -> None:
        self._written = {role: effort for crew in self._crews for role, effort in crew.efforts.items()}
        body = {
            "round": number,
            "workers": self.crew.number,
            "lost": self.crew.num_lost - self._told_lost,
            "refused": self.crew.num_refused - self._told_refused,
            "roles": {str(role): {"jobs": e.done, "seconds": e.seconds, "units": e.units} for role, e in spent.items()},
        }
        self._told_lost, self._told_refused = self.crew.num_lost, self.crew.num_refused
        self._registry.write(WORK_DONE, body)

    def job_for(self, journal: Journal, errand: Errand) -> Job:
        """A part of a trial as a job; workers that have what its sites' lower blocks give are preferred."""
        trial, leg, candidate = errand.trial, errand.leg, errand.trial.candidate
        below = boundary_of(journal.base, trial.stack, candidate.sites)
        carried = b""
        if not self.brief.work and leg.since and errand.saved.exists():
            carried = errand.saved.read_bytes()
        to = f" to step {leg.until}" if leg.until is not None else ""
        return Job(
            name=errand.name,
            role=errand.role,
            group=f"above {below} blocks",
            label=f"{candidate.kind} at {len(candidate.sites)} sites{to}",
            num_units=leg.num_tokens(trial.schedule),
            body=order_for(
                trial,
                journal.plan.search,
                leg,
                checkpoint=str(errand.saved.relative_to(self._registry.work)) if self.brief.work else "",
                by_document=self._spot_check < 1,
                carried=carried,
            ),
            at_most_bytes=self.checker.most_bytes(journal, trial, leg),
            not_by=errand.claimants,
        )

    def wait(self, progress: Progress, names: Sequence[str] | None, num_tokens: int | None) -> None:
        """Until jobs are done, or all, telling who watches which worker does what."""

        def watch(crew: Crew) -> None:
            told.look(crew)
            if self._checking is not None:
                self._checking.turn()
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

    def _checked_whole(self, journal: Journal, run: ControlRun, answer: bytes, *, at_most_s: float) -> ControlMade:
        """What came of training the whole base further, measured here.

        A failure is believed: a control is what growth is compared with, and no part of it.
        """
        header, _ = unpack(answer)
        told = Answer(header)
        told.must_be("base", journal.base.digest)
        if failure := told.text("failure"):
            return ControlMade(failure=failure)
        history = history_in(run.schedule, told, None)
        must_be_in_time(history.time_s, at_most_s)
        path = self._registry.work / CONTROLS / run.file
        try:
            told.must_be("weights", records.file_digest(path))
            reader = self.checker.reader(journal, run.schedule, ())
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

    @property
    def _crews(self) -> list[Crew]:
        """Those who train, and those who check."""
        return [self.crew] if self._checking is None else [self.crew, self._checking.crew]

    def _errands(self, journal: Journal) -> Errands:
        return Errands(journal, self.crew, self.checker, partial(self.job_for, journal))

    def _environment_of(self, worker: str) -> dict[str, Any] | None:
        """What a worker works with; None for this process."""
        return self._environments.get(worker)

    def _greet(self, worker: str, hello: bytes) -> None:
        first = next(iter(self._environments.values()), None)
        self._environments[worker] = greeted(worker, hello, self.brief, first)


def _less(one: Effort, other: Effort) -> Effort:
    return Effort(done=one.done - other.done, seconds=one.seconds - other.seconds, units=one.units - other.units)
