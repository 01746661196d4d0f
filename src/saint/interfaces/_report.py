from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saint.interfaces._distinct import num_distinct
from saint.interfaces._table import FrozenTable, Table, floats_as_code


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class InterfaceReport:
    """What can be said of a table from its numbers alone."""

    vocab_size: int
    d_model: int
    num_columns: int
    """Numbers stored for each token."""
    num_bytes: int
    """Of the stored table."""
    digest: str | None
    """None while it learns."""
    rank: int
    """Of the lifted table."""
    num_collisions: int
    """Tokens whose row an earlier token has already; 0 where the table tells all apart."""
    norm_min: float
    norm_mean: float
    norm_max: float
    """Of the lifted rows, Euclidean."""

    @property
    def is_injective(self) -> bool:
        """Whether all rows differ."""
        return self.num_collisions == 0


@torch.no_grad()
def describe(table: Table) -> InterfaceReport:
    """Digest, rank, injectivity and norms of a table; needs K^2 V operations for K stored columns."""
    if isinstance(table, FrozenTable):
        code, values, d_model = table.code, table.values(), table.d_model
    else:
        code, values, d_model = floats_as_code(table.weight), table.weight.double(), table.embedding_dim
    num_tokens, num_columns = values.shape
    copies = torch.bincount(torch.arange(d_model) * num_columns // d_model, minlength=num_columns)
    norms = (values.square() @ copies.to(values)).sqrt()
    return InterfaceReport(
        vocab_size=num_tokens,
        d_model=d_model,
        num_columns=num_columns,
        num_bytes=code.numel() * code.element_size(),
        digest=table.digest() if isinstance(table, FrozenTable) else None,
        rank=_rank(values),
        num_collisions=num_tokens - num_distinct(code.cpu().numpy()),
        norm_min=float(norms.min()),
        norm_mean=float(norms.mean()),
        norm_max=float(norms.max()),
    )


def _rank(values: Tensor) -> int:
    """From the eigenvalues of the smaller of the two Gram matrices."""
    tall = values if len(values) >= values.shape[1] else values.T
    eigenvalues = torch.linalg.eigvalsh(tall.T @ tall)
    largest = float(eigenvalues[-1])
    cut = largest * max(values.shape) * torch.finfo(torch.float64).eps
    return int((eigenvalues > cut).sum()) if largest > 0 else 0
