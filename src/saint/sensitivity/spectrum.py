"""How far each weight is from using all of its directions alike: a proxy that looks at no text."""

from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._spectra import leading_values


@final
class Spectrum(Map):
    """One less the weight's stable rank |W|_F^2 / |W|_2^2 as a share of its smaller side.

    Near 0 every direction is used alike, near 1 a single one prevails, so that a change has directions to itself. A
    proxy without gradients: whether it says anything about where to grow is for a study to show. It is of the frozen
    weight, whatever stands there. Sites that are no linear map have no score.

    Sizes: a share, which does not grow with the site.
    """

    reference: ClassVar[str] = "arXiv:math/0503442"
    formula: ClassVar[str] = "1 - |W|_F^2 / (|W|_2^2 min(d_in, d_out))"
    needs_gradient: ClassVar[bool] = False

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._scores: dict[str, float] = {}

    @override
    def scores_site(self, site: Site) -> bool:
        return site.sort == "linear"

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        if site.key in self._scores:
            return
        weight = seen.read_weight()
        assert weight is not None  # the site is linear
        largest = float(leading_values(weight, 1))
        share = float(weight.square().sum()) / (largest**2 * min(weight.shape)) if largest else 1.0
        self._scores[site.key] = 1 - share

    @override
    def scores(self) -> dict[str, float]:
        return dict(self._scores)
