"""What each site of one graft is worth to it: measured by leaving it out, or guessed from one backward pass."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from typing import final

import numpy as np
import torch
from torch import Tensor

from saint.composition import Above, Below, blocks_of, compose
from saint.data import Corpus
from saint.evaluation._loss_store import PerDocument
from saint.evaluation._losses import Losses
from saint.grafts import Graft, part_of
from saint.models import FrozenBase, document_nats, token_nats
from saint.records import Interval, Site
from saint.statistics import paired_interval

_WITH_GRADIENT = 4  # windows in a pass: what is kept for the way back must fit where a training step's does
_ON_THE_WAY = 0.5  # of the strength: there the slope is the mean one of a loss that is quadratic in it


def site_by_site(
    base: FrozenBase, stack: Sequence[Graft], graft: Graft, corpus: Corpus, *, losses: Losses | None = None
) -> dict[str, Interval]:
    """Site key -> bits per byte that base + stack + `graft` saves and does not save without the part at that site.

    The blocks below a site are not computed again: what they give is read from the pass with all parts.

    Args:
        corpus: Development text, for what the gates judge on must not be looked at more than it is.
        losses: Says how the text is cut, and remembers what the whole costs.
    """
    losses = losses or Losses()
    lacking = {site.key: _Lacking(base, stack, graft, site) for site in graft.candidate.sites}
    boundaries = {one.boundary for one in lacking.values()} - {0}
    below = Below(base, [*stack, graft], boundaries) if boundaries else None
    nats: dict[str, PerDocument] = {key: np.zeros(corpus.num_documents) for key in lacking}
    for window in losses.windows(base.model, corpus):
        stream = below.read(window[0].to(base.model.device)[:, :-1]) if below is not None else {}
        for key, one in lacking.items():
            nats[key] += document_nats(one.model(stream), [window], corpus.num_documents)
    whole = losses.of(base, [*stack, graft], corpus)
    return {key: paired_interval(without, whole, corpus.num_bytes_each) for key, without in nats.items()}


def taylor_by_site(
    base: FrozenBase, stack: Sequence[Graft], graft: Graft, corpus: Corpus, *, losses: Losses | None = None
) -> dict[str, float]:
    """Site key -> bits per byte that the part at that site saves, as one pass over the text, forward and back, has it.

    That is the slope of the loss with respect to the strength of each part, times the strength: to first order what the
    loss rises by as the part is taken out. At the end of training the slopes are near 0, so they are taken half way to
    there, all parts at half of their strength; of a quadratic loss the estimates then add up to the graft's whole gain.

    Args:
        corpus: Development text.
        losses: Says how the text is cut.

    Source:
        Molchanov et al. 2019, arXiv:1906.10771, along the straight way from nothing to the graft: Sundararajan et al.
        2017, arXiv:1703.01365, with one step.
    """
    losses = losses or Losses()
    copy = part_of(graft, [site.key for site in graft.candidate.sites])
    strengths: dict[str, Tensor] = {}
    for key, part in copy.parts.items():
        strengths[key] = (_ON_THE_WAY * part.strength).to(base.model.device).requires_grad_()
        part.strength = strengths[key]
    model = compose(base, [*stack, copy])
    for tokens, lengths, _ in losses.windows(base.model, corpus, batch_size=_WITH_GRADIENT):
        nats = token_nats(model, tokens.to(base.model.device), lengths.to(base.model.device))  # (B, T)
        paid = torch.arange(nats.shape[1], device=nats.device)[None] < lengths.to(nats.device)[:, None]
        torch.where(paid, nats, 0.0).sum().backward()
    per_byte = graft.strength / log(2) / corpus.num_bytes
    return {key: -per_byte * _slope(strength) for key, strength in strengths.items()}


def _slope(strength: Tensor) -> float:
    """Nats by which the loss of the text rises with a strength."""
    assert strength.grad is not None  # every part is on the way to the loss
    return float(strength.grad)


@final
class _Lacking:
    """Base, stack and graft without the part at one site, from the block on that the site is in."""

    def __init__(self, base: FrozenBase, stack: Sequence[Graft], graft: Graft, site: Site) -> None:
        names = blocks_of(base)
        self.boundary = _first_block(site, len(names))
        others = tuple(
            other
            for other in graft.candidate.sites
            if other != site and (other.depth < 0 or other.depth >= self.boundary)
        )
        parts = {other.key: graft.parts[other.key] for other in others}  # the very same, for there are many such models
        rest = [Graft(replace(graft.candidate, sites=others), parts)] if others else []
        self._stream: Mapping[int, Tensor] = {}
        self._above = Above(base, stack, rest, self.boundary, lambda _: self._stream[self.boundary])

    def model(self, stream: Mapping[int, Tensor]) -> Above:
        """The model, to be shown the window that `stream` (boundary -> residual stream there) is of."""
        self._stream = stream
        return self._above


def _first_block(site: Site, num_blocks: int) -> int:
    """How many blocks lie below a site, whatever else the graft has in these."""
    if not num_blocks:
        return 0
    if site.depth < 0:
        return num_blocks if site.role == "head" else 0
    return site.depth
