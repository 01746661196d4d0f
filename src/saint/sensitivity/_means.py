from collections.abc import Iterator
from typing import final

from torch import Tensor


@final
class Means:
    """Means over batches, one tensor for each site; no more than the running sums is held."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, key: str, value: Tensor) -> None:
        """Take in what one batch gave."""
        if key in self._sums:
            self._sums[key] += value
            self._counts[key] += 1
        else:
            self._sums[key], self._counts[key] = value.clone(), 1  # several maps and sites may share the value

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Site key -> mean, in the order in which the sites came."""
        return ((key, self.of(key)) for key in self._sums)

    def of(self, key: str) -> Tensor:
        """The mean of one site."""
        return self._sums[key] / self._counts[key]
