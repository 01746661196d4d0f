import re
from collections.abc import Mapping
from math import prod
from typing import Any

from saint.errors import GraftFileError
from saint.weights._caps import DTYPES, Caps, TensorSpec
from saint.weights._header import AGAIN

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
"""ASCII, so that no two names look the same or become the same once normalised."""
_FIELDS = {"dtype", "shape", "data_offsets"}
_MOST_BYTES = 1 << 62

Span = tuple[int, int]
"""Where a tensor begins and ends behind the header, in bytes."""


def read_layout(entries: Mapping[str, Any], size: int, caps: Caps) -> tuple[dict[str, TensorSpec], dict[str, Span]]:
    """What each tensor is and where it lies, in the order in which they lie.

    Args:
        size: Bytes behind the header; each belongs to just one tensor.

    Raises:
        GraftFileError: The header says something else.
    """
    found = sorted(
        ((_span(name, entry), _spec(name, entry, caps), name) for name, entry in entries.items()), key=_place
    )
    place = 0
    for (begin, end), spec, name in found:
        if begin != place:
            raise GraftFileError(
                f"{name} begins at byte {begin:,}, expected {place:,}, where the tensor before it ends; {AGAIN}"
            )
        if end - begin != spec.num_bytes:
            raise GraftFileError(
                f"{name} takes {end - begin:,} bytes, expected {spec.num_bytes:,} for {spec.dtype} {spec.shape}; "
                f"{AGAIN}"
            )
        if begin % DTYPES[spec.dtype]:
            raise GraftFileError(
                f"{name} begins at byte {begin:,}, expected a multiple of the {DTYPES[spec.dtype]} bytes of "
                f"{spec.dtype}; {AGAIN}"
            )
        place = end
    if place != size:
        raise GraftFileError(
            f"the file's tensors take {place:,} bytes, and {size:,} follow its header, so it is not safetensors as it "
            "was written; fetch it again"
        )
    return {name: spec for _, spec, name in found}, {name: span for span, _, name in found}


def _place(one: tuple[Span, TensorSpec, str]) -> tuple[Span, str]:
    return one[0], one[2]


def _spec(name: str, entry: Mapping[str, Any], caps: Caps) -> TensorSpec:
    dtype, shape = entry["dtype"], entry["shape"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise GraftFileError(
            f"{name} is of {str(dtype)[:40]!r}, and this reads {', '.join(DTYPES)}; save it in one of those"
        )
    if not isinstance(shape, list) or len(shape) > caps.rank or not all(type(side) is int for side in shape):
        raise GraftFileError(f"the shape of {name} is not a list of at most {caps.rank} whole numbers; {AGAIN}")
    if 0 in shape or prod(shape) > _MOST_BYTES // DTYPES[dtype]:
        what = "nothing" if 0 in shape else "more than any file holds"
        raise GraftFileError(f"{name} has shape {tuple(shape)}, which is {what}; {AGAIN}, without that tensor")
    return TensorSpec(dtype=dtype, shape=tuple(shape))


def _span(name: str, entry: Any) -> Span:
    """Checks the name and the fields first, so that what is said of them can be said."""
    _check_name(name)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        said = sorted(map(str, entry))[:6] if isinstance(entry, dict) else type(entry).__name__
        raise GraftFileError(
            f"the header says {str(said)[:200]} of {name}, expected data_offsets, dtype and shape alone; {AGAIN}"
        )
    offsets = entry["data_offsets"]
    if (
        not isinstance(offsets, list)
        or len(offsets) != len(("begin", "end"))
        or not all(type(o) is int for o in offsets)
    ):
        raise GraftFileError(f"the data_offsets of {name} are not two whole numbers; {AGAIN}")
    begin, end = offsets
    return begin, end


def _check_name(name: str) -> None:
    parts = name.split(".")
    special = any(len(part) > len("____") and part.startswith("__") and part.endswith("__") for part in parts)
    if not _NAME.fullmatch(name) or "" in parts or special:
        raise GraftFileError(
            f"the file has a tensor called {name[:60]!a}, expected 1 to 256 of A-Z, a-z, 0-9, '_', '-' and single "
            "points between words, none of them in double underscores; save it under another name"
        )
