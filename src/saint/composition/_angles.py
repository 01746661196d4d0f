"""How far a graft repeats what the stack does: angles between subspaces, measured and not counted."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saint.composition._places import spanned
from saint.grafts import Graft, LowRankFactors
from saint.records import Overlap


class Angles(NamedTuple):
    """Cosines of the principal angles at one site, largest first; none where one of the two spans nothing."""

    inputs: tuple[float, ...]
    """Between what the two read: the row spaces of their factors."""
    outputs: tuple[float, ...]
    """Between what the two write: the column spaces of their factors."""


@torch.no_grad()
def principal_angles(stack: Sequence[Graft], graft: Graft) -> dict[str, Angles]:
    """Site key -> the angles between what `stack` spans there and what `graft` does.

    Sites are left out where not both change a weight by something of low rank. Directions whose singular value is
    rounding are not counted as spanned, so factors may be of deficient rank.

    Source:
        Bjorck and Golub 1973, Mathematics of Computation 27, 579-594: the cosines are the singular values of the
        product of orthonormal bases.
    """
    found = {}
    for site in graft.candidate.sites:
        below, own = spanned(stack, site), graft.parts[site.key].factors()
        if below is not None and own is not None:
            found[site.key] = Angles(
                inputs=_cosines(_basis(below.down.T), _basis(own.down.T)),
                outputs=_cosines(_basis(below.up), _basis(own.up)),
            )
    return found


@torch.no_grad()
def overlap(stack: Sequence[Graft], graft: Graft) -> Overlap | None:
    """The most that `graft` shares with `stack` at any site; None where nothing of low rank is shared."""
    angles = principal_angles(stack, graft)
    if not angles:
        return None
    inside = total = 0.0
    for site in graft.candidate.sites:
        if (own := graft.parts[site.key].factors()) is None:
            continue
        up, down = own.up.double(), own.down.double()
        total += _energy(up, down)
        if (below := spanned(stack, site)) is not None:
            inside += _energy(_basis(below.up).T @ up, down @ _basis(below.down.T))
    return Overlap(
        inputs=max((cosine for one in angles.values() for cosine in one.inputs), default=0.0),
        outputs=max((cosine for one in angles.values() for cosine in one.outputs), default=0.0),
        inside=min(1.0, inside / total) if total else 0.0,
    )


@torch.no_grad()
def overlap_with(stack: Sequence[Graft], directions: Mapping[str, LowRankFactors]) -> dict[str, float]:
    """Site key -> how much of a change along `directions` would repeat what `stack` spans there, from 0 to 1.

    It is the share of the change, by its squared size, that reads and writes within what the stack spans: for a single
    direction the product of the squared cosines of its two principal angles to the stack. 0 where the stack changes no
    weight by something of low rank.

    Args:
        directions: Site key -> what a graft there would be expected to change, such as the leading singular directions
            of the gradient; of any scale.
    """
    sites = {site.key: site for graft in stack for site in graft.candidate.sites}
    found = dict.fromkeys(directions, 0.0)
    for key in directions.keys() & sites.keys():
        if (below := spanned(stack, sites[key])) is not None:
            found[key] = _inside(directions[key], below)
    return found


def _inside(change: LowRankFactors, below: LowRankFactors) -> float:
    """The share of a change that lies within what another spans."""
    up, down = change.up.double(), change.down.double()
    total = _energy(up, down)
    inside = _energy(_basis(below.up).T @ up, down @ _basis(below.down.T))
    return min(1.0, inside / total) if total else 0.0


def _basis(vectors: Float[Tensor, "size num"]) -> Float[Tensor, "size rank"]:
    """Orthonormal columns that span what the columns of `vectors` do."""
    u, values, _ = torch.linalg.svd(vectors.double(), full_matrices=False)
    rounding = max(vectors.shape) * torch.finfo(vectors.dtype).eps
    basis: Tensor = u[:, values > rounding * values[:1]]
    return basis


def _cosines(one: Float[Tensor, "size a"], other: Float[Tensor, "size b"]) -> tuple[float, ...]:
    return tuple(torch.linalg.svdvals(one.T @ other).clamp(max=1.0).tolist())


def _energy(up: Float[Tensor, "d_out rank"], down: Float[Tensor, "rank d_in"]) -> float:
    """The squared Frobenius norm of up @ down, from two matrices of the size of the rank."""
    return float(((up.T @ up) * (down @ down.T)).sum())
