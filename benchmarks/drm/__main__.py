"""The DRM backbone against the direct evaluation and against a plain GPT of equal size, in one run on one thread.

    python -m benchmarks.drm [--only GROUP ...] [--size tiny] [--text NAME=SOURCE ...]

prints what was measured and then a line for each figure that was asked for; the exit status is 1 when one is short.
The groups: speed and activations, of blocks only (a vocabulary of 512) at 1,024 tokens; memory, of a whole training
step; and quality, of both after 600 steps on bytes of two texts, three seeds. On one core: two minutes, seconds, and
three minutes; quality takes ten minutes of two cores.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click
import torch
from transformers import LlamaForCausalLM

from benchmarks.drm.memory import counted_without_memory, kept_bytes, peak_gib
from benchmarks.drm.quality import TEXTS, quality
from benchmarks.search.timing import Ratio, seconds_of, take_turns
from saint.backbones import DrmForCausalLM, count_params, drm_config, rival_config
from saint.cli._terminal import quieten
from saint.report import Figure
from saint.testing import evaluated_directly

_SIZE, _NUM_TOKENS, _VOCAB = "5m", 1024, 512
_GIB = 2**30
_PER_WEIGHT = 4  # of its own size: itself, its gradient, and two moments


def _pair(size: str, num_tokens: int) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = drm_config(size, vocab_size=_VOCAB, max_seq_len=num_tokens)
    rival = rival_config(config)
    print(
        f"  {size}, blocks only: {count_params(DrmForCausalLM, config):,} parameters, "
        f"GPT {count_params(LlamaForCausalLM, rival):,}"
    )
    return DrmForCausalLM(config), LlamaForCausalLM(rival)


def _step(model: Any, tokens: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        model(input_ids=tokens, use_cache=False).logits.logsumexp(-1).sum().backward()
        model.zero_grad()

    return step


def speed(num_tokens: int, prefix: str) -> Iterator[Figure]:
    """A forward and a backward pass of the blocks."""
    ours, rival = _pair(_SIZE, num_tokens)
    tokens = torch.randint(_VOCAB, (1, num_tokens))
    times = take_turns({"drm": _step(ours, tokens), "gpt": _step(rival, tokens)}, repeats=9)
    with evaluated_directly(ours):
        direct = seconds_of(_step(ours, tokens)) / times.median_s("drm")
    share = Ratio.of([ours / theirs for ours, theirs in zip(times.seconds["drm"], times.seconds["gpt"], strict=True)])
    print(
        f"  DRM {times.median_s('drm'):.3f} s; of the GPT's time {share.median:.2f} [{share.low:.2f}, {share.high:.2f}]"
    )
    yield Figure(name=f"{prefix}drm_times_as_fast_as_direct", value=direct, target=30, sense="at_least")
    yield Figure(name=f"{prefix}drm_step_over_gpt", value=share.median, target=1.3, sense="at_most")


def activations(num_tokens: int, prefix: str) -> Iterator[Figure]:
    """Bytes kept for the backward pass."""
    tokens = torch.zeros(1, num_tokens, dtype=torch.long)
    ours, theirs = (kept_bytes(model, tokens) for model in _pair(_SIZE, num_tokens))
    print(f"  kept for the backward pass: {ours / 2**20:.1f} MiB, GPT {theirs / 2**20:.1f} MiB")
    yield Figure(name=f"{prefix}drm_activations_over_gpt", value=ours / theirs, target=1.5, sense="at_most")


def memory(num_tokens: int, prefix: str) -> Iterator[Figure]:
    """One sequence trained, weights and optimizer included."""
    sizes = ("125m", "350m") if not prefix else ("1m", "5m")
    estimates = {}
    for size in sizes:
        weights, kept = counted_without_memory(drm_config(size, max_seq_len=num_tokens), num_tokens)
        estimates[size] = (_PER_WEIGHT * weights + kept) / _GIB
        print(f"  {size}: weights {weights / _GIB:.2f} GiB, kept {kept / _GIB:.2f}, a step {estimates[size]:.2f} GiB")
    peak = peak_gib(sizes[0], num_tokens)
    print(f"  {sizes[0]}: peak of a process that trains it {peak:.2f} GiB")
    yield Figure(name=f"{prefix}drm_{sizes[0]}_peak_gib", value=peak, target=8, sense="at_most")
    yield Figure(name=f"{prefix}drm_{sizes[1]}_estimated_gib", value=estimates[sizes[1]], target=24, sense="at_most")


GROUPS = ("speed", "activations", "memory", "quality")


def _named(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Name -> source of each NAME=SOURCE."""
    for value in values:
        if not all(value.partition("=")):
            raise click.BadParameter(f"expected NAME=SOURCE, got {value!r}")
    return dict(value.split("=", 1) for value in values)


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="This group alone; may be repeated.")
@click.option("--size", type=click.Choice(["full", "tiny"]), default="full", help="tiny: does it run at all?")
@click.option("--text", multiple=True, callback=_named, help="NAME=SOURCE: measure quality on this text instead.")
def main(only: tuple[str, ...], size: str, text: dict[str, str]) -> None:
    torch.set_num_threads(1)
    quieten()
    num_tokens, prefix = (_NUM_TOKENS, "") if size == "full" else (64, "smoke_")
    groups = {
        "speed": partial(speed, num_tokens),
        "activations": partial(activations, num_tokens),
        "memory": partial(memory, num_tokens),
        "quality": partial(quality, text or TEXTS),
    }
    figures = []
    for name in GROUPS:
        if name in (only or GROUPS):
            print(name)
            figures += groups[name](prefix)
    for figure in figures:
        print(figure)
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


if __name__ == "__main__":
    main()
