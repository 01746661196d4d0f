"""What each step of growth takes from the plan, and from what the ledger says is left of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

from saint import config, records
from saint.candidates import affordable, fits, left_of, price, refined_sites
from saint.data import Splits
from saint.errors import BudgetError
from saint.evaluation import holdout_digest, holdout_sizes
from saint.growth._plan import Plan, Stage
from saint.growth._rates import idea_of
from saint.growth._stages import share_of_allowance, stage_of
from saint.growth._turns import judged_in, num_accepted, was_refused
from saint.judging import Policy, effect_needed, policy_of, threshold
from saint.models import FrozenBase
from saint.records import Budget, Candidate, Site
from saint.registry import Registry, State
from saint.training import Schedule, birth_tokens


@final
class Settings:
    """The settings of every step, as they are at the moment when they are asked for."""

    def __init__(self, registry: Registry, base: FrozenBase, data: Splits, plan: Plan) -> None:
        self._registry, self._base, self._data, self._plan = registry, base, data, plan

    @property
    def state(self) -> State:
        """What the ledger adds up to now."""
        return self._registry.state

    def stage(self, number: int) -> Stage:
        """The stage of a round, with all that it leaves to the plan."""
        return self._plan.in_full[stage_of(self._plan, self.state, number)]

    def schedule(self, number: int) -> Schedule:
        """What the candidates of a round are trained with."""
        return self._plan.schedule_of(self.stage(number))

    def sensitivity(self, number: int) -> dict[str, Any]:
        """The settings that the sensitivity pass takes from the plan: as many tokens a batch as training takes."""
        schedule, chosen = self.schedule(number), self._plan.sensitivity
        return {
            "method": chosen.method,
            "num_batches": chosen.num_batches,
            "batch_size": schedule.batch_size,
            "seq_len": schedule.seq_len,
            "seed": self._plan.seed,
        }

    def proposing(self, number: int) -> dict[str, Any]:
        """The settings that proposing takes from the plan, and from what was tried so far."""
        stage = self.stage(number)
        return {
            "proposals": stage.proposals,
            "budget": self.budget_left(),
            "top": max(self.num_affordable(stage), self._plan.routing.rerank),
            "seed": self._plan.seed,
            "without": self.settled(),
            "within": self.refined_sites() if stage.sites == "refined" else None,
            "policy": self._plan.routing.policy,
        }

    def budget_left(self) -> Budget:
        """What standing grafts and all trials so far have left of the plan's budget."""
        state = self.state
        standing = [entry.candidate for entry in state.judged if entry.status == "stands"]
        budget, spent = left_of(self._plan.budget, [price(one, self._base.sites()) for one in standing]), state.spent
        return replace(
            budget,
            train_tokens=budget.train_tokens - spent.train_tokens,
            train_flops=None if budget.train_flops is None else budget.train_flops - spent.train_flops,
        )

    def rerank_schedule(self, number: int) -> Schedule:
        """What a candidate is trained with for a moment, to choose candidates by."""
        steps = self._plan.routing.rerank_steps
        return replace(self.schedule(number), num_steps=steps, evaluate_every=steps)

    def affordable(self, number: int, candidates: Sequence[Candidate], *, besides: float = 0.0) -> list[Candidate]:
        """Those whose training the operations that are left allow.

        Args:
            besides: Operations that are not in the ledger yet.
        """
        try:
            return self._affordable(number, candidates, besides)
        except BudgetError:
            if not self.state.trained:
                raise
            return []

    def pays_for_one(self, number: int, candidates: Sequence[Candidate], *, besides: float) -> bool:
        """Whether the operations that are left allow training one of the candidates after `besides`."""
        try:
            return bool(self._affordable(number, candidates, besides))
        except BudgetError:
            return False

    def _affordable(self, number: int, candidates: Sequence[Candidate], besides: float) -> list[Candidate]:
        schedule, left = self.schedule(number), self.budget_left()
        if left.train_flops is not None:
            left = replace(left, train_flops=left.train_flops - besides)
        num_tokens = schedule.num_tokens * self._plan.num_tries
        return affordable(candidates, self._base.sites(), left, num_tokens=num_tokens, seq_len=schedule.seq_len)

    def num_affordable(self, stage: Stage) -> int:
        """How many candidates of a round the tokens that are left can train at most."""
        return min(stage.candidates_per_round, self.budget_left().train_tokens // self._num_tokens(stage))

    def within_tokens(self, number: int, candidates: Sequence[Candidate], *, besides: int = 0) -> list[Candidate]:
        """The first of the candidates, as many as the stage and the tokens that are left allow.

        What a candidate is shown before it learns counts as well.

        Args:
            besides: Tokens that are not in the ledger yet.
        """
        schedule, left = self.schedule(number), self.budget_left().train_tokens - besides
        chosen = []
        for candidate in candidates[: self.stage(number).candidates_per_round]:
            left -= (schedule.num_tokens + birth_tokens(candidate, schedule)) * self._plan.num_tries
            if left < 0:
                break
            chosen.append(candidate)
        return chosen

    def _num_tokens(self, stage: Stage) -> int:
        """What a candidate learns from, at all its learning rates together."""
        return self._plan.schedule_of(stage).num_tokens * self._plan.num_tries

    def settled(self) -> list[Candidate]:
        """What is not worth proposing again: what stands or was taken back, and what came to nothing on this stack.

        A candidate came to nothing if it did at all its learning rates. A finalist that was refused on a stack that had
        meanwhile grown deserves to be trained on that stack.
        """
        state = self.state
        trained = {(records.digest(trial["candidate"]), tuple(trial["stack"])) for trial in state.trained.values()}
        return self._came_to_nothing() + [
            entry.candidate
            for entry in state.judged
            if entry.status in ("stands", "rolled back")
            or (was_refused(entry) and (records.digest(entry.candidate), entry.evidence.stack) in trained)
        ]

    def to_retrain(self) -> list[tuple[str, Candidate]]:
        """(graft that was taken out, candidate that is to be grown instead): what is queued and fits the budget."""
        left = self.budget_left()
        queued = [
            (one["graft"], config.build(one["candidate"], Candidate, where="queue")) for one in self.state.to_retrain
        ]
        return [(graft, one) for graft, one in queued if fits(price(one, self._base.sites()), left)]

    def _came_to_nothing(self) -> list[Candidate]:
        here = [trial for trial in self.state.trained.values() if trial["stack"] == self.state.standing]
        found = [(config.build(trial["candidate"], Candidate, where="trained"), trial["graft"]) for trial in here]
        grown = {idea_of(candidate) for candidate, graft in found if graft}
        return [candidate for candidate, _ in found if idea_of(candidate) not in grown]

    def strength(self, number: int | None, *, whole_round: bool = False) -> dict[str, Any]:
        """The settings that choosing a strength takes from the plan.

        A round may use up an equal part of what may be forgotten in all, so that later rounds have room as well; in it
        each graft that may come to stand an equal part of that.

        Args:
            number: The round; None for what is of no round, to which all of it is allowed.
            whole_round: Allow what all grafts of the round may use up together.
        """
        share = 1.0
        if number is not None:
            turn = (num_accepted(judged_in(self.state, number)) + 1) / self.stage(number).accept
            share = share_of_allowance(self._plan, self.state, number, 1.0 if whole_round else turn)
        grown = self._data.grown_domain
        return {
            "grown": self._data.select[grown],
            "retained": {name: corpus for name, corpus in self._data.select.items() if name != grown},
            "at_most_bpb": self._allowed(share),
            "margins": self._margins(),
            "strengths": self._plan.strengths if self._plan.layerwise is None else (1.0,),  # later blocks learn on it
        }

    def _allowed(self, share: float) -> dict[str, float]:
        """Domain -> what it may lose against the bare base; empty without a gate that says so."""
        gate = self._policy.gates.get("retention")
        if gate is None:
            return {}
        own = gate.get("suites", {})
        return {name: share * own.get(name, gate["at_most_bpb"]) for name in self._data.protected}

    def _margins(self) -> dict[str, float]:
        """Domain -> by how many deviations it must keep its limit, for sealed text to show it at the next query."""
        judging, state, holdout = self._policy.judging, self.state, holdout_digest(self._data)
        level = threshold(judging, len(state.queries.get(holdout, ())) + 1, state.num_passed.get(holdout, 0))
        sizes = holdout_sizes(self._data)
        return {name: effect_needed(1.0, judging.documents_per_query or sizes[name], level) for name in sizes}

    @property
    def _policy(self) -> Policy:
        return policy_of(self.state) if self.state.policy else self._plan.policy

    def refined_sites(self) -> list[Site]:
        """The sites that a stage of refinement may take, as the stack is now."""
        return refined_sites(self._base.sites(), [entry.candidate for entry in self._registry.accepted()])

    def out_of_time(self) -> str:
        """Why nothing more may be trained, if the budget's seconds are spent; "" if not."""
        seconds = self.state.spent.train_seconds
        if (limit := self._plan.budget.gpu_seconds) is not None and seconds >= limit:
            return f"trials have trained for {seconds:,.0f} s, and budget.gpu_seconds is {limit:,.0f}"
        return ""

    def why_not(self, stage: Stage) -> str:
        """What stands in the way of another round of `stage`; "" for nothing."""
        if stage.sites == "refined" and not self.refined_sites():
            return "it refines the sites of grafts that stand, and none stands"
        if reason := self.out_of_time():
            return reason
        if self.num_affordable(stage) > 0:
            return ""
        num_tokens = self._num_tokens(stage)
        if not self.state.trained:
            raise BudgetError(
                f"budget.train_tokens is {self._plan.budget.train_tokens:,}, and one candidate learns from "
                f"{num_tokens:,} tokens; raise the budget or shorten the schedule"
            )
        left = max(0, self.budget_left().train_tokens)
        return f"one candidate learns from {num_tokens:,} tokens, and the budget has {left:,} left"
