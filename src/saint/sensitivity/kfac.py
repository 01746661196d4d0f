"""By how much a natural-gradient step at a site alone would lower the loss, with a Kronecker-factored curvature."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from saint.errors import ConfigError
from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means
from saint.sensitivity._spectra import whitened

_MAX_SIDE = 8192


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the factors are kept invertible."""

    damping: float = 0.01
    """What is added to the diagonal of each factor, as a share of its mean eigenvalue."""

    def __post_init__(self) -> None:
        """Refuse what leaves a factor singular."""
        if self.damping <= 0:
            raise ConfigError(f"damping is {self.damping}; it must be positive")


@final
class Kfac(Map):
    """The root of twice the decrease 1/2 tr(G^T C^-1 G S^-1) of the quadratic model whose curvature is S (x) C.

    S is the second moment of the inputs, C that of the gradients of the tokens' own losses with respect to the outputs
    (Martens and Grosse 2015), of the text's own labels: an empirical Fisher. Each has `damping` times its
    mean eigenvalue added to its diagonal, which is their factored Tikhonov damping made free of scale.
    The score is |C^-1/2 G S^-1/2|_F, worked out with Cholesky factors. It is meant to rank sites, not to foretell a
    decrease: moments and G are of few tokens, and at most of the directions they are noise.

    G is that of all batches together: one matrix of the weight's size and its two moments are held for each site. A
    site with a side above 8,192, an output head say, has no score.

    Sizes: of pure noise the squared score has a share for every entry of the weight; compare within a role, or per
    parameter.
    """

    reference: ClassVar[str] = "arXiv:1503.05671"
    formula: ClassVar[str] = "|C^-1/2 G S^-1/2|_F, S = mean x x^T, C = mean g g^T"
    Options: ClassVar[type] = Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._gradients, self._inputs, self._outputs = Means(), Means(), Means()

    @override
    def scores_site(self, site: Site) -> bool:
        return max(site.d_in, site.d_out) <= _MAX_SIDE

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._gradients.add(site.key, seen.weight_gradient)
        self._inputs.add(site.key, seen.input_moment)
        self._outputs.add(site.key, seen.gradient_moment)

    @override
    def scores(self) -> dict[str, float]:
        return {key: self._score(key, gradient) for key, gradient in self._gradients.items()}

    def _score(self, key: str, gradient: Float[Tensor, "d_out d_in"]) -> float:
        half = whitened(gradient.T, self._inputs.of(key), self.options.damping)
        return float(whitened(half.T, self._outputs.of(key), self.options.damping).norm())
