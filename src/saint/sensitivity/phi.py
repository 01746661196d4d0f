"""How strongly the loss pulls at a small matrix between fixed bases of the weight, and in which directions."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means
from saint.sensitivity._spectra import leading


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Between which bases, and how much of the pull there counts."""

    rank: int = 32
    """Singular vectors of the weight in each basis; all of them at a smaller weight."""
    top: int = 8
    """How many of the largest singular values are summed, and how many directions there are: the rank a candidate
    would have."""

    def __post_init__(self) -> None:
        """Refuse what selects nothing."""
        if not 1 <= self.top <= self.rank:
            raise ConfigError(f"top is {self.top} and rank {self.rank}; expected 1 <= top <= rank")


class _Bases(NamedTuple):
    a: Float[Tensor, "d_out rank"]
    b: Float[Tensor, "rank d_in"]


@final
class Phi(Map):
    """The largest singular values, summed, of the gradient of Phi at Phi = 0 in dW = A Phi B, which is A^T G B^T.

    A and B are the leading left and right singular vectors of the frozen weight, as those of a `phi` graft with the
    basis `weight`; the gradient is that of all batches together. The sum is what the loss falls by, to first order, for
    a change between these bases of rank `top` and of spectral norm 1. Sites that are no linear map have no score.

    Only Phi's gradient and the bases are held: rank^2 + rank (d_in + d_out) numbers for each site.

    Sizes: of all weights the same number of singular values is summed, so that a score grows with a site's size less
    than a norm of G does.
    """

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "sum of the top singular values of A^T G B^T"
    Options: ClassVar[type] = Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._bases: dict[str, _Bases] = {}
        self._gradients = Means()

    @override
    def scores_site(self, site: Site) -> bool:
        return site.sort == "linear"

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        if site.key not in self._bases:
            weight = seen.read_weight()
            assert weight is not None  # the site is linear
            a, _, b = leading(weight, self.options.rank)
            self._bases[site.key] = _Bases(a, b)
        a, b = self._bases[site.key]
        self._gradients.add(site.key, a.T @ seen.weight_gradient @ b.T)

    @override
    def scores(self) -> dict[str, float]:
        return {key: float(self._leading(key)[1].sum()) for key in self._bases}

    def gradient(self, site_key: str) -> Float[Tensor, "rank rank"]:
        """The gradient of the mean loss with respect to Phi at Phi = 0.

        Raises:
            SiteError: The map has not seen the site.
        """
        if site_key not in self._bases:
            raise SiteError(f"the map has seen no linear site called {site_key!r}; it has seen {sorted(self._bases)}")
        return self._gradients.of(site_key)

    @torch.no_grad()
    def directions(self, site_key: str) -> tuple[Float[Tensor, "d_out top"], Float[Tensor, "top d_in"]]:
        """Orthonormal bases that a candidate would start from: A U and V^T B, with U and V of Phi's gradient.

        A step against the gradient between them is diagonal: -U S V^T in Phi is -up diag(S) down.

        Raises:
            SiteError: The map has not seen the site.
        """
        u, _, v = self._leading(site_key)
        a, b = self._bases[site_key]
        return a @ u, v @ b

    def _leading(self, site_key: str) -> tuple[Tensor, Tensor, Tensor]:
        return leading(self.gradient(site_key), self.options.top)
