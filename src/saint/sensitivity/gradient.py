"""How strongly the loss pulls at a linear map from each site's input to its output."""

from collections import defaultdict
from typing import Any, ClassVar, final

import torch
from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen


@final
class Gradient(Map):
    """The root mean square, over batches, of the Frobenius norm of G = sum_t g_t x_t^T.

    At a linear site G is the gradient of its weight; at a block site that of a linear map added to the residual
    stream, so that sites of both sorts are scored alike. G is formed and dropped batch by batch: no more than one
    site's is held. The score is a batch-level quantity, not a Fisher information.

    Sizes: a larger weight has more entries that add up, so that large sites come first; compare within a role, or per
    parameter.
    """

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "rms over batches of |G|_F"

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._squares: dict[str, list[float]] = defaultdict(list)

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        self._squares[site.key].append(float(torch.linalg.vector_norm(seen.weight_gradient)) ** 2)

    @override
    def scores(self) -> dict[str, float]:
        return {key: (sum(squares) / len(squares)) ** 0.5 for key, squares in self._squares.items()}
