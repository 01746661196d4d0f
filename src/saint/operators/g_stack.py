"""All blocks again on top of themselves."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from typing_extensions import override

from saint.errors import ConfigError
from saint.operators._operator import Operator, Preserves
from saint.operators._parts import Parts


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GStack(Operator):
    """The stack of blocks, several times one after the other; what was learnt stays in it, the function does not.

    The paper stacks early in training, 4 times.
    """

    reference: ClassVar[str] = "arXiv:2405.15319"

    times: int = 2
    """How many times as deep."""

    def __post_init__(self) -> None:
        """Refuse what makes nothing larger."""
        if self.times < 2:
            raise ConfigError(f"times is {self.times}; a stack grows by 2 times or more")

    @property
    @override
    def preserves(self) -> Preserves:
        return "no"

    @override
    def enlarge(self, parts: Parts, generator: torch.Generator) -> None:
        num_before = parts.num_blocks
        parts.arrange([(place, None) for _ in range(self.times) for place in range(num_before)])
        parts.new_blocks = list(range(num_before, parts.num_blocks))
