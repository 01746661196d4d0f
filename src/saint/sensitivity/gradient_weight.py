"""What the loss would lose, to first order, with each weight set to zero."""

from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means


@final
class GradientWeight(Map):
    """The sum over the entries of |G * W|, the mean of it over batches: SNIP's saliency, of a trained weight.

    It asks what the present weight is worth to the loss, entry by entry. Sites that are no linear map have none.

    Sizes: a sum over entries, which grows with the weight but, as it is in nats, less than a norm of G does with its
    scale; compare within a role, or per parameter.
    """

    reference: ClassVar[str] = "arXiv:1810.02340"
    formula: ClassVar[str] = "mean over batches of sum |G * W|"

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._means = Means()

    @override
    def scores_site(self, site: Site) -> bool:
        return site.sort == "linear"

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        weight = seen.read_weight()
        assert weight is not None  # the site is linear
        # not as a norm of order 1, which is slower and worse rounded
        self._means.add(site.key, (seen.weight_gradient * weight).abs_().sum())

    @override
    def scores(self) -> dict[str, float]:
        return {key: float(mean) for key, mean in self._means.items()}
