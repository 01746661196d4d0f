"""What growth has done so far: asked of the ledger before each step, told to it after."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

from saint import config, records
from saint.candidates import num_params
from saint.composition import restore
from saint.data import Splits
from saint.errors import BudgetError
from saint.grafts import Graft, History, grow_from
from saint.growth._plan import Plan
from saint.models import FrozenBase
from saint.progress import Progress
from saint.records import Arm, Budget, Candidate, Decision, Evidence, Outcome, SensitivityMap, Verdict
from saint.registry import Entry, Registry, State


@final
class Journal:
    """The thread of one growth run through its registry."""

    def __init__(self, registry: Registry, base: FrozenBase, data: Splits, plan: Plan, progress: Progress) -> None:
        self.registry, self.base, self.data, self.plan, self.progress = registry, base, data, plan, progress

    @property
    def state(self) -> State:
        """What the ledger adds up to now."""
        return self.registry.state

    def stack(self) -> list[Graft]:
        """The grafts that stand."""
        return restore(self.registry)

    def rounds(self) -> Iterator[int]:
        """The rounds that are still to be done or finished, until the plan, the budget or the ideas are spent."""
        while not (state := self.state).measured:
            number = max(state.rounds, default=-1)
            last = state.rounds.get(number, {"closed": True, "candidates": [None]})
            num_done = sum(one["closed"] and not one["abandoned"] for one in state.rounds.values())
            if not last["closed"] and self._stack_before(number) != last["stack"]:
                self.registry.write("round_closed", {"round": number, "abandoned": "its stack was changed"})
                continue
            if last["closed"]:
                if not last["candidates"] or num_done >= self.plan.rounds or not self._can_afford_a_trial():
                    return
                number += 1
            yield number

    def candidates(self, number: int) -> list[Candidate]:
        """The candidates of a round that was opened earlier; empty for a new one."""
        listed = self.state.rounds.get(number, {}).get("candidates", [])
        return [config.build(plain, Candidate, where=f"round {number}") for plain in listed]

    def open_round(
        self, number: int, stack: Sequence[Graft], sensitivity: SensitivityMap, candidates: Sequence[Candidate]
    ) -> None:
        """Fix what the round is going to try."""
        body = {
            "round": number,
            "stack": [graft.digest for graft in stack],
            "sensitivity": sensitivity,
            "candidates": list(candidates),
        }
        self.registry.write("round_opened", body)
        self.progress.note(f"round {number + 1} of {self.plan.rounds}: {len(candidates)} candidates")

    def close_round(self, number: int, arms: Sequence[Arm]) -> None:
        """Nothing more is to be done in it; `arms` say on development text where growth has come to."""
        self.registry.write("round_closed", {"round": number, "stack": self.state.standing, "arms": list(arms)})

    def sensitivity(self) -> dict[str, Any]:
        """The settings that the sensitivity pass takes from the plan: as many tokens a batch as training takes."""
        schedule, chosen = self.plan.schedule, self.plan.sensitivity
        return {
            "method": chosen.method,
            "num_batches": chosen.num_batches,
            "batch_size": schedule.batch_size,
            "seq_len": schedule.seq_len,
        }

    def budget_left(self) -> Budget:
        """What standing grafts and all trials so far have left of the plan's budget."""
        state = self.state
        spent = sum(entry.evidence.cost.num_params for entry in state.judged if entry.status == "stands")
        return Budget(
            num_params=self.plan.budget.num_params - spent,
            train_tokens=self.plan.budget.train_tokens - sum(trial["train_tokens"] for trial in state.trained.values()),
        )

    def num_affordable(self) -> int:
        """How many candidates of a round the tokens that are left can train."""
        return min(self.plan.candidates_per_round, self.budget_left().train_tokens // self.plan.schedule.num_tokens)

    def settled(self) -> list[Candidate]:
        """What is not worth proposing again: what stands or was taken back, and what came to nothing on this stack.

        A finalist that was refused on a stack that had meanwhile grown deserves to be trained on that stack.
        """
        state = self.state
        trained = {(records.digest(trial["candidate"]), tuple(trial["stack"])) for trial in state.trained.values()}
        failed = [trial for trial in state.trained.values() if not trial["graft"] and trial["stack"] == state.standing]
        return [config.build(trial["candidate"], Candidate, where="trained") for trial in failed] + [
            entry.candidate
            for entry in state.judged
            if entry.status in ("stands", "rolled back")
            or (_was_refused(entry) and (records.digest(entry.candidate), entry.evidence.stack) in trained)
        ]

    def has_failed(self, candidate: Candidate, stack: Sequence[Graft]) -> bool:
        """Whether a trial was tried earlier and came to nothing."""
        found = self.state.trained.get(self._trial(candidate, stack))
        return bool(found and not found["graft"])

    def trained(self, candidate: Candidate, stack: Sequence[Graft]) -> Graft | None:
        """The graft of a trial that was finished earlier."""
        found = self.state.trained.get(self._trial(candidate, stack))
        if not found or not found["graft"]:
            return None
        graft = grow_from(candidate, weights=self.registry.payload(found["graft"])).eval()
        graft.requires_grad_(requires_grad=False)
        graft.history = config.build(found["history"], History, where="trained")
        return graft

    def training(self, candidate: Candidate, stack: Sequence[Graft]) -> dict[str, Any]:
        """The settings that training a candidate takes from the plan."""
        return {
            "select": self.data.select[self.data.grown_domain],
            "schedule": self.plan.schedule,
            "checkpoint": self.checkpoint(self._trial(candidate, stack)),
            "progress": self.progress,
        }

    def checkpoint(self, name: str) -> Path:
        """Where an unfinished training run is kept."""
        return self.registry.work / "checkpoints" / f"{name[:32]}.safetensors"

    def forget(self, name: str) -> None:
        """Remove what is kept of a training run, now that its end is in the ledger."""
        self.checkpoint(name).unlink(missing_ok=True)

    def keep(self, graft: Graft, stack: Sequence[Graft]) -> Graft:
        """Record a trained graft."""
        assert graft.history is not None  # it was just trained
        content = graft.to_bytes()
        body = {
            "trial": self._trial(graft.candidate, stack),
            "candidate": graft.candidate,
            "stack": [other.digest for other in stack],
            "graft": graft.digest,
            "num_params": graft.num_params,
            "train_tokens": graft.history.train_tokens,
            "history": graft.history,
        }
        self.registry.write("trained", body, contents=[content])
        self.forget(self._trial(graft.candidate, stack))
        return graft

    def fail(self, candidate: Candidate, stack: Sequence[Graft], error: Exception) -> None:
        """Record that training a candidate came to nothing."""
        body = {
            "trial": self._trial(candidate, stack),
            "candidate": candidate,
            "stack": [other.digest for other in stack],
            "graft": "",
            "num_params": num_params(candidate),
            "train_tokens": self.plan.schedule.num_tokens,
            "failure": str(error),
        }
        self.registry.write("trained", body)
        self.forget(self._trial(candidate, stack))
        self.progress.note(f"{candidate.kind} at {len(candidate.sites)} sites failed: {error}")

    def finalists(self, number: int, grafts: Sequence[Graft | None]) -> list[Graft]:
        """The round's best on *select* that the gates have not been asked about yet, best first."""
        asked = [entry.candidate for entry in self.state.judged if entry.round == number]
        finished = [graft for graft in grafts if graft is not None]
        ranked = sorted(finished, key=lambda graft: graft.history.best_bpb or 0.0 if graft.history else 0.0)
        finalists = ranked[: self.plan.finalists_per_round]
        return [graft for graft in finalists if graft.candidate not in asked]

    def strength(self, number: int) -> dict[str, Any]:
        """The settings that choosing a strength takes from the plan.

        A round may use up an equal part of what may be forgotten in all, so that later rounds have room as well.
        """
        allowed = self.plan.allowed_regression_bpb
        grown = self.data.grown_domain
        return {
            "grown": self.data.select[grown],
            "retained": {name: corpus for name, corpus in self.data.select.items() if name != grown},
            "at_most_bpb": None if allowed is None else allowed * min(1.0, (number + 1) / self.plan.rounds),
            "strengths": self.plan.strengths,
        }

    def record(self, number: int | None, judged: Sequence[tuple[float, Graft, Evidence, Decision]]) -> None:
        """Write down judgements, of a round or of none; of those that pass, the one that gained most on select stands.

        Grafts that were trained apart do not add up, so the others wait: the next round trains them on the new stack.
        The one that stands is written last, so that all are written on the stack that they were measured on.
        """
        passed = [(gain, graft) for gain, graft, _, decision in judged if decision.outcome is Outcome.ACCEPT]
        _, winner = max(passed, key=lambda pair: pair[0], default=(0.0, None))
        for _, graft, evidence, decision in sorted(judged, key=lambda item: item[1] is winner):
            if winner is not None and graft is not winner:
                decision = Decision(verdicts=(*decision.verdicts, _wait_for(winner)))  # noqa: PLW2901
            self.registry.record(graft, evidence, decision, round_number=number)
            held_out = evidence.gain_bpb
            self.progress.note(
                f"{decision.outcome}: {graft.candidate.kind} at {len(graft.candidate.sites)} sites, strength "
                f"{graft.strength:g}, gain {held_out.estimate:+.4f} [{held_out.low:+.4f}, {held_out.high:+.4f}] "
                "bits per byte"
            )
            for verdict in decision.verdicts:
                if verdict.outcome is not Outcome.ACCEPT:
                    self.progress.note(f"  {verdict.gate}: {verdict.reason}")

    def _stack_before(self, number: int) -> list[str]:
        """What stands now, less what the round itself has accepted."""
        state = self.state
        own = {entry.digest for entry in state.judged if entry.round == number and entry.status == "stands"}
        return [digest for digest in state.standing if digest not in own]

    def _can_afford_a_trial(self) -> bool:
        if self.num_affordable() > 0:
            return True
        if not self.state.trained:
            raise BudgetError(
                f"budget.train_tokens is {self.plan.budget.train_tokens:,}, and one candidate learns from "
                f"{self.plan.schedule.num_tokens:,} tokens; raise the budget or shorten the schedule"
            )
        return False

    def _trial(self, candidate: Candidate, stack: Sequence[Graft]) -> str:
        """What makes a trial the same one."""
        return records.digest(
            {
                "candidate": candidate,
                "stack": [graft.digest for graft in stack],
                "schedule": self.plan.schedule,
                "text": self.data.train.digest,
                "base": self.base.digest,
            }
        )


_TURN = "turn"


def _wait_for(winner: Graft) -> Verdict:
    reason = (
        f"{winner.digest[:12]} gained more on development text and stands from now on; grafts trained apart do not add "
        "up, so this one is to be trained again on top of it"
    )
    return Verdict(gate=_TURN, outcome=Outcome.DEFER, reason=reason)


def _was_refused(entry: Entry) -> bool:
    """By a gate, not only by its turn."""
    return any(verdict.outcome is not Outcome.ACCEPT and verdict.gate != _TURN for verdict in entry.decision.verdicts)
