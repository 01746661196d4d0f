"""What a stage of growth by layers costs, beside its parts and beside training everything, in one run on one thread.

    python -m benchmarks.layerwise [--size tiny]

Three new blocks and the head learn above six frozen ones, of which three are a base and three a graft. A step of that,
by the very code that grows, is held against a forward pass of the frozen blocks and a training step of a plain model
of three blocks; and against a training step of a plain model of all nine. In the first epoch what the frozen blocks
give is computed with every step; after it, it is remembered where memory allows. By its operations alone a step that
computes it is 15/27 of a whole one for large models, and one that remembers it 9/27, so a stage comes to less than half
where its text is read more than once. Prints what was measured, then a line for each figure that was asked for; the
exit status is 1 when one is short. On one core: about a minute.
"""

import sys
from collections.abc import Callable

import click
import torch

from benchmarks.search.timing import Ratio, take_turns
from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.cli._terminal import quieten
from saint.composition import Below, Prefix, PrefixCache, boundary_of, newborn
from saint.data import Corpus
from saint.grafts import Graft
from saint.models import FrozenBase, freeze
from saint.records import Candidate
from saint.report import Figure
from saint.testing import tiny_splits
from saint.training import Schedule
from saint.training._active import learns
from saint.training._learn import Passes, Whole
from saint.training._learner import Learner
from saint.training._together import Together

_BLOCKS, _DEPTH = 3, 9  # k and L
_EPOCHS = 3  # of a stage's text, for the mean of its steps


def _config(width: int, num_blocks: int) -> LayeredConfig:
    return LayeredConfig(
        vocab_size=300,
        hidden_size=width,
        num_hidden_layers=num_blocks,
        num_attention_heads=4,
        max_position_embeddings=256,
    )


def _stage(base: FrozenBase, *, seed: int) -> Graft:
    """New blocks and the head, moved from where they were born."""
    top = [site for site in base.sites() if site.sort == "insertion"][-1]
    head = next(site for site in base.sites() if site.role == "head")
    options = {"blocks": _BLOCKS, "head_bias": True, "init": "random"}
    graft = newborn(base, Candidate(sites=(top, head), kind="layer", options=options, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in graft.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)
    return graft


def _stepping(learner: Learner, passes: Passes) -> Callable[[], None]:
    def step() -> None:
        learner.begin_step()
        passes.backward([learner])
        learner.take_step()

    return step


def _learner(parameters: dict[str, torch.nn.Parameter], text: Corpus, schedule: Schedule) -> Learner:
    batches = text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=0, shift=schedule.shift)
    return Learner(parameters, batches, schedule, of="benchmark", lr=1e-4)


def _variants(width: int, text: Corpus, schedule: Schedule) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    base = freeze(LayeredForCausalLM(_config(width, _BLOCKS)))
    stack = [_stage(base, seed=1).requires_grad_(requires_grad=False)]
    found: dict[str, Callable[[], object]] = {}
    for name, cache in (("stage", None), ("remembered", PrefixCache())):
        graft = _stage(base, seed=2)
        boundary = boundary_of(base, stack, graft.candidate.sites)
        learner = _learner(dict(graft.named_parameters()), text, schedule)
        prefix = Prefix(base, stack, [boundary], cache)
        if cache is not None:
            for index in range(-(-learner.batches.num_windows // schedule.batch_size)):
                prefix.read(boundary, learner.batches[index][:, :-1])
        passes = Together(
            base, stack, [(learner, graft)], boundary, prefix, schedule=schedule, stacked=False, keep=cache is not None
        )
        found[name] = _stepping(learner, passes)
    tokens, below = learner.batches[0][:, :-1], Below(base, stack, [boundary])
    found["frozen, forward"] = lambda: below.read(tokens)
    for name, num_blocks in (("new part alone", _BLOCKS), ("everything", _DEPTH)):
        model = LayeredForCausalLM(_config(width, num_blocks)).eval()
        learning = learns(model, num_newest=num_blocks, with_head=True).together
        found[name] = _stepping(_learner(learning, text, schedule), Whole(model, schedule))
    return found


def _share(ours: list[float], rival: list[float]) -> Ratio:
    return Ratio.of([mine / theirs for mine, theirs in zip(ours, rival, strict=True)])


def figures(width: int, schedule: Schedule, *, repeats: int, prefix: str) -> list[Figure]:
    """Ratios of times of one turn; medians over the turns."""
    times = take_turns(_variants(width, tiny_splits().train, schedule), repeats=repeats)
    for name in times.seconds:
        print(f"  {name}: {times.median_s(name):.3f} s")
    stage, remembered, everything = (times.seconds[name] for name in ("stage", "remembered", "everything"))
    parts = [
        one + other
        for one, other in zip(times.seconds["frozen, forward"], times.seconds["new part alone"], strict=True)
    ]
    mean = [(once + (_EPOCHS - 1) * again) / _EPOCHS for once, again in zip(stage, remembered, strict=True)]
    shares = {
        "stage_over_its_parts": (_share(stage, parts), 1.15),
        "stage_over_everything": (_share(mean, everything), 0.5),
    }
    computed = _share(stage, everything)
    print(f"  a step that computes the frozen blocks, of a step of everything: {computed.median:.3f}")
    print(f"  the mean step of {_EPOCHS} epochs is what is held against one of everything below")
    for name, (share, _) in shares.items():
        print(f"  {name}: {share.median:.3f} [{share.low:.3f}, {share.high:.3f}]")
    return [
        Figure(name=f"{prefix}layerwise_{name}", value=share.median, target=target, sense="at_most")
        for name, (share, target) in shares.items()
    ]


@click.command(help=__doc__)
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", help="tiny: does it run at all?")
def main(size: str) -> None:
    torch.set_num_threads(1)
    quieten()
    if size == "full":
        schedule = Schedule(num_steps=10_000, batch_size=8, seq_len=128, shift=False, warmup=0.0)
        found = figures(192, schedule, repeats=9, prefix="")
    else:
        schedule = Schedule(num_steps=10_000, batch_size=2, seq_len=32, shift=False, warmup=0.0)
        found = figures(16, schedule, repeats=2, prefix="smoke_")
    for figure in found:
        print(figure)
    sys.exit(0 if all(figure.ok for figure in found) else 1)


if __name__ == "__main__":
    main()
