"""Low-rank adaptation: the control that every other kind is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import FirstStep, Kind, LowRankFactors, Moment, Place
from saint.grafts._bases import find_bases, moment
from saint.grafts._least_squares import ETA, output_rms
from saint.grafts._natural import natural_inputs, natural_outputs
from saint.grafts._thin import widen
from saint.records import Site, SiteSort


@final
class Lora(Kind):
    """dW = s c B A, with A: (rank, d_in) and B: (d_out, rank), zero at birth; both are trained.

    `scaling` chooses c: alpha / rank ("standard", Hu et al. 2021), or alpha / sqrt(rank) ("rank_stabilised", rsLoRA,
    Kalajdzievski 2023, arXiv:2312.03732), with which the change's size does not fall as the rank grows. A rank pattern
    is `at`: `{ rank = 8, at = { q = { rank = 2 } } }`.

    `start` chooses what A is at birth, in rows of length 1 or about 1, and where training begins:

    - `random`: drawn; training begins with B zero.
    - `gradient`: the leading right singular vectors V of the weight's gradient G = U S V^T on training text, as in
      LoRA-GA (arXiv:2407.05000). Training begins with B along -U S, the steepest descent of that rank.
    - `natural`: what the Kronecker-factored natural gradient (K-FAC, arXiv:1503.05671) of that rank reads: the leading
      right singular vectors of C_g^-1/2 G C_x^-1/2, times C_x^-1/2, with C_x and C_g the second moments of inputs and
      of the outputs' gradients, damped by 0.3 of their mean eigenvalue. Training begins with B along what it
      writes.

    The first step is scaled to `eta`. A is put there, and the frozen weight is left as it is.
    """

    reference: ClassVar[str] = "arXiv:2106.09685"
    formula: ClassVar[str] = "rank (d_in + d_out)"
    effective_formula: ClassVar[str] = "rank (d_in + d_out - rank)"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rank": 2, "alpha": 4.0},
        {"rank": 3, "alpha": 4.0, "scaling": "rank_stabilised"},
        {"rank": 1, "at": {"k": {"rank": 2}}},
        {"rank": 2, "start": "gradient"},
        {"rank": 3, "alpha": 2.0, "start": "natural", "eta": 0.05},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Rank of the change, and its scale."""

        rank: int
        alpha: float | None = None
        """The rank unless given."""
        scaling: Literal["standard", "rank_stabilised"] = "standard"
        """What the product is multiplied by: alpha / rank, or alpha / sqrt(rank)."""
        start: Literal["random", "gradient", "natural"] = "random"
        """What A is taken from, and the first step with it; a newborn is the identity whichever it is."""
        eta: float | None = None
        """Of starts gradient and natural: how large the root mean square of the first step's change is against that of
        the frozen weight's output, on training text; unless given, 0.01 times what a line search finds best."""

        def __post_init__(self) -> None:
            """Refuse an empty change, and what would have no effect."""
            if self.rank < 1:
                raise ConfigError(f"rank is {self.rank}; it must be at least 1")
            if self.alpha is not None and self.alpha <= 0:
                raise ConfigError(f"alpha is {self.alpha}; it must be positive")
            if self.eta is not None and self.eta <= 0:
                raise ConfigError(f"eta is {self.eta}; it must be positive")
            if self.eta is not None and self.start == "random":
                raise ConfigError("eta has no effect where start is 'random'; leave it out, or choose gradient")

        @property
        def scale(self) -> float:
            """What the product is multiplied by."""
            alpha = self.rank if self.alpha is None else self.alpha
            return alpha / (self.rank if self.scaling == "standard" else sqrt(self.rank))

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if options.rank > min(site.d_in, site.d_out):
            raise SiteError(
                f"rank {options.rank} exceeds {site.key}, which is {site.d_out} x {site.d_in}; lower the rank"
            )
        self._start, self._eta = options.start, options.eta
        self.scale = options.scale
        self.a = nn.Parameter(torch.zeros(options.rank, site.d_in))
        self.b = nn.Parameter(torch.zeros(site.d_out, options.rank))

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.rank * (site.d_in + site.d_out)

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.12 / sqrt(options.rank) / options.scale  # numbers that move together, each by about the rate

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        return options.rank * (site.d_in + site.d_out - options.rank)  # B A = (B M) (M^-1 A) for any invertible M

    @override
    @classmethod
    def wants(cls, options: Options) -> frozenset[Moment]:
        wanted: dict[str, frozenset[Moment]] = {
            "gradient": frozenset(("gx", "xx")),
            "natural": frozenset(("gx", "xx", "gg")),
        }
        return wanted.get(options.start, frozenset())

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        rank, d_in = self.a.shape
        if self._start == "random":
            self.a.copy_(torch.randn(self.a.shape, generator=generator) / sqrt(d_in))
        elif self._start == "gradient":
            _, rows = find_bases("gradient", place, (len(self.b), d_in), rank, generator, complement=False)
            self.a.copy_(rows)
        else:
            moments = (moment(place, "gx"), moment(place, "xx"), moment(place, "gg"))
            self.a.copy_(natural_inputs(*moments, rank, generator))

    @override
    @torch.no_grad()
    def begin(self, place: Place) -> FirstStep | None:
        """Set B to the first step along what A reads, scaled to `eta`; nothing for a random start.

        Over the tokens that were seen rms(dW x) = eta rms(W x), with W the frozen weight.
        """
        if self._start == "random":
            return None
        gx, xx, weight = moment(place, "gx"), moment(place, "xx"), place.weight
        assert weight is not None  # the site is linear
        rows = self.a.detach().to(gx)
        outputs = -gx @ rows.T if self._start == "gradient" else natural_outputs(rows, gx, xx, moment(place, "gg"))
        if (moved := output_rms(self.scale * outputs @ rows, xx)) > 0:
            outputs *= (ETA if self._eta is None else self._eta) * output_rms(weight.to(gx), xx) / moved
        self.b.copy_(outputs)
        return FirstStep(written=self.b, is_open=self._eta is None)

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        return y + widen(F.linear(x, self.a), self.strength * self.scale * self.b)

    @override
    def factors(self) -> LowRankFactors:
        return LowRankFactors(up=self.strength * self.scale * self.b, down=self.a)
