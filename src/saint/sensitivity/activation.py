"""How large the outputs of each site are."""

from typing import Any, ClassVar, final

import torch
from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means


@final
class Activation(Map):
    """The root mean square of the site's outputs, over tokens and channels. It needs no backward pass.

    Sizes: a mean, which does not grow with the site; the scale of the residual stream, which grows with depth, and
    norms decide more than the size does.
    """

    reference: ClassVar[str] = "arXiv:1607.03250"
    formula: ClassVar[str] = "sqrt( mean y^2 )"
    needs_gradient: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._means = Means()

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._means.add(site.key, torch.linalg.vector_norm(seen.y).square() / seen.y.numel())

    @override
    def scores(self) -> dict[str, float]:
        return {key: float(mean) ** 0.5 for key, mean in self._means.items()}
