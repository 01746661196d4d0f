"""Index tensors that take as few bytes in a graft's file as their range allows."""

import torch
from jaxtyping import Integer
from torch import Tensor, nn

from saint.errors import GraftFileError

_WHOLE_NUMBERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def smallest_dtype(largest: int) -> torch.dtype:
    """The narrowest type that holds every whole number from 0 to `largest`."""
    return next(dtype for dtype in _WHOLE_NUMBERS if largest <= torch.iinfo(dtype).max)


def is_blank(part: nn.Module) -> bool:
    """Whether all that would be stored of a part is zero: it was made, nothing was loaded, and it changes nothing.

    PEFT's adapters are so until they are born, and are loaded into side by side.
    """
    return not any(bool(tensor.any()) for tensor in part.state_dict().values())


def must_rise(indices: Integer[Tensor, " count"], bound: int, what: str) -> None:
    """See to it that indices from a file are strictly increasing, and so never double, and inside.

    Args:
        bound: What all of them are below.
        what: What they are indices of, in the plural.

    Raises:
        GraftFileError: They are not; no newborn could have had them.
    """
    wide = indices.long()
    if bool((wide.diff() <= 0).any()):
        raise _refusal(bound, what, "out of order")
    must_lie_inside(indices, bound, what)


def must_lie_inside(indices: Integer[Tensor, " count"], bound: int, what: str) -> None:
    """See to it that indices from a file are of something that there is; arguments and errors are `must_rise`'s."""
    wide = indices.long()
    if int(wide.min()) < 0 or int(wide.max()) >= bound:
        raise _refusal(bound, what, "outside")


def _refusal(bound: int, what: str, fault: str) -> GraftFileError:
    return GraftFileError(
        f"the graft's file names {what}, of which there are {bound:,}, and some are {fault}; fetch it again"
    )
