from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import final

DTYPES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""What tensors may be of, as safetensors spells it -> bytes of a number. Floats of 8 bits and less, complex numbers and
unsigned integers that PyTorch hardly computes with are not among them."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """What a tensor is, without its numbers."""

    dtype: str
    """As safetensors spells it: `F32`, `BF16`, `I64` ..."""
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Of its numbers."""
        return prod(self.shape) * DTYPES[self.dtype]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """The most that a file may be or hold; the defaults are for files from elsewhere."""

    num_bytes: int | None = 4 << 30
    """Of the whole file, which is read into memory; None for any size."""
    header_bytes: int = 1_000_000
    """Of the header, before it is read as JSON."""
    header_bytes_per_tensor: int = 4096
    """Of the header, over the number of tensors that it describes."""
    metadata_bytes: int = 4096
    """Of all that is said under `__metadata__`, of which nothing is used."""
    num_tensors: int = 20_000
    rank: int = 8
    """Dimensions of a tensor."""
    largest: float | None = 65504.0
    """Of the sizes of floating-point numbers; the default is the most that 16 bits hold. None for any."""
    subnormal_share: float | None = 0.01
    """Of the numbers of a tensor in 32, 64 or bfloat16 bits, how many may be so small (subnormal, and not 0) that
    processors slow down on them. None for any share."""


AS_STORED = Caps(num_bytes=None, largest=None, subnormal_share=None)
"""For what was written here: as strict about the file's form and about what is no number, and of any size."""
