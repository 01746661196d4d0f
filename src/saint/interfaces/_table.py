import hashlib
import sys
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint import records
from saint.interfaces._interface import Interface, Made

_CHUNK_ROWS = 1 << 14


@final
class FrozenTable(nn.Module):
    """A token table that nothing trains, stored as an interface says and lifted to the model's width where it is read.

    `code` (V, K) is a buffer of integers. It is full of zeros until it is filled.
    """

    code: Tensor

    def __init__(self, interface: Interface) -> None:
        super().__init__()
        self.layout, self.d_model = interface.layout, interface.d_model
        shape = (interface.vocab_size, self.layout.num_columns)
        self.register_buffer("code", torch.zeros(shape, dtype=self.layout.dtype))

    def fill(self, made: Made) -> None:
        """Take in a table that was made."""
        self.code.copy_(torch.from_numpy(made.code))

    @override
    def forward(
        self, ids: Int[Tensor, "*batch"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*batch d_model"]:
        """The rows of these tokens, at the model's width."""
        return self._lift(self._values(self.code[ids], dtype))

    def project(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """The dot product of each vector with every row, without a lifted table: coordinates of a column are added."""
        num_columns = self.layout.num_columns
        if num_columns < self.d_model:  # by a product, whose order of additions is the same every time
            hidden = hidden @ F.one_hot(self._columns(hidden.device), num_columns).to(hidden.dtype)
        return F.linear(hidden, self._values(self.code, hidden.dtype))

    def lifted(self) -> Float[Tensor, "vocab d_model"]:
        """The whole table at the model's width, in float32."""
        return self._lift(self._values(self.code, torch.float32))

    def values(self) -> Float[Tensor, "vocab columns"]:
        """What the stored integers stand for, in float64, before lifting."""
        return self._values(self.code, torch.float64)

    def digest(self) -> str:
        """The SHA-256 of what the table holds and how it is lifted, equal on every machine and for every dtype."""
        layout, total = self.layout, hashlib.sha256()
        for start in range(0, len(self.code), _CHUNK_ROWS):
            piece = self.code[start : start + _CHUNK_ROWS].cpu().numpy()
            total.update((piece.byteswap() if sys.byteorder == "big" else piece).tobytes())
        kind = str(layout.dtype).removeprefix("torch.")
        described = {"shape": list(self.code.shape), "dtype": kind, "unit": layout.unit, "offset": layout.offset}
        return records.digest({"code": total.hexdigest(), "d_model": self.d_model, **described})

    @override
    def extra_repr(self) -> str:
        return f"{len(self.code)}, {self.d_model}, num_columns={self.layout.num_columns}"

    def _values(self, code: Tensor, dtype: torch.dtype) -> Tensor:
        if code.dtype == torch.int32:
            return code.view(torch.float32).to(dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return (code.to(wide) * self.layout.unit + self.layout.offset).to(dtype)

    def _lift(self, values: Tensor) -> Tensor:
        if self.layout.num_columns == self.d_model:
            return values
        return values.index_select(-1, self._columns(values.device))

    def _columns(self, device: torch.device) -> Tensor:
        """For each coordinate of the model's width the column that it copies."""
        return torch.arange(self.d_model, device=device) * self.layout.num_columns // self.d_model


Table = FrozenTable | nn.Embedding
"""What stands at the entrance of a model; a table that learns is an ordinary embedding."""


def floats_as_code(weight: Float[Tensor, "vocab d_model"]) -> Int[Tensor, "vocab d_model"]:
    """Learned numbers as a frozen table stores them, to the bit."""
    return weight.detach().to(torch.float32).contiguous().view(torch.int32)
