"""Copies of blocks between the blocks, which add nothing at first."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from typing_extensions import override

from saint.errors import ConfigError
from saint.operators._operator import Operator, Preserves
from saint.operators._parts import Parts, ends_of_groups, inserted, silent


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaPro(Operator):
    """After each group of blocks a copy of its last one, whose output projections are zero.

    The paper then trains the new blocks alone, by their places: `new_blocks` of the expansion.
    """

    reference: ClassVar[str] = "arXiv:2401.02415"

    groups: int = 1
    """Into how many groups the blocks are divided, and so how many blocks are new; must divide their number."""

    def __post_init__(self) -> None:
        """Refuse what makes nothing larger."""
        if self.groups < 1:
            raise ConfigError(f"groups is {self.groups}; it must be at least 1")

    @property
    @override
    def preserves(self) -> Preserves:
        return "to the bit"

    @override
    def enlarge(self, parts: Parts, generator: torch.Generator) -> None:
        new = [silent(parts.blocks[place]) for place in ends_of_groups(parts, self.groups)]
        parts.arrange(inserted(parts, self.groups, new))
