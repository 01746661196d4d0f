"""A step in closed form before training, as long as text says that it should be."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from saint.grafts import FirstStep, Graft, Place
from saint.models import token_nats

SCALES = (0.0, 1.0, 4.0, 16.0, 64.0)
"""What a first step is multiplied by in turn; 0 for taking none."""


def take_first_step(
    graft: Graft, places: Mapping[str, Place], score: Callable[[], float], *, scales: Sequence[float] = SCALES
) -> tuple[tuple[float, float], ...]:
    """Let a newborn's parts begin, and make their steps, all by one factor, as long as is best.

    Parts whose options say how long their step is keep it at that, and are there at each length of the others.

    Args:
        places: Site key -> what is there, with the signals that the kind wants.
        score: A loss of what the graft is part of, as it stands; lower is better.

    Returns:
        (scale, loss) of each length that was tried; if the options say all lengths (1, loss) only, and nothing for a
        kind that takes no such step.
    """
    steps = [step for key, part in graft.parts.items() if (step := part.begin(places[key])) is not None]
    if not steps:
        return ()
    open_steps = [step for step in steps if step.is_open]
    return line_search(_scaler(open_steps), score, scales if open_steps else (1.0,))


def line_search(
    set_scale: Callable[[float], None], score: Callable[[], float], scales: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Try each scale, and leave the one with the lowest score set; of equals the one that was tried first.

    A score that is no number, as after much too long a step, loses against any that is one, and is left out of what is
    returned; where none is one, the first scale stays.

    Returns:
        (scale, score) in the order in which they were tried.
    """
    tried = []
    for scale in scales:
        set_scale(scale)
        if math.isfinite(found := score()):
            tried.append((scale, found))
    best, _ = min(tried, key=lambda pair: pair[1], default=(scales[0], math.nan))
    set_scale(best)
    return tuple(tried)


def loss_on(model: nn.Module, batches: Sequence[Int[Tensor, "batch seq"]]) -> Callable[[], float]:
    """Mean nats per token of the model as it stands, over some text."""

    @torch.inference_mode()
    def score() -> float:
        losses = [token_nats(model, tokens.to(next(model.parameters()).device)).mean() for tokens in batches]
        return float(torch.stack(losses).mean())

    return score


def _scaler(steps: Sequence[FirstStep]) -> Callable[[float], None]:
    """Multiplies what was written, as it was written."""
    written = [(step.written, step.written.detach().clone()) for step in steps]

    @torch.no_grad()
    def set_scale(scale: float) -> None:
        for now, once in written:
            now.copy_(scale * once)

    return set_scale
