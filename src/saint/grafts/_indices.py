"""Index tensors that take as few bytes in a graft's file as their range allows."""

import torch

_WHOLE_NUMBERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def smallest_dtype(largest: int) -> torch.dtype:
    """The narrowest type that holds every whole number from 0 to `largest`."""
    return next(dtype for dtype in _WHOLE_NUMBERS if largest <= torch.iinfo(dtype).max)
