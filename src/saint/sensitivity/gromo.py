"""By how much the best change of a site's outputs that is linear in its inputs would lower the loss at first."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from saint.errors import ConfigError
from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means
from saint.sensitivity._spectra import leading_values, whitened

_MAX_SIDE = 8192


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Of what rank the change is, and how the inputs' moment is kept invertible."""

    rank: int = 8
    """How many of the largest singular values count."""
    damping: float = 0.01
    """What is added to the diagonal of the inputs' second moment, as a share of its mean eigenvalue."""

    def __post_init__(self) -> None:
        """Refuse what selects nothing or leaves the moment singular."""
        if self.rank < 1 or self.damping <= 0:
            raise ConfigError(f"rank is {self.rank} and damping {self.damping}; expected at least 1, and above 0")


@final
class Gromo(Map):
    """The root of the first-order bound of growing networks: the largest lambda^2, summed, of S^-1/2 N.

    N = mean x v^T with v the negative gradient of a token's own loss at the output, which is -G^T, and S = mean x x^T.
    The change of outputs nearest to v that is linear in the inputs and of rank r lowers the loss by the sum of the
    lambda^2 = eigenvalues of N^T S^-1 N, r of them, for each unit of its step (Verbockhaven et al. 2024, there for new
    neurons between two layers and for v less what the layer itself can do; here for a change at the site).

    G is that of all batches together: one matrix of the weight's size and one moment are held for each site. A site
    with more than 8,192 inputs has no score.

    Sizes: of all weights the same number of directions counts, and scales of inputs cancel, those of gradients do not.
    """

    reference: ClassVar[str] = "arXiv:2405.19816"
    formula: ClassVar[str] = "sqrt( sum of the top eigenvalues of N^T S^-1 N ), N = -G^T, S = mean x x^T"
    Options: ClassVar[type] = Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._gradients, self._inputs = Means(), Means()

    @override
    def scores_site(self, site: Site) -> bool:
        return site.d_in <= _MAX_SIDE

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._gradients.add(site.key, seen.weight_gradient)
        self._inputs.add(site.key, seen.input_moment)

    @override
    def scores(self) -> dict[str, float]:
        return {key: self._score(key, gradient) for key, gradient in self._gradients.items()}

    def _score(self, key: str, gradient: Float[Tensor, "d_out d_in"]) -> float:
        white = whitened(gradient.T, self._inputs.of(key), self.options.damping)
        return float(leading_values(white, self.options.rank).norm())
