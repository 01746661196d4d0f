"""More channels for the multi-layer perceptron of a block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, NewChannels, Place
from saint.grafts._thin import widen
from saint.records import Site, SiteSort

_PASSES_ON = (nn.Identity, nn.Dropout)


@final
class Width(Kind):
    """y + s down(act(gate(x)) * up(x)), or y + s down(act(up(x))) where the MLP has no gate: `width` more channels.

    Function-preserving growth: up and gate: (width, d) start random, down: (d, width) at zero. The activation is the
    MLP's own. The new channels have no biases, also where the MLP's have some, so that a checkpoint with a larger MLP
    says the same with biases of zero.
    """

    reference: ClassVar[str] = "arXiv:2308.06103"
    formula: ClassVar[str] = "3 width d with a gate, 2 width d without"
    effective_formula: ClassVar[str] = "width (3 d - 1) with a gate, 2 width d without"
    attaches_to: ClassVar[SiteSort] = "mlp"
    can_fold: ClassVar[bool] = False
    can_grow: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"width": 4},)

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """How many channels are added."""

        width: int

        def __post_init__(self) -> None:
            """Refuse no channels at all."""
            if self.width < 1:
                raise ConfigError(f"width is {self.width}; it must be at least 1")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self._key = site.key
        self.up = nn.Parameter(torch.zeros(options.width, site.d_in))
        self.gate = nn.Parameter(torch.zeros(options.width, site.d_in)) if site.gated else None
        self.down = nn.Parameter(torch.zeros(site.d_out, options.width))
        self._activation: Callable[[Tensor], Tensor] | None = None

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.width * ((2 if site.gated else 1) * site.d_in + site.d_out)

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.042 / float(options.width**0.25)  # as block

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        """One less for each channel with a gate: what its way up is multiplied by, its way down can be divided by.

        An upper bound where an MLP without a gate has an activation that passes scales on, as a relu does; the site
        does not say which it has.
        """
        return cls.num_params(site, options) - (options.width if site.gated else 0)

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.attach(place)
        for way_up in (self.up, self.gate):
            if way_up is not None:
                way_up.copy_(torch.randn(way_up.shape, generator=generator) / sqrt(way_up.shape[1]))

    @override
    def attach(self, place: Place) -> None:
        """The activation is what the MLP holds beside its linear maps: it has no weights and is no dropout.

        Raises:
            SiteError: There is none, or more than one.
        """
        inside = (module for module in place.module.children() if not isinstance(module, _PASSES_ON))
        found = [module for module in inside if not list(module.parameters())]
        if len(found) != 1:
            raise SiteError(
                f"expected one activation among the modules of {self._key}, found {len(found)} in "
                f"{type(place.module).__name__}; leave that site out, or take kind block"
            )
        self._activation = found[0].forward  # not the module, which would become part of the graft

    @override
    def forward(self, x: Float[Tensor, "*batch d"], y: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        assert self._activation is not None  # it is attached before it is used
        up = F.linear(x, self.up)
        channels = self._activation(up) if self.gate is None else self._activation(F.linear(x, self.gate)) * up
        return y + widen(channels, self.strength * self.down)

    @override
    def growth(self) -> NewChannels:
        gate = None if self.gate is None else self.gate.detach()
        return NewChannels(up=self.up.detach(), gate=gate, down=(self.strength * self.down).detach())
