"""How large a graft's change of a weight is, and along how many directions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saint.composition._places import place_of
from saint.grafts import Graft, Kind, LowRankFactors, Place
from saint.models import FrozenBase
from saint.records import Site


class WeightChange(NamedTuple):
    """What a graft changes of one weight."""

    values: Float[Tensor, " num"]
    """The singular values of the change, largest first."""
    weight_energy: float
    """The squared Frobenius norm of the base's weight."""


@torch.no_grad()
def weight_change(base: FrozenBase, stack: Sequence[Graft], graft: Graft, site: Site) -> WeightChange | None:
    """What `graft` changes of the weight at `site`, as `stack` has left it; None for what is no change of a weight.

    Of a change of low rank the values are those of two matrices of the size of the rank. What has no factors but folds
    is taken as the difference that it makes to the weight, in full.
    """
    part, place = graft.parts[site.key], place_of(base, site)
    factors = part.factors()
    if (factors is None and not part.can_fold) or (weight := place.weight) is None:
        return None
    weight = weight.float()
    if factors is not None:
        values = _values_of(factors)
    else:
        below = weight
        for other in stack:
            if site.key in other.parts:
                below = _folded(other.parts[site.key], place, below)
        after = _folded(part, place, below)
        values = torch.linalg.svdvals(after - below)
        rounding = torch.finfo(after.dtype).eps * after.norm()
        values = values[values > rounding]  # no more than that is what the subtraction leaves
    return WeightChange(values=values, weight_energy=float(weight.double().square().sum()))


def _folded(part: Kind, place: Place, weight: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
    """The weight with a change in it; as it was for what is no change of a weight."""
    if not part.can_fold:
        return weight
    part.to(device=weight.device).attach(place)
    folded = part.fold(weight, None)
    assert folded is not None  # it can be folded
    return folded[0]


def _values_of(factors: LowRankFactors) -> Float[Tensor, " rank"]:
    """Singular values of up @ down, from two triangles of the size of the rank."""
    up, down = torch.linalg.qr(factors.up.double())[1], torch.linalg.qr(factors.down.double().T)[1]
    values: Tensor = torch.linalg.svdvals(up @ down.T)
    return values
