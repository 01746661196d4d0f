"""LoRA for the direction of each row of a weight, and a factor for its length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, final
from weakref import ref

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, Place
from saint.grafts._thin import widen
from saint.records import Site, SiteSort

_Fingerprint = tuple[ref[nn.Module], int, int, torch.dtype]


@final
class Dora(Kind):
    """W' = (|W| + m) (W + c B A) / |W + c B A|, with |.| the length of each row: weight-decomposed LoRA.

    A: (rank, d_in) is random, B: (d_out, rank) and m: (d_out,) are zero at birth; c = alpha / rank (Liu et al. 2024).
    As in that paper (its section 4.3) training sees the length |W + c B A| as a constant unless `detach_norm` is off.

    With g = (|W| + m) / |W + c B A| for each row, and b the site's own bias, the site gives
    y + s ((g - 1) (y - b) + g c B A x): just W' x + b at full strength, y at none. W is the frozen base's weight, also
    in a stack: what grafts below have added to y (less b) is stretched by the same g, and so is a bias of theirs.
    """

    reference: ClassVar[str] = "arXiv:2402.09353"
    formula: ClassVar[str] = "rank (d_in + d_out) + d_out"
    effective_formula: ClassVar[str] = "min(d_in d_out, rank (d_in + d_out - rank) + d_out)"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rank": 2, "alpha": 4.0},
        {"rank": 1, "detach_norm": False},
        {"rank": 7, "alpha": 3.0, "detach_norm": False},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Rank of the change of direction, and its scale."""

        rank: int
        alpha: float | None = None
        """The rank unless given."""
        detach_norm: bool = True
        """Whether training takes the rows' new length for a constant, which saves memory and costs little."""

        def __post_init__(self) -> None:
            """Refuse an empty change."""
            if self.rank < 1:
                raise ConfigError(f"rank is {self.rank}; it must be at least 1")
            if self.alpha is not None and self.alpha <= 0:
                raise ConfigError(f"alpha is {self.alpha}; it must be positive")

        @property
        def scale(self) -> float:
            """What the product is multiplied by."""
            return 1.0 if self.alpha is None else self.alpha / self.rank

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if options.rank > min(site.d_in, site.d_out):
            raise SiteError(
                f"rank {options.rank} exceeds {site.key}, which is {site.d_out} x {site.d_in}; lower the rank"
            )
        self.scale = options.scale
        self._detach_norm = options.detach_norm
        self.a = nn.Parameter(torch.zeros(options.rank, site.d_in))
        self.b = nn.Parameter(torch.zeros(site.d_out, options.rank))
        self.m = nn.Parameter(torch.zeros(site.d_out))
        self._read_weight: Callable[[], Tensor | None] = lambda: None
        self._seen: _Fingerprint | None = None
        self._squares: Tensor
        self._bias: Tensor
        self.register_buffer("_squares", torch.zeros(site.d_out), persistent=False)
        self.register_buffer("_bias", torch.zeros(site.d_out), persistent=False)

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.rank * (site.d_in + site.d_out) + site.d_out

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.12 / sqrt(options.rank) / options.scale

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        # B A = (B M) (M^-1 A) for any invertible M; the rows' lengths add theirs as long as B A leaves any room.
        return min(site.d_in * site.d_out, options.rank * (site.d_in + site.d_out - options.rank) + site.d_out)

    @override
    @classmethod
    def has_exact_gradient(cls, options: Options) -> bool:
        return not options.detach_norm

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.a.copy_(torch.randn(self.a.shape, generator=generator) / sqrt(self.a.shape[1]))

    @override
    @torch.no_grad()
    def attach(self, place: Place) -> None:
        self._read_weight = place.read_weight
        if (seen := _fingerprint(place.module)) is not None and seen == self._seen:
            return
        self._seen = seen
        self._squares = self._weight().square().sum(dim=1)
        bias = getattr(place.module, "bias", None)
        self._bias = torch.zeros_like(self._squares) if bias is None else bias.detach().to(self._squares)

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        stretch = self._stretch()
        turned = widen(F.linear(x, self.a), self.scale * self.b)
        return y + self.strength * ((stretch - 1) * (y - self._bias) + stretch * turned)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        stretch = self._stretch()
        change = (stretch - 1).unsqueeze(1) * weight + stretch.unsqueeze(1) * (self.scale * self.b @ self.a)
        if bias is not None:
            bias = bias + self.strength * (stretch - 1) * (bias - self._bias)
        return weight + self.strength * change, bias

    def _stretch(self) -> Float[Tensor, " d_out"]:
        """g, the factor of each row: 1 to the bit at birth, for both lengths are then roots of the same number.

        The square of a row's new length is |W|^2 + 2 W . c B A + |c B A|^2, which needs no matrix of W's size.
        """
        up = self.scale * self.b
        cross = (F.linear(self._weight(), self.a) * up).sum(dim=1)
        squares = self._squares + 2 * cross + (F.linear(up, self.a @ self.a.T) * up).sum(dim=1)
        length = squares.clamp_min(_SHORTEST).sqrt()
        if self._detach_norm:
            length = length.detach()
        return (self._squares.clamp_min(_SHORTEST).sqrt() + self.m) / length

    def _weight(self) -> Float[Tensor, "d_out d_in"]:
        """The frozen weight: read where it lies, so that a graft keeps no copy of it."""
        weight = self._read_weight()
        assert weight is not None  # the site is linear, and compose attaches before anything is asked
        return weight if weight.dtype == torch.float64 else weight.float()


def _fingerprint(module: nn.Module) -> _Fingerprint | None:
    """What is the same only while the module's weight is; None for weights that are no plain tensors."""
    weight = module._parameters.get("weight")
    if type(weight) is not nn.Parameter or weight.is_inference():
        return None
    return ref(module), weight.data_ptr(), weight._version, weight.dtype


_SHORTEST = 1e-24  # of a squared length: a row of zeros has no direction, and is left alone until m gives it a length
