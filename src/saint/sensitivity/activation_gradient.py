"""What the loss would lose, to first order, with each output of a site set to zero at one token."""

from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means


@final
class ActivationGradient(Map):
    """The sum over channels and tokens of |y * g|, the mean of it over batches.

    The absolute value is taken at every token, so that a channel which helps at one token and hurts at the next counts
    twice; `gate` lets these cancel. As g is of the batch's mean loss, the sum over tokens is a mean in nats.

    Sizes: a sum over output channels; compare within a role, or per parameter.
    """

    reference: ClassVar[str] = "arXiv:1611.06440"
    formula: ClassVar[str] = "mean over batches of sum_tokens,channels |y * g|"

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._means = Means()

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        # not as a norm of order 1: PyTorch adds that up number by number, five times as slow and worse rounded
        self._means.add(site.key, seen.gate_gradient.abs().sum())

    @override
    def scores(self) -> dict[str, float]:
        return {key: float(mean) for key, mean in self._means.items()}
