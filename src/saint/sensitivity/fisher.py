"""How much the sequences' own gradients spread at each site: the trace of the diagonal empirical Fisher."""

from collections import defaultdict
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen


@final
class Fisher(Map):
    """The root of the summed diagonal of the empirical Fisher information of the site's weight, over sequences.

    The diagonal is sum_b (dL_b / dW)^2 / B with L_b the mean token loss of one sequence, not the square of the batch's
    gradient, in which what the sequences disagree about has cancelled. The score is the root of its sum over the
    entries of W. At a site that is no linear map W is a linear map that were added there.

    The labels are those of the text, so it is the empirical Fisher, with the reservations of Kunstner et al. 2019
    (arXiv:1905.12558). Sequences are a batch's windows; where an encoder-decoder reads one in two halves it is one.

    Sizes: like `gradient` it grows with the entries of a weight; compare within a role, or per parameter.
    """

    reference: ClassVar[str] = "arXiv:1612.00796"
    formula: ClassVar[str] = "sqrt( mean over sequences b of |dL_b/dW|_F^2 )"
    needs_sequences: ClassVar[bool] = True

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._sums: dict[str, float] = defaultdict(float)
        self._num_sequences: dict[str, int] = defaultdict(int)

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        num_sequences = len(seen.x)
        # the batch's mean loss has a share of 1 / B of each sequence's own
        self._sums[site.key] += num_sequences**2 * float(seen.squared_sequence_norms.sum())
        self._num_sequences[site.key] += num_sequences

    @override
    def scores(self) -> dict[str, float]:
        return {key: (total / self._num_sequences[key]) ** 0.5 for key, total in self._sums.items()}
