"""What a group found: ratios for the table, figures that were asked for, and what has to be said beside them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, final

from benchmarks.search.setting import Setting
from benchmarks.search.timing import Ratio
from saint.report import Figure

Sense = Literal["at_least", "at_most"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    rival: str
    """What it is held against; "" for a number that is no ratio to a rival."""
    ratio: Ratio
    target: float | None = None
    sense: Sense = "at_least"


@final
@dataclass(kw_only=True, slots=True)
class Findings:
    """Of one group."""

    setting: Setting
    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, rival: str, ratio: Ratio | float) -> None:
        """A row without a target."""
        self.rows.append(Row(what=what, rival=rival, ratio=_as_ratio(ratio)))

    def ask(
        self, name: str, what: str, rival: str, ratio: Ratio | float, target: float, sense: Sense = "at_least"
    ) -> None:
        """A row that was asked to reach something; the figure is its median."""
        found = _as_ratio(ratio)
        self.rows.append(Row(what=what, rival=rival, ratio=found, target=target, sense=sense))
        name = name if self.setting.size == "full" else f"smoke_{name}"
        self.figures.append(Figure(name=name, value=found.median, target=target, sense=sense))

    @property
    def wide(self) -> Iterable[str]:
        """The rows whose turns differ too much."""
        return [row.what for row in self.rows if row.ratio.is_wide]

    def to_plain(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "rows": [
                {
                    "what": row.what,
                    "rival": row.rival,
                    "median": row.ratio.median,
                    "low": row.ratio.low,
                    "high": row.ratio.high,
                    "target": row.target,
                    "sense": row.sense,
                }
                for row in self.rows
            ],
            "figures": [
                {"name": f.name, "value": f.value, "target": f.target, "sense": f.sense, "ok": f.ok}
                for f in self.figures
            ],
            "notes": self.notes,
            "wide": list(self.wide),
        }


def _as_ratio(value: Ratio | float) -> Ratio:
    return value if isinstance(value, Ratio) else Ratio(median=value, low=value, high=value)
