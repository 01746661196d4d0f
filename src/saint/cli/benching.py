"""What the search costs, on paper and counted."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saint.cli._terminal import json_option, quieten, say, say_json

if TYPE_CHECKING:
    from saint.data import Corpus
    from saint.models import FrozenBase
    from saint.records import Site
    from saint.training import RoundCost, Schedule

_RECIPES = Path(__file__).parent.parent / "recipes"
_VOCAB = 1024  # of the demo's tokenizer
_RUNGS = ((1 / 3, 1 / 6), (1 / 6, 1 / 3), (1 / 18, 1.0))
"""Of a search by halving: (share of all candidates, share of the steps that so many come to)."""


@click.group()
def bench() -> None:
    """What the search costs; times against rivals are measured by `make bench-search`."""


@bench.command()
@click.argument("base_path", metavar="[BASE]", required=False, type=click.Path())
@click.option("--plan", "plan_path", type=click.Path(), help="A plan for `saint grow`, whose schedule is priced.")
@click.option("--rank", default=8, show_default=True, type=click.IntRange(min=1), help="Of the LoRA that is trained.")
@click.option("--candidates", default=36, show_default=True, type=click.IntRange(min=1), help="Of the round.")
@click.option("--select-tokens", default=12_288, show_default=True, type=click.IntRange(min=1))
@click.option("--judge-tokens", default=18_432, show_default=True, help="Held-out and retained text, together.")
@json_option
def cost(
    base_path: str | None,
    plan_path: str | None,
    rank: int,
    candidates: int,
    select_tokens: int,
    judge_tokens: int,
    *,
    as_json: bool,
) -> None:
    """Floating-point operations by the cost model beside those counted, for BASE (a folder or hub name).

    Steps train LoRA at every linear map of the last third of the blocks. Without BASE it is the demo's model, with
    random weights: counts do not depend on them. Exit status 1 if a count is not what the model says.
    """
    from saint.models import forward_cost

    quieten()
    base, schedule = base_or_stand_in(base_path), _schedule(plan_path)
    forward = forward_cost(base, seq_len=schedule.seq_len)
    steps = _Priced.steps(base, schedule, rank)
    sizes = {"select_tokens": select_tokens, "judge_tokens": judge_tokens}
    round_ = _round(base, schedule, rank=rank, num_candidates=candidates, **sizes)
    rounds = _rounds(round_)
    if as_json:
        say_json({"per_token": [row.to_plain() for row in steps], "round": rounds, "bound": round_.bound})
    else:
        blocks = f"{len(forward.blocks)} blocks, {base.num_params:,} parameters"
        say([_step_table(steps, f"Operations per token: {blocks}, windows of {schedule.seq_len} tokens")])
        say([_round_table(rounds, round_.bound, f"A round of {candidates} candidates, one map each")])
    click.get_current_context().exit(0 if all(row.model == row.measured for row in steps) else 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Priced:
    """Operations per token of one sort of work."""

    what: str
    model: int
    measured: int

    def to_plain(self) -> dict[str, Any]:
        return {"what": self.what, "model": self.model, "measured": self.measured, "ratio": self.measured / self.model}

    @classmethod
    def steps(cls, base: "FrozenBase", schedule: "Schedule", rank: int) -> list["_Priced"]:
        """Of one step each way, of the sensitivity pass, and of evaluating."""
        from saint.models import forward_cost
        from saint.training import StepCost

        third = -(-len(forward_cost(base, seq_len=1).blocks) * 2 // 3)
        sites = tuple(site for site in base.sites() if site.sort == "linear" and site.depth >= third)
        step = StepCost(forward=forward_cost(base, seq_len=schedule.seq_len), sites=sites, rank=rank)
        counted = _Counted(base, sites, rank, replace(schedule, num_steps=1))
        return [
            cls(what="dense training step", model=step.dense, measured=counted.dense()),
            cls(what=f"step with hooks, from block {third} on", model=step.hooks, measured=counted.hooks()),
            cls(what=f"step with cached prefix, from block {third} on", model=step.cached, measured=counted.cached()),
            cls(what="sensitivity pass", model=step.forward.followed, measured=counted.sensitivity()),
            cls(what="evaluation", model=step.forward.total, measured=counted.evaluation()),
        ]


class _Counted:
    """What PyTorch does in each sort of work, attention on a processor included."""

    def __init__(self, base: "FrozenBase", sites: "tuple[Site, ...]", rank: int, schedule: "Schedule") -> None:
        from saint.records import Candidate

        self._base, self._schedule = base, schedule
        self._candidate = Candidate(sites=sites, kind="lora", options={"rank": rank})
        self._text = counting_text(base, 4 * schedule.tokens_per_step)

    def dense(self) -> int:
        from saint.training import continue_training

        return self._of(lambda: continue_training(self._base, self._text, lr=1e-3, schedule=self._schedule))

    def hooks(self) -> int:
        """With the model that is composed of base and graft."""
        from saint.composition import compose, newborn
        from saint.models import token_nats

        model = compose(self._base, [newborn(self._base, self._candidate)])
        return self._of(lambda: token_nats(model, self._batch()).mean().backward())

    def cached(self) -> int:
        """By the engine, whose cache an earlier training has filled; of its second step, for the first has set-up."""
        from saint.composition import PrefixCache
        from saint.training import Workspace, train_many

        work = Workspace(cache=PrefixCache())

        def train(num_steps: int) -> None:
            schedule = replace(self._schedule, num_steps=num_steps)
            train_many(self._base, (), [self._candidate], self._text, schedule=schedule, work=work)

        train(2)
        return self._of(lambda: train(2)) - self._of(lambda: train(1))

    def sensitivity(self) -> int:
        """Forward, and backward to every site; what a map makes of that is its own."""
        from saint.composition import compose
        from saint.models import follow_gradients, token_nats

        model = compose(self._base, ())
        follow_gradients(model.model)
        return self._of(lambda: token_nats(model, self._batch()).mean().backward())

    def evaluation(self) -> int:
        import torch

        from saint.models import token_nats

        with torch.no_grad():
            return self._of(lambda: token_nats(self._base.model, self._batch()))

    def _batch(self) -> Any:
        schedule = self._schedule
        batches = self._text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=0)
        return batches[0].to(self._base.model.device)

    def _of(self, work: Any) -> int:
        from saint.models import counting_flops

        with counting_flops() as counter:
            work()
        num_flops, num_tokens = int(counter.get_total_flops()), self._schedule.tokens_per_step
        return num_flops // num_tokens if num_flops % num_tokens == 0 else round(num_flops / num_tokens)


def base_or_stand_in(path: str | None) -> "FrozenBase":
    """The base that was named, or one of the demo's architecture."""
    from transformers import AutoConfig

    from saint import config
    from saint.models import family_of, freeze
    from saint.training import BasePlan

    if path:
        return freeze(path)
    plan = config.load(_RECIPES / "small-llama-on-code.toml", BasePlan)
    return freeze(
        family_of(settings := AutoConfig.for_model(plan.architecture, vocab_size=_VOCAB, **plan.model)).from_config(
            settings
        )
    )


def _schedule(path: str | None) -> "Schedule":
    """The plan's, or that of the reference's round: 60 steps of 1,024 tokens."""
    from saint import config
    from saint.growth import Plan
    from saint.training import Schedule

    if path:
        return config.load(Path(path), Plan).schedule
    return Schedule(num_steps=60, batch_size=8, seq_len=128, evaluate_every=20)


def counting_text(base: "FrozenBase", num_tokens: int) -> "Corpus":
    """Token ids that mean nothing, for counting."""
    import numpy as np

    from saint.data import Corpus

    ids = (np.arange(num_tokens) * 7919 % base.model.config.vocab_size).astype(np.uint32)
    return Corpus(
        name="counting/train",
        shards=[ids],
        num_tokens_each=np.array([num_tokens]),
        num_bytes_each=np.array([num_tokens]),
        documents=("",),
        tokenizer="",
    )


def _round(
    base: "FrozenBase", schedule: "Schedule", *, rank: int, num_candidates: int, select_tokens: int, judge_tokens: int
) -> "RoundCost":
    """Candidates at one linear map each, spread over all depths alike."""
    from saint.models import forward_cost
    from saint.sensitivity import Sensitivity
    from saint.training import RoundCost, StepCost

    forward = forward_cost(base, seq_len=schedule.seq_len)
    sites = [site for site in base.sites() if site.sort == "linear" and site.depth >= 0]
    spread = [sites[index * len(sites) // num_candidates % len(sites)] for index in range(num_candidates)]
    return RoundCost(
        steps=tuple(StepCost(forward=forward, sites=(site,), rank=rank) for site in spread),
        train_tokens=schedule.num_tokens,
        select_tokens=select_tokens,
        judge_tokens=judge_tokens,
        sensitivity_tokens=Sensitivity().num_batches * schedule.tokens_per_step,
        num_evaluations=max(1, schedule.num_steps // schedule.evaluate_every),
    )


def _rounds(round_: "RoundCost") -> list[dict[str, Any]]:
    """Ways of going about the round, dearest first."""
    num = len(round_.steps)
    shares = [0.0] * num
    for part, share in _RUNGS:  # those that come further took the earlier steps as well
        most = max(1, round(part * num))
        for place in range(most):
            shares[place * num // most] = share
    ways = {
        "naive: hooks, everything anew": round_.naive,
        "all to the end, each prefix once": round_.searched([1.0] * num),
        "a third by the map, then halving twice": round_.searched(shares),
        "the bound: the map and the winner": round_.bound,
    }
    return [{"way": way, "flops": flops, "over_bound": flops / round_.bound} for way, flops in ways.items()]


def _step_table(rows: list[_Priced], title: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    table.add_column("what")
    for column in ("model", "counted", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.what, f"{row.model:,}", f"{row.measured:,}", f"{row.measured / row.model:.4f}")
    return table


def _round_table(rounds: list[dict[str, Any]], bound: int, title: str) -> Any:
    from rich import box
    from rich.table import Table

    assert bound > 0, "some text is read"
    table = Table(title=title, title_justify="left", box=box.HORIZONTALS)
    table.add_column("way")
    for column in ("GFLOP", "over the bound"):
        table.add_column(column, justify="right")
    for row in rounds:
        table.add_row(row["way"], f"{row['flops'] / 1e9:,.1f}", f"{row['over_bound']:.2f}")
    return table
