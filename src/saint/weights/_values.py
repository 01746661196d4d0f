from collections.abc import Mapping

import numpy as np

from saint.errors import GraftFileError
from saint.weights._caps import DTYPES, Caps

_AT_ONCE = 1 << 16  # numbers: both they and what is made of them fit a processor's cache

_FLOATS: Mapping[str, tuple[str, int, int]] = {
    "F64": ("<u8", 52, 11),
    "F32": ("<u4", 23, 8),
    "F16": ("<u2", 10, 5),
    "BF16": ("<u2", 7, 8),
}
"""dtype -> an integer of its width, and the bits of its fraction and of its exponent"""


def check_values(name: str, raw: memoryview, dtype: str, caps: Caps) -> None:
    """See to it that floating-point numbers are numbers and within the caps, and that truths are 0 or 1.

    Without their sign, the bits of floating-point numbers are in the order of their sizes: one maximum over integers
    says whether any is infinite or none at all, for each dtype, also those that NumPy does not have.

    Raises:
        GraftFileError: They are not.
    """
    if dtype == "BOOL":
        if (most := int(np.frombuffer(raw, dtype=np.uint8).max())) > 1:
            raise GraftFileError(f"{name} is BOOL and holds a {most}, expected 0 or 1; save it again")
        return
    if dtype not in _FLOATS:
        return
    integer, fraction, exponent = _FLOATS[dtype]
    infinite, smallest_normal = ((1 << exponent) - 1) << fraction, 1 << fraction
    counts = caps.subnormal_share is not None and dtype != "F16"  # half of whose useful range is subnormal
    top, num_subnormal = _scan(raw, np.dtype(integer), smallest_normal if counts else None)
    if top >= infinite:
        raise GraftFileError(f"{name} holds values that are not finite; such a graft is never composed")
    if caps.largest is not None and (size := _value(top, fraction, exponent)) > caps.largest:
        raise GraftFileError(
            f"{name} holds a value of size {size:.3g}, expected at most {caps.largest:g}; train it again"
        )
    if caps.subnormal_share is not None and num_subnormal > caps.subnormal_share * (len(raw) // DTYPES[dtype]):
        raise GraftFileError(
            f"{name} holds {num_subnormal:,} values that are too small to be computed with, expected at most "
            f"{caps.subnormal_share:.0%} of them; set them to 0"
        )


def _scan(raw: memoryview, integer: np.dtype[np.unsignedinteger], smallest_normal: int | None) -> tuple[int, int]:
    """The largest of all bits without their sign, and how many are subnormal (0 if that is not asked)."""
    numbers = np.frombuffer(raw, dtype=integer)
    without_sign = integer.type((1 << (8 * integer.itemsize - 1)) - 1)
    top, num_subnormal = 0, 0
    for begin in range(0, len(numbers), _AT_ONCE):
        sizes = numbers[begin : begin + _AT_ONCE] & without_sign
        top = max(top, int(sizes.max()))
        if smallest_normal is not None and int(sizes.min()) < smallest_normal:
            num_subnormal += int(np.count_nonzero(sizes)) - int(np.count_nonzero(sizes >= smallest_normal))
    return top, num_subnormal


def _value(bits: int, fraction: int, exponent: int) -> float:
    """The number that has these bits."""
    power, rest = bits >> fraction, bits & ((1 << fraction) - 1)
    bias = (1 << (exponent - 1)) - 1
    return float((rest / 2**fraction + (power > 0)) * 2.0 ** (max(power, 1) - bias))
