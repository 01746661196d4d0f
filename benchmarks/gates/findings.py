"""What a group found: a table, the figures that were asked for, and what has to be said beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from benchmarks.gates.setting import Setting
from saint.report import Figure


@final
@dataclass(kw_only=True, slots=True)
class Findings:
    """Of one group."""

    setting: Setting
    heads: Sequence[str]
    """Of the table's columns; the first one is words, the others are numbers."""
    rows: list[Sequence[str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ask(self, name: str, value: float, target: float, sense: Literal["at_least", "at_most"] = "at_most") -> None:
        """A figure that was asked for."""
        name = name if self.setting.size == "full" else f"smoke_{name}"
        self.figures.append(Figure(name=name, value=value, target=target, sense=sense))
