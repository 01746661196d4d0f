"""What growth has done so far: asked of the ledger before each step, told to it after."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from saint import config, records
from saint.candidates import fits, num_params, price, train_flops
from saint.composition import overlap, restore, restore_one
from saint.data import Splits
from saint.evaluation import holdout_digest, holdout_sizes
from saint.grafts import Graft, History, grow_from
from saint.growth._environment import environment
from saint.growth._head_state import head_state
from saint.growth._layerwise import LAYERS_BEGUN, num_layers
from saint.growth._plan import Plan, Stage
from saint.growth._rates import tries_of
from saint.growth._settings import Settings
from saint.growth._stages import next_stage, stage_of
from saint.growth._trial import Trial
from saint.growth._turns import has_turn, judged_in, num_accepted
from saint.growth._workforce import Workforce
from saint.judging import must_answer, policy_of, set_policy
from saint.models import FrozenBase
from saint.progress import Progress
from saint.records import Arm, Candidate, Decision, Evidence, Outcome, SensitivityMap
from saint.registry import Registry, State
from saint.signing import sign_entries
from saint.training import Trained, Workspace


@final
class Journal:
    """The thread of one growth run through its registry."""

    def __init__(
        self,
        registry: Registry,
        base: FrozenBase,
        data: Splits,
        plan: Plan,
        progress: Progress,
        workforce: Workforce | None = None,
    ) -> None:
        self.workforce = workforce
        self.registry, self.base, self.data, self.plan, self.progress = registry, base, data, plan, progress
        sign_entries(registry)
        self.settings = Settings(registry, base, data, plan)

    @property
    def state(self) -> State:
        """What the ledger adds up to now."""
        return self.registry.state

    def stack(self) -> list[Graft]:
        """The grafts that stand."""
        return restore(self.registry)

    def submitted(self) -> list[str]:
        """What stands and was trained elsewhere: nobody here knows how many tokens it learnt from."""
        return [
            entry.digest
            for entry in self.registry.accepted()
            if entry.digest in self.state.submitted and not entry.evidence.cost.train_tokens
        ]

    def stack_below(self, number: int) -> list[Graft]:
        """The grafts that stand, less those of round `number`: what its candidates are trained on."""
        return [restore_one(self.registry, digest) for digest in self._standing_below(number)]

    def rounds(self) -> Iterator[int]:
        """The rounds that are still to be done or finished, until the stages, the budget or the ideas are spent."""
        while not (state := self.state).measured:
            number = max(state.rounds, default=-1)
            if number >= 0 and not state.rounds[number]["closed"]:
                if self._standing_below(number) == state.rounds[number]["stack"]:
                    yield number
                else:
                    body = {"round": number, "abandoned": "its stack was changed"}
                    self.registry.write("round_closed", body)
            elif self._has_reconsidered():
                continue
            elif (index := next_stage(self.plan, state)) is None:
                return
            elif reason := self.settings.why_not(self.plan.in_full[index]):
                self._skip(index, reason)
            else:
                yield number + 1

    def candidates(self, number: int) -> list[Candidate]:
        """The candidates of a round that was opened earlier; empty for a new one."""
        listed = self.state.rounds.get(number, {}).get("candidates", [])
        return [config.build(plain, Candidate, where=f"round {number}") for plain in listed]

    def open_round(
        self,
        number: int,
        stack: Sequence[Graft],
        sensitivity: SensitivityMap,
        candidates: Sequence[Candidate],
        **told: Any,
    ) -> None:
        """Fix what the round is going to try.

        Args:
            told: What else the ledger is to know of how they were chosen.
        """
        index = stage_of(self.plan, self.state, number)
        body = {
            "round": number,
            "stage": index,
            "stack": [graft.digest for graft in stack],
            "sensitivity": sensitivity,
            "candidates": list(candidates),
            **told,
        }
        self.registry.write("round_opened", body)
        of_stage = f", {self._name(index)}" if self.plan.stages or self.plan.layerwise else ""
        num_rounds = sum(stage.rounds for stage in self.plan.in_full)
        self.progress.note(f"round {number + 1} of {num_rounds}{of_stage}: {len(candidates)} candidates")

    def close_round(self, number: int, arms: Sequence[Arm]) -> None:
        """Nothing more is to be done in it; `arms` say on development text where growth has come to."""
        self.registry.write("round_closed", {"round": number, "stack": self.state.standing, "arms": list(arms)})

    def trials(self, number: int, stack: Sequence[Graft], candidates: Sequence[Candidate]) -> list[Trial]:
        """What is to be trained in a round: each candidate, at each of the plan's learning rates."""
        schedule, tries = self.settings.schedule(number), tries_of(candidates, self.plan.rates)
        return [Trial(candidate=candidate, stack=stack, schedule=schedule) for candidate in tries]

    def missing(self, trials: Sequence[Trial]) -> bool:
        """Whether one of them is not in the ledger yet; once all are, what is kept of their training goes."""
        if self.unknown(trials):
            return True
        for trial in trials:
            self.forget(self.name_of(trial))
        return False

    def unknown(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that are not in the ledger yet."""
        return [trial for trial in trials if self.name_of(trial) not in self.state.trained]

    def trained(self, trial: Trial) -> Graft | None:
        """The graft of a trial that is in the ledger; None for one that came to nothing."""
        found = self.state.trained[self.name_of(trial)]
        return self.as_trained(found) if found["graft"] else None

    def as_trained(self, found: Mapping[str, Any]) -> Graft:
        """The graft that a `trained` entry speaks of, at the strength that it was trained at."""
        candidate = config.build(found["candidate"], Candidate, where="trained")
        graft = grow_from(candidate, weights=self.registry.payload(found["graft"])).eval()
        graft.requires_grad_(requires_grad=False)
        graft.history = config.build(found["history"], History, where="trained")
        return graft

    def training(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The settings that training the candidates of a round takes from the plan."""
        named = {records.digest(trial.candidate): self.name_of(trial) for trial in trials}
        return {
            "select": self.data.select[self.data.grown_domain],
            "schedule": trials[0].schedule,
            "search": self.plan.search,
            "starts": {records.digest(one.candidate): one.going_on for one in trials if one.going_on is not None},
            "work": Workspace(
                checkpoint_of=lambda candidate: self.checkpoint(named[records.digest(candidate)]),
                folder=self.registry.work / "prefix",
                progress=self.progress,
            ),
        }

    def checkpoint(self, name: str) -> Path:
        """Where an unfinished training run is kept."""
        return self.registry.work / "checkpoints" / f"{name[:32]}.safetensors"

    def marks(self, name: str) -> Path:
        """Where it is kept what an unfinished training run was found to be worth at rungs."""
        return self.checkpoint(name).with_suffix(".rungs.json")

    @property
    def rerank_folder(self) -> Path:
        """Where what is trained for a moment, to choose candidates by, is kept until they are chosen."""
        return self.registry.work / "rerank"

    def forget(self, name: str) -> None:
        """Remove what is kept of a training run, now that its end is in the ledger."""
        checkpoint = self.checkpoint(name)
        for file in (
            checkpoint,
            self.marks(name),
            *checkpoint.parent.glob(f"{checkpoint.stem}.*.partial"),
        ):  # of writers that were killed
            file.unlink(missing_ok=True)

    def keep(
        self,
        trials: Sequence[Trial],
        found: Sequence[Trained],
        *,
        made_on: Mapping[str, Any] | None = None,
        forget: bool = True,
    ) -> None:
        """Record what came of the trials of a round, first of all of them, as far as an earlier run has not.

        Args:
            made_on: The environment that they were trained in, if that is not this process's.
            forget: Whether these are all of the round, so that what is kept of their training goes.
        """
        made_on = made_on or environment(self.base.model.device)
        for trial, trained in zip(trials, found, strict=True):
            if self.name_of(trial) in self.state.trained:
                continue
            stack = [graft.digest for graft in trial.stack]
            body = {"trial": self.name_of(trial), "candidate": trial.candidate, "stack": stack}
            body |= {"num_params": num_params(trial.candidate), "train_tokens": trained.all_tokens}
            body |= {"train_flops": float(self._train_flops(trial, trained.all_tokens))}
            body |= {"train_seconds": trained.time_s, "environment": made_on}
            body |= {"start": trial.start.digest} if trial.start is not None else {}
            graft = trained.graft
            if graft is None or trained.stopped:
                why = {"stopped": trained.stopped} if trained.stopped else {"failure": trained.failure}
                self.registry.write("trained", {**body, "graft": "", **why})
                said = f"stopped: {trained.stopped}" if trained.stopped else f"failed: {trained.failure}"
                self.progress.note(f"{trial.candidate.kind} at {len(trial.candidate.sites)} sites {said}")
                continue
            body |= {"graft": graft.digest, "history": graft.history, "overlap": overlap(trial.stack, graft)}
            contents = [graft.to_bytes()]
            if self.plan.layerwise is not None and (head := head_state(trained)):
                contents.append(head)
                body |= {"head_state": hashlib.sha256(head).hexdigest()}
            self.registry.write("trained", body, contents=contents)
        for trial in trials if forget else ():  # the rungs needed to know all of them until now
            self.forget(self.name_of(trial))

    def _train_flops(self, trial: Trial, num_tokens: int) -> int:
        seq_len, of_blocks = trial.schedule.seq_len, trial.candidate.kind == "layer"
        there = num_layers([*(graft.candidate for graft in trial.stack), trial.candidate])
        for begun in (event.body for event in self.state.others if event.name == LAYERS_BEGUN):
            first = int(begun["active"][0]["num_blocks"])
            for stage in begun["active"][1:]:  # counted with what stands below, which is most of the model here
                if int(stage["num_blocks"]) == first + there and bool(stage["block_params"]) == of_blocks:
                    step_flops = int(stage["forward_flops"] + stage["backward_flops"])
                    return step_flops * int(stage["num_steps"]) * num_tokens // int(stage["num_tokens"])
        return train_flops(trial.candidate, self.base.sites(), num_tokens=num_tokens, seq_len=seq_len)

    def finalists(self, number: int, grafts: Sequence[Graft | None]) -> list[Graft]:
        """Those of the round that the gates are to be asked about on the stack that stands now, best on *select* first.

        To begin with the round's best; each time that one has come to stand, those that passed beside it, as far as
        they still fit the budget; none once as many stand as the stage lets.
        """
        stage, entries = self.settings.stage(number), judged_in(self.state, number)
        if num_accepted(entries) >= stage.accept:
            return []
        stack, left = self.stack(), self.settings.budget_left()
        different = {graft.digest: graft for graft in grafts if graft is not None}  # one may have won as two's try
        there = {records.digest(entry.candidate) for entry in self.registry.accepted()}  # by approval, maybe
        finished = [
            graft
            for graft in different.values()
            if graft.digest not in self.state.quarantined
            and records.digest(graft.candidate) not in there
            and not _repeats(stack, graft, stage)
        ]
        ranked = sorted(finished, key=lambda graft: graft.history.best_bpb or 0.0 if graft.history else 0.0)
        return [
            graft
            for graft in ranked[: stage.finalists_per_round]
            if has_turn(graft.candidate, entries, self.state.standing)
            and fits(price(graft.candidate, self.base.sites()), left)
        ]

    def record(self, number: int | None, graft: Graft, evidence: Evidence, decision: Decision) -> None:
        """Write a judgement down.

        Args:
            number: Its round; None for none.
        """
        self.registry.record(graft, evidence, decision, round_number=number)
        gain = evidence.gain_bpb
        self.progress.note(
            f"{decision.outcome}: {graft.candidate.kind} at {len(graft.candidate.sites)} sites, strength "
            f"{graft.strength:g}, gain on development text {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] "
            "bits per byte"
        )
        for verdict in decision.verdicts:
            if verdict.outcome is not Outcome.ACCEPT:
                self.progress.note(f"  {verdict.gate}: {verdict.reason}")

    def more_may_stand(self, number: int) -> bool:
        """Whether the stage lets another graft of the round stand after the next one."""
        return self._num_accepted(number) + 1 < self.settings.stage(number).accept

    def be_ready_to_judge(self) -> None:
        """See to it that sealed text may be asked, before anything is trained for it.

        Raises:
            HoldOutError: The hold-out was retired, has expired, or has no documents left.
        """
        judging, data = policy_of(self.state).judging, self.data
        must_answer(self.state, judging, holdout_digest(data), holdout_sizes(data))

    def have_policy(self) -> None:
        """Set the plan's policy in a registry from before there were policies."""
        if not self.state.policy:
            set_policy(self.registry, self.plan.policy, reason="the plan's")

    def give_up(self, number: int, reason: str) -> None:
        """End growth in round `number`, which may not have been opened: what is left of it cannot be judged."""
        if number in self.state.rounds:
            self.registry.write("round_closed", {"round": number, "abandoned": reason})
        then = "what stands is measured" if self.state.standing else "nothing stands that could be measured"
        self.progress.note(f"growth ends before its last round, and {then}: {reason}")

    def _num_accepted(self, number: int) -> int:
        return num_accepted(judged_in(self.state, number))

    def _standing_below(self, number: int) -> list[str]:
        """What stands now, less what the round itself has accepted."""
        own = {entry.digest for entry in judged_in(self.state, number) if entry.status == "stands"}
        return [digest for digest in self.state.standing if digest not in own]

    def _has_reconsidered(self) -> bool:
        """Whether a stage was skipped for a reason that does not hold any more, which the ledger then says.

        A graft that came to stand since, by a later stage or a submission, can be refined.
        """
        for index, reason in self.state.skipped.items():
            if (now := self.settings.why_not(self.plan.in_full[index])) != reason:
                self._skip(index, now) if now else self._resume(index)
                return True
        return False

    def _skip(self, index: int, reason: str) -> None:
        self.registry.write("stage_skipped", {"stage": index, "reason": reason})
        self.progress.note(f"{self._name(index)} ends here: {reason}")

    def _resume(self, index: int) -> None:
        self.registry.write("stage_resumed", {"stage": index})
        self.progress.note(f"{self._name(index)} goes on: what it was skipped for does not hold any more")

    def _name(self, index: int) -> str:
        name, before = self.plan.in_full[index].name, int(self.plan.layerwise is not None)  # the base's stage
        return f"stage {index + before + 1} of {len(self.plan.in_full) + before}{f' ({name})' if name else ''}"

    def name_of(self, trial: Trial) -> str:
        """What the ledger and checkpoints know a trial by."""
        return records.digest(trial.identity(text=self.data.train.digest, base=self.base.digest))


def _repeats(stack: Sequence[Graft], graft: Graft, stage: Stage) -> bool:
    """Whether too much of what it changes lies within what the stack spans already; measured, not counted."""
    shared = overlap(stack, graft) if stage.at_most_inside < 1 else None
    return shared is not None and shared.inside > stage.at_most_inside
