"""The search as one would first write it down: the oracle of the engine, and the rival that it is timed against.

Nothing here is clever, and nothing here may become so. Every candidate has a model of its own, reads every batch from
the embeddings up, and is evaluated with the base measured anew beside it. What needs no gradient gets none only as far
as autograd sees that by itself. A change to what a training step is must be made here as well as in `saint.training`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from saint.composition import compose, measure_signals, newborn, place_of, wanted_signals
from saint.data import Batches, Corpus
from saint.errors import ConfigError
from saint.evaluation import Losses, negated, paired_interval
from saint.grafts import Graft, History
from saint.models import FrozenBase, document_nats, token_nats
from saint.records import Candidate, Interval
from saint.training import Schedule, loss_on, take_first_step

_SIGNAL_TOKENS, _SIGNAL_TOKENS_PER_RANK = 4096, 4  # what `saint.training` shows a newborn that wants signals
_STEP_TOKENS = 1024  # that the length of a first step is chosen on
_HELD_OUT = "held_out"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NaiveTrial:
    """One candidate, trained to the end and measured in full."""

    graft: Graft
    select_bpb: float
    """On *select* at its best evaluation: what candidates are ranked by."""
    gain_bpb: Interval
    """On held-out text, against base + stack."""
    regression_bpb: Mapping[str, Interval]
    """Of each protected suite, against base + stack."""


def naive_train(
    base: FrozenBase,
    stack: Sequence[Graft],
    candidate: Candidate,
    text: Corpus,
    *,
    select: Corpus | None = None,
    schedule: Schedule | None = None,
) -> Graft:
    """What `saint.training.train` does, in one plain loop: equal arguments, equal weights.

    It cannot be stopped or resumed and does not look whether a loss is still a number.

    Raises:
        ConfigError: The schedule says how a step is computed, which here is in one way only.
    """
    schedule, started = schedule or Schedule(), time.monotonic()
    if schedule.accumulate > 1 or schedule.recompute or schedule.autocast:
        raise ConfigError("the plain search computes a step in one way; leave out accumulate, recompute and autocast")
    graft = _newborn(base, stack, candidate, text, schedule)
    model = compose(base, [*stack, graft]).eval()
    for standing in stack:
        standing.requires_grad_(requires_grad=False)
    parameters = list(graft.parameters())
    optimizer = torch.optim.AdamW(
        parameters,
        lr=candidate.lr,
        betas=(schedule.beta1, schedule.beta2),
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    batches = _batches(text, schedule, candidate)
    seen: list[tuple[int, float]] = []
    best, num_worse, step = _copied(parameters), 0, 0
    while step < schedule.num_steps and num_worse < schedule.patience:
        optimizer.param_groups[0]["lr"] = candidate.lr * schedule.lr_share(step)
        graft.set_strength(schedule.strength(step))
        loss = token_nats(model, batches[step]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, schedule.clip_norm)
        optimizer.step()
        step += 1
        if select is not None and (step % schedule.evaluate_every == 0 or step == schedule.num_steps):
            graft.set_strength(1.0)
            bpb = _bpb(model, select, schedule)
            if bpb < min((earlier for _, earlier in seen), default=math.inf):
                best, num_worse = _copied(parameters), 0
            else:
                num_worse += 1
            seen.append((step, bpb))
    graft.set_strength(1.0)
    if select is not None:
        for parameter, value in zip(parameters, best, strict=True):
            parameter.data.copy_(value)
    graft.history = _history(seen, step, schedule, time.monotonic() - started)
    return graft.requires_grad_(requires_grad=False).eval()


def naive_round(
    base: FrozenBase,
    stack: Sequence[Graft],
    candidates: Sequence[Candidate],
    text: Corpus,
    *,
    select: Corpus,
    held_out: Corpus,
    retain: Mapping[str, Corpus] | None = None,
    schedule: Schedule | None = None,
) -> list[NaiveTrial]:
    """Every candidate trained to the end, one by one, and measured in full; the best on *select* comes first.

    Args:
        text: Must be the train split.
        held_out: What the gain is measured on; base + stack is measured on it again for every candidate.
        retain: Protected suites, for which the same holds.
    """
    schedule, retain = schedule or Schedule(), retain or {}
    trials = []
    for candidate in candidates:
        graft = naive_train(base, stack, candidate, text, select=select, schedule=schedule)
        assert graft.history is not None  # it was just trained
        assert graft.history.best_bpb is not None  # *select* was given
        gained = {
            name: naive_gain(base, stack, graft, suite, seq_len=schedule.seq_len)
            for name, suite in {**retain, _HELD_OUT: held_out}.items()
        }
        gain = gained.pop(_HELD_OUT)
        lost = {name: negated(interval) for name, interval in gained.items()}
        trials.append(NaiveTrial(graft=graft, select_bpb=graft.history.best_bpb, gain_bpb=gain, regression_bpb=lost))
    return sorted(trials, key=lambda trial: trial.select_bpb)


def naive_gain(base: FrozenBase, stack: Sequence[Graft], graft: Graft, text: Corpus, *, seq_len: int) -> Interval:
    """Bits per byte that `graft` saves on `text`, with nothing remembered: two models, read from the embeddings up."""
    losses = Losses(seq_len=seq_len)
    before = losses.measure(compose(base, stack), text)
    after = losses.measure(compose(base, [*stack, graft]), text)
    return paired_interval(before, after, text.num_bytes_each)


def _newborn(base: FrozenBase, stack: Sequence[Graft], candidate: Candidate, text: Corpus, schedule: Schedule) -> Graft:
    """The start that `candidate` names, from signals on the first of the text where its kind wants any."""
    wants = wanted_signals(candidate)
    batches = _batches(text, schedule, candidate)
    num_tokens = max([_SIGNAL_TOKENS, *(_SIGNAL_TOKENS_PER_RANK * min(site.d_in, site.d_out) for site in wants)])
    num_batches = math.ceil(num_tokens / schedule.tokens_per_step) if wants else 0
    signals = measure_signals(base, stack, wants, [batches[step] for step in range(num_batches)])
    graft = newborn(base, candidate, stack=stack, signals=signals)
    places = {site.key: place_of(base, site, signals=signals.get(site.key)) for site in candidate.sites}
    after = [batches[num_batches + step] for step in range(math.ceil(_STEP_TOKENS / schedule.tokens_per_step))]
    take_first_step(graft, places, loss_on(compose(base, [*stack, graft]).eval(), after))
    return graft


def _batches(text: Corpus, schedule: Schedule, candidate: Candidate) -> Batches:
    return text.batches(
        batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=candidate.seed, shift=schedule.shift
    )


def _bpb(model: nn.Module, text: Corpus, schedule: Schedule) -> float:
    windows = text.windows(seq_len=schedule.seq_len, batch_size=4 * schedule.batch_size)
    return float(document_nats(model, windows, text.num_documents).sum()) / math.log(2) / text.num_bytes


def _copied(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _history(seen: Sequence[tuple[int, float]], num_steps: int, schedule: Schedule, time_s: float) -> History:
    """Of a run of `num_steps` steps; `seen` is (step, bits per byte on *select*) at each evaluation."""
    best_step = min(seen, key=lambda one: one[1])[0] if seen else num_steps
    return History(
        train_tokens=num_steps * schedule.tokens_per_step,
        select_bpb=tuple((step * schedule.tokens_per_step, bpb) for step, bpb in seen),
        best_tokens=best_step * schedule.tokens_per_step,
        time_s=time_s,
    )
