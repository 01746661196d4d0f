"""How the loss would answer to a gate on each output channel of a site."""

from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen
from saint.sensitivity._means import Means


@final
class Gate(Map):
    """The gradient of the loss with respect to a factor on each output channel, its sizes summed over channels.

    With a factor m_c, 1 now, on channel c, dL/dm_c is the sum over tokens of y * g there. It keeps its sign over tokens
    and batches, and the absolute value is taken at the end: a channel that is too strong here and too weak there asks
    for no other factor. Michel et al. 2019 (the source) gate attention heads so, with the absolute value per example.

    Sizes: a sum over output channels, in nats; compare within a role, or per parameter.
    """

    reference: ClassVar[str] = "arXiv:1905.10650"
    formula: ClassVar[str] = "sum_channels | mean over batches of sum_tokens y * g |"

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._means = Means()

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._means.add(site.key, seen.gate_gradient.sum((0, 1)))

    @override
    def scores(self) -> dict[str, float]:
        return {key: float(mean.abs().sum()) for key, mean in self._means.items()}
