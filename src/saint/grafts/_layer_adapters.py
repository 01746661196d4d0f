"""Low-rank changes of the new layers that stand at an insertion point."""

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from saint.errors import SiteError
from saint.grafts import Kind, Place
from saint.records import Site, SiteSort


@final
class LayerAdapters(Kind):
    """W + s B A for every matrix W of each new layer below it at its site; B is zero at birth.

    What it changes is other grafts' and stays theirs: it is computed as part of their weights where all are composed,
    and folded into them where they are merged.
    """

    reference: ClassVar[str] = "arXiv:2507.07129"
    formula: ClassVar[str] = "layers rank layer_width"
    attaches_to: ClassVar[SiteSort] = "insertion"
    can_fold: ClassVar[bool] = True
    can_stack: ClassVar[bool] = False
    changes_layers: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    def __init__(self, site: Site, options: Any) -> None:
        super().__init__()
        self._key, self._rank, self._num = site.key, options.rank, options.layers
        self.flat = nn.Parameter(torch.zeros(self.num_params(site, options)))
        self._shapes: dict[str, torch.Size] = {}

    @override
    @classmethod
    def num_params(cls, site: Site, options: Any) -> int:
        return int(options.layers * options.rank * options.layer_width)

    @property
    @override
    def num_layers(self) -> int:
        return 0

    @override
    def attach(self, place: Place) -> None:
        self._shapes = {name: weight.shape for name, weight in place.module.named_parameters() if weight.ndim == 2}
        width = sum(sum(shape) for shape in self._shapes.values())
        if self._num * self._rank * width != self.flat.numel():
            raise SiteError(
                f"adapters at {self._key} have {self.flat.numel():,} parameters, and {self._num} layers whose matrices "
                f"have {width} rows and columns take {self._num * self._rank * width:,} at rank {self._rank}; set "
                f"layer_width to {width}"
            )

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        self.attach(place)
        for flat in self.flat.chunk(self._num):
            for _, down, _ in self._pieces(flat):
                down.copy_(torch.randn(down.shape, generator=generator) / sqrt(down.shape[1]))

    def _pieces(self, flat: Float[Tensor, " params"]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name of a matrix -> A and B of one layer, as parts of what is trained."""
        sizes = [size * self._rank for shape in self._shapes.values() for size in (shape[1], shape[0])]
        pieces = iter(flat.split(sizes))
        for name, shape in self._shapes.items():
            yield name, next(pieces).view(self._rank, shape[1]), next(pieces).view(shape[0], self._rank)

    @override
    def change_layers(self, layers: Sequence[Mapping[str, Tensor]], *, first: int = 0) -> list[dict[str, Tensor]]:
        flats = self.flat.chunk(self._num)[first : first + len(layers)]
        return [
            {**layer, **{name: layer[name] + self.strength * up @ down for name, down, up in self._pieces(flat)}}
            for layer, flat in zip(layers, flats, strict=True)
        ]

    @override
    def must_change(self, num_layers: int) -> None:
        if num_layers != self._num:
            raise SiteError(
                f"adapters at {self._key} were trained on {self._num} new layers, and {num_layers} stand there; take "
                "their graft out too, or put back what it stood on"
            )

    @override
    def forward(self, x: Float[Tensor, "*batch d"], y: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        raise SiteError(
            f"adapters at {self._key} are part of the layers below them; use saint.compose, which knows these"
        )
