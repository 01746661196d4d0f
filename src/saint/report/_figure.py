"""One line per figure that something was asked to reach."""

from dataclasses import dataclass
from typing import Literal, final

from typing_extensions import override


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A measured number beside the number that was asked for."""

    name: str
    value: float
    target: float
    sense: Literal["at_least", "at_most"]

    @property
    def ok(self) -> bool:
        """Whether the target was reached."""
        return self.value >= self.target if self.sense == "at_least" else self.value <= self.target

    @override
    def __str__(self) -> str:
        sign = ">=" if self.sense == "at_least" else "<="
        return f"FIGURE {self.name} {self.value:.6g} {sign}{self.target:.6g} {'ok' if self.ok else 'short'}"
