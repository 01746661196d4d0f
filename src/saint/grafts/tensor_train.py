"""A residual block whose maps are tensor trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, Place
from saint.grafts._activations import ACTIVATIONS, Activation
from saint.records import Site, SiteSort

_Shape = tuple[int, int, int, int]


@final
class TensorTrain(Kind):
    """h + s down(act(up(h))), whose maps up: (width, d) and down: (d, width) are tensor trains; no biases.

    A map of i_1 ... i_N inputs to o_1 ... o_N outputs is a chain of cores G_k of shape (r_(k-1), i_k, o_k, r_k),
    a matrix product operator (Oseledets 2011; Novikov et al. 2015). Entry ((o_1 ... o_N), (i_1 ... i_N)) is the matrix
    product of G_1[:, i_1, o_1, :], ..., G_N[:, i_N, o_N, :]: all inputs' indices stand together, and all outputs'. d
    and width are cut into `num_cores` factors as near to each other as they can be; inner bonds r_k have size `rank`.

    Newborn, every core is random, and the last one of `down` is zero. An entry is a sum over all paths of bonds, so
    each core has the variance (1 / (inputs * product of the bonds))^(1/N), with which the entries have that of a dense
    map: 1 / inputs. It is not linear, so it cannot be folded into weights.
    """

    reference: ClassVar[str] = "arXiv:1509.06569"
    formula: ClassVar[str] = "2 sum_k r_(k-1) i_k o_k r_k"
    effective_formula: ClassVar[str] = (
        "2 (sum_k r_(k-1) i_k o_k r_k - (num_cores - 1) rank^2), less the free scales of a relu"
    )
    attaches_to: ClassVar[SiteSort] = "block"
    can_fold: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rank": 3},
        {"rank": 2, "num_cores": 3, "width": 12, "activation": "gelu"},
        {"rank": 1, "width": 4, "activation": "relu"},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """Size of the bonds, number of cores, and the waist."""

        rank: int
        """Size of every bond between two cores."""
        num_cores: int = 2
        width: int | None = None
        """Channels between the way up and the way down; as many as the stream has unless given."""
        activation: Activation = "silu"

        def __post_init__(self) -> None:
            """Refuse what is no chain."""
            if self.rank < 1:
                raise ConfigError(f"rank is {self.rank}; it must be at least 1")
            if self.num_cores < 2:
                raise ConfigError(f"num_cores is {self.num_cores}; it must be at least 2, for one core is a dense map")
            if self.width is not None and self.width < 1:
                raise ConfigError(f"width is {self.width}; it must be at least 1")

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[options.activation]
        up, down = _shapes(site, options)
        self.up = nn.ParameterList(torch.zeros(shape) for shape in up)
        self.down = nn.ParameterList(torch.zeros(shape) for shape in down)

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return sum(prod(shape) for shapes in _shapes(site, options) for shape in shapes)

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.06 / sqrt(options.rank)

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        # On each bond an invertible matrix can be multiplied into one core and its inverse into the next. Before a relu
        # positive scales of the channels come free too, as far as they are products of one per core.
        num_bonds = options.num_cores - 1
        effective = cls.num_params(site, options) - 2 * num_bonds * options.rank**2
        if options.activation == "relu":
            up, _ = _shapes(site, options)
            effective -= sum(num_outputs for _, _, num_outputs, _ in up) - num_bonds
        return effective

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        for cores in (self.up, self.down):
            num_inputs = prod(core.shape[1] for core in cores)
            num_paths = prod(core.shape[3] for core in cores)
            deviation = (1 / (num_inputs * num_paths)) ** (0.5 / len(cores))
            for core in cores:
                core.copy_(torch.randn(core.shape, generator=generator) * deviation)
        self.down[-1].zero_()

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        waist = self._activation(_through(y, list(self.up)))
        return y + self.strength * _through(waist, list(self.down))


def _through(x: Float[Tensor, "*batch inputs"], cores: Sequence[Tensor]) -> Float[Tensor, "*batch outputs"]:
    """The map that `cores` are, applied core by core; the matrix is never built.

    What is carried on has the axes (token, outputs so far, bond, inputs left).
    """
    carried = x.reshape(-1, 1, 1, x.shape[-1])
    for core in cores:
        tokens, before, bond, left = carried.shape
        num_inputs, num_outputs, next_bond = core.shape[1:]
        carried = carried.reshape(tokens, before, bond, num_inputs, left // num_inputs)
        carried = torch.einsum("tbrim,rioq->tboqm", carried, core)
        carried = carried.reshape(tokens, before * num_outputs, next_bond, left // num_inputs)
    return carried.reshape(*x.shape[:-1], -1)


def _shapes(site: Site, options: TensorTrain.Options) -> tuple[list[_Shape], list[_Shape]]:
    """The shapes of the cores of `up` and of `down`."""
    width = site.d_out if options.width is None else options.width
    modes = _factors(site.d_out, options.num_cores)
    channels = _factors(width, options.num_cores)
    for size, factors in ((site.d_out, modes), (width, channels)):
        if factors is None:
            raise SiteError(
                f"{size} cannot be cut into {options.num_cores} factors above 1 for a tensor train at {site.key}; "
                "choose fewer cores, another width, or the kind block"
            )
    assert modes is not None
    assert channels is not None
    pairs = [i * o for i, o in zip(modes, channels, strict=True)]
    most = min(min(prod(pairs[:k]), prod(pairs[k:])) for k in range(1, len(pairs)))
    if options.rank > most:
        raise SiteError(
            f"rank {options.rank} exceeds the {most} that a bond of these cores can carry at {site.key}; lower the rank"
        )
    bonds = [1, *[options.rank] * (options.num_cores - 1), 1]
    up = list(zip(bonds, modes, channels, bonds[1:], strict=False))
    down = list(zip(bonds, channels, modes, bonds[1:], strict=False))
    return up, down


def _factors(size: int, count: int, least: int = 2) -> tuple[int, ...] | None:
    """`size` as a product of `count` rising factors from `least`, the largest as small as can be; None if it cannot."""
    if count == 1:
        return (size,) if size >= least else None
    found = None
    for factor in range(least, int(size ** (1 / count)) + 2):
        rest = None if size % factor else _factors(size // factor, count - 1, factor)
        if rest is not None and (found is None or rest[-1] < found[-1]):
            found = (factor, *rest)
    return found
