from collections.abc import Callable, Mapping, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from saint.composition import compose, logits_digest, overlap, probe_logits
from saint.data import Corpus
from saint.errors import DataError
from saint.evaluation._loss_store import PerDocument
from saint.evaluation._losses import Losses
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Arm, Cost, Evidence, Interval, Removal
from saint.statistics import negated, paired_interval


def evaluate(
    base: FrozenBase,
    stack: Sequence[Graft],
    graft: Graft,
    text: Mapping[str, Corpus],
    *,
    grown: str,
    composed: Sequence[Graft] | None = None,
    losses: Losses | None = None,
) -> Evidence:
    """Compare base + stack with base + stack + graft on the very same windows, and take the graft out again.

    Args:
        text: Domain -> development text, `Splits.select`. What sealed text says is for `saint.judge` to ask.
        grown: The domain that is grown towards; the gain is measured on its text, the loss on that of all others,
            against the present stack and against the bare base.
        composed: The stack with the graft in it; with the graft on top if left out.
        losses: Remembers what was measured, so that the stack is not measured again for every graft.

    Raises:
        DataError: A corpus has too few documents for an interval, or there is no text of `grown`.
        BaseChangedError: Something wrote to the base.
    """
    if grown not in text:
        raise DataError(f"there is no text of {grown!r} to measure the gain on; there is {', '.join(text) or 'none'}")
    losses = losses or Losses()
    before, with_graft = probe_logits(compose(base, stack)), composed or [*stack, graft]
    kept = {name: corpus for name, corpus in text.items() if name != grown}
    evidence = Evidence(
        graft=graft.digest,
        candidate=graft.candidate,
        base=base.digest,
        stack=tuple(other.digest for other in stack),
        strength=round(graft.strength, 6),
        documents={name: corpus.digest for name, corpus in text.items()},
        grown=grown,
        gain_bpb=losses.saved(base, stack, with_graft, text[grown]),
        regression_bpb={name: negated(losses.saved(base, stack, with_graft, c)) for name, c in kept.items()},
        drift_bpb={name: negated(losses.saved(base, (), with_graft, corpus)) for name, corpus in kept.items()},
        bootstrap_bpb={
            grown: losses.bootstrapped(base, stack, with_graft, text[grown]),
            **{name: negated(losses.bootstrapped(base, (), with_graft, corpus)) for name, corpus in kept.items()},
        },
        spreads={
            grown: {"stack": losses.spread(base, stack, with_graft, text[grown])},
            **{
                name: {
                    "stack": losses.spread(base, stack, with_graft, corpus),
                    "base": losses.spread(base, (), with_graft, corpus),
                }
                for name, corpus in kept.items()
            },
        },
        cost=measure_cost(base, stack, graft),
        logits=logits_digest(compose(base, with_graft)),
        removal=_removal(before, base, stack),
        overlap=overlap(stack, graft),
    )
    base.check()
    return evidence


def measure_arm(
    name: str,
    base: FrozenBase,
    nats_of: Callable[[Corpus], PerDocument],
    *,
    grown: Corpus,
    retained: Mapping[str, Corpus],
    num_params: int,
    train_tokens: int,
    losses: Losses,
) -> Arm:
    """One way of spending the tokens, held against the bare base.

    Args:
        nats_of: Measures the model that came of it: total nats of each document of a corpus.
        grown: Text of the domain that was grown towards.
        retained: Text of the domains that should have been kept.
    """

    def saved(corpus: Corpus) -> Interval:
        return paired_interval(losses.of(base, (), corpus), nats_of(corpus), corpus.num_bytes_each)

    return Arm(
        name=name,
        num_params=num_params,
        train_tokens=train_tokens,
        gain_bpb=saved(grown),
        regression_bpb={domain: negated(saved(corpus)) for domain, corpus in retained.items()},
    )


def measure_cost(base: FrozenBase, stack: Sequence[Graft], graft: Graft) -> Cost:
    """What `graft` costs on top of `stack`, in counts.

    The operations are those of a forward pass, as PyTorch's counter sees them. What the graft adds is counted unfolded;
    the ratio of the whole to the bare base is of the grafts that cannot be folded, for the others add nothing.
    """
    without, num_tokens = _flops(base, stack)
    with_graft, _ = _flops(base, [*stack, graft])
    return Cost(
        num_params=graft.num_params,
        num_bytes=len(graft.to_bytes()),
        train_tokens=graft.history.all_tokens if graft.history else 0,
        flops_per_token=(with_graft - without) // num_tokens + _uncounted([graft]),
        foldable=graft.foldable,
        flops_ratio=_flops_ratio(base, [one for one in (*stack, graft) if not one.foldable]),
    )


def _flops_ratio(base: FrozenBase, kept: Sequence[Graft]) -> float:
    """What base and `kept` compute over what the base does."""
    if not kept:
        return 1.0
    (bare, num_tokens), (whole, _) = _flops(base, ()), _flops(base, kept)
    return round((whole + num_tokens * _uncounted(kept)) / bare, 6)


def _flops(base: FrozenBase, grafts: Sequence[Graft]) -> tuple[int, int]:
    """Operations on the probe, and its tokens."""
    model = compose(base, grafts)
    with FlopCounterMode(display=False) as counter:
        num_tokens = probe_logits(model).shape[:-1].numel()
    return counter.get_total_flops(), num_tokens


def _uncounted(grafts: Sequence[Graft]) -> int:
    """Operations per token that PyTorch's counter does not see."""
    return sum(part.uncounted_flops for graft in grafts for part in graft.parts.values())


def _removal(before: torch.Tensor, base: FrozenBase, stack: Sequence[Graft]) -> Removal:
    after = probe_logits(compose(base, stack))
    return Removal(
        restored=bool(torch.equal(before, after)),
        max_abs_difference=float((before - after).abs().max()),
        num_tokens=before.shape[:-1].numel(),
    )
