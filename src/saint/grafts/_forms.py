"""The forms that the matrix between two bases may have: how few numbers stand for it, and how it is applied."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt, sqrt
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from saint.grafts._walsh import walsh_transform

Numbers = Mapping[str, Tensor]
"""Name -> what is trained; the first axis of each is the term."""


@dataclass(frozen=True, kw_only=True)
class Form(ABC):
    """`num_terms` matrices Phi of `rank` x `rank`, each given by few numbers and all of them zero at birth."""

    num_terms: int
    rank: int

    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape of the numbers, terms first."""

    @property
    @abstractmethod
    def num_effective(self) -> int:
        """The dimension of the set of matrices that the numbers reach, terms together."""

    @property
    def reached_rank(self) -> int:
        """The rank of nearly all matrices that the numbers reach, summed over the terms."""
        return self.num_terms * self.rank

    def start(self, numbers: Numbers, generator: torch.Generator) -> None:  # noqa: B027 - most forms start from zeros
        """Set a start at which Phi is zero but can leave it."""

    @abstractmethod
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        """Phi of each term, in full."""

    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        """Phi h for each term, as cheaply as the form allows."""
        applied: Tensor = torch.einsum("...tj,tij->...ti", h, self.matrices(numbers))
        return applied


class LinearForm(Form):
    """A form in which each number is an entry of Phi, or of Phi seen in another frame."""

    @abstractmethod
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        """Row and column of each number of one term."""

    @override
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"phi": (self.num_terms, self.num_effective // self.num_terms)}

    @override
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        phi = numbers["phi"].flatten(1)
        full: Tensor = phi.new_zeros(self.num_terms, self.rank**2).index_copy(1, _places(self, phi.device), phi)
        return full.view(self.num_terms, self.rank, self.rank)

    def entries(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        """Row and column of each number in the block-diagonal matrix of all terms."""
        rows, columns = self.within()
        first = self.rank * torch.arange(self.num_terms)[:, None]
        return (first + rows).flatten(), (first + columns).flatten()

    def frame(
        self, a: Float[Tensor, "d_out ranks"], b: Float[Tensor, "ranks d_in"]
    ) -> tuple[Float[Tensor, "d_out ranks"], Float[Tensor, "ranks d_in"]]:
        """The bases in which each number is an entry."""
        return a, b


@lru_cache(maxsize=256)
def _places(form: LinearForm, device: torch.device) -> Int[Tensor, " numbers"]:
    """Of each number of one term its place in Phi, row by row; made once, and never as part of an inference."""
    with torch.inference_mode(mode=False), torch.device(device):
        rows, columns = form.within()
        return rows * form.rank + columns


@final
class Dense(LinearForm):
    """Every entry is free."""

    @override
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"phi": (self.num_terms, self.rank, self.rank)}

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.rank**2

    @override
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        entry = torch.arange(self.rank**2)
        return entry // self.rank, entry % self.rank

    @override
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        return numbers["phi"]


@final
class Diagonal(LinearForm):
    """One number per pair of basis vectors."""

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.rank

    @override
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        return torch.arange(self.rank), torch.arange(self.rank)

    @override
    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        return numbers["phi"] * h


@final
class Upper(LinearForm):
    """The entries on and above the diagonal, row by row."""

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.rank * (self.rank + 1) // 2

    @override
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        rows, columns = torch.triu_indices(self.rank, self.rank)
        return rows, columns


@final
@dataclass(frozen=True, kw_only=True)
class BlockDiagonal(LinearForm):
    """Dense blocks of `block_size` along the diagonal."""

    block_size: int

    @override
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"phi": (self.num_terms, self.rank // self.block_size, self.block_size, self.block_size)}

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.rank * self.block_size

    @override
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        entry, size = torch.arange(self.rank * self.block_size), self.block_size
        return entry // size, entry // size**2 * size + entry % size

    @override
    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        blocks = h.unflatten(-1, (-1, self.block_size))
        return torch.einsum("...tbj,tbij->...tbi", blocks, numbers["phi"]).flatten(-2)


@final
class Walsh(LinearForm):
    """Phi = H diag(phi) H^T / rank with H Walsh-Hadamard: every number moves every entry, alike but for its sign."""

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.rank

    @override
    def within(self) -> tuple[Int[Tensor, " numbers"], Int[Tensor, " numbers"]]:
        return torch.arange(self.rank), torch.arange(self.rank)

    @override
    def frame(
        self, a: Float[Tensor, "d_out ranks"], b: Float[Tensor, "ranks d_in"]
    ) -> tuple[Float[Tensor, "d_out ranks"], Float[Tensor, "ranks d_in"]]:
        return self._turned(a), self._turned(b.T).T

    @override
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        return walsh_transform(walsh_transform(torch.diag_embed(numbers["phi"])).mT) / self.rank

    @override
    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        return walsh_transform(numbers["phi"] / self.rank * walsh_transform(h))

    def _turned(self, side: Float[Tensor, "d ranks"]) -> Float[Tensor, "d ranks"]:
        return walsh_transform(side.unflatten(-1, (-1, self.rank))).flatten(-2) / sqrt(self.rank)


@final
@dataclass(frozen=True, kw_only=True)
class LowRank(Form):
    """Phi = U V, with U: (rank, inner) zero and V: (inner, rank) random at birth."""

    inner: int

    @override
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"u": (self.num_terms, self.rank, self.inner), "v": (self.num_terms, self.inner, self.rank)}

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * self.inner * (2 * self.rank - self.inner)  # U V = (U M) (M^-1 V) for invertible M

    @property
    @override
    def reached_rank(self) -> int:
        return self.num_terms * self.inner

    @override
    def start(self, numbers: Numbers, generator: torch.Generator) -> None:
        numbers["v"].copy_(torch.randn(numbers["v"].shape, generator=generator) / sqrt(self.rank))

    @override
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        return numbers["u"] @ numbers["v"]

    @override
    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        inner = torch.einsum("...tj,tkj->...tk", h, numbers["v"])
        return torch.einsum("...tk,tik->...ti", inner, numbers["u"])


@final
@dataclass(frozen=True, kw_only=True)
class Kronecker(Form):
    """Phi = P (x) Q, with P: (factor, factor) random and Q: (rank / factor, rank / factor) zero at birth."""

    factor: int

    @override
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        other = self.rank // self.factor
        return {"p": (self.num_terms, self.factor, self.factor), "q": (self.num_terms, other, other)}

    @property
    @override
    def num_effective(self) -> int:
        return self.num_terms * (self.factor**2 + (self.rank // self.factor) ** 2 - 1)  # P (x) Q = cP (x) Q/c

    @override
    def start(self, numbers: Numbers, generator: torch.Generator) -> None:
        numbers["p"].copy_(torch.randn(numbers["p"].shape, generator=generator) / sqrt(self.factor))

    @override
    def matrices(self, numbers: Numbers) -> Float[Tensor, "terms rank rank"]:
        product = torch.einsum("tac,tbd->tabcd", numbers["p"], numbers["q"])
        return product.reshape(self.num_terms, self.rank, self.rank)

    @override
    def apply(self, numbers: Numbers, h: Float[Tensor, "*batch terms rank"]) -> Float[Tensor, "*batch terms rank"]:
        grid = h.unflatten(-1, (self.factor, -1))
        return torch.einsum("tac,...tcd,tbd->...tab", numbers["p"], grid, numbers["q"]).flatten(-2)


def squarest_factor(rank: int) -> int:
    """The largest divisor of `rank` up to its root: Kronecker factors of about one size have the fewest numbers."""
    return next(factor for factor in range(isqrt(rank), 0, -1) if rank % factor == 0)
