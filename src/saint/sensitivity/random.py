"""Sites by chance: the control that every other map is held against."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.records import Site
from saint.sensitivity import Map, Seen


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Which chance."""

    seed: int = 0
    """Another seed, other sites."""


@final
class Random(Map):
    """A number between 0 and 1 from the seed and the site's name, whatever flows through the site.

    Sizes: it does not know them.
    """

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "uniform in [0, 1) by seed and site"
    needs_gradient: ClassVar[bool] = False
    Options: ClassVar[type] = Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._scores: dict[str, float] = {}

    @override
    def observe(self, site: Site, seen: Seen) -> None:
        if site.key in self._scores:
            return
        digest = hashlib.sha256(f"{self.options.seed}:{site.key}".encode()).digest()
        self._scores[site.key] = int.from_bytes(digest[:6], "big") / (1 << 48)

    @override
    def scores(self) -> dict[str, float]:
        return dict(self._scores)
