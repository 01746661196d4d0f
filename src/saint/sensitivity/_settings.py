from dataclasses import dataclass
from typing import final

from saint import discovery
from saint.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """How the places worth growing at are found."""

    method: str = "gradient"
    num_batches: int = 4

    def __post_init__(self) -> None:
        """Refuse a map that nothing provides or that sees nothing."""
        if self.method not in (known := discovery.names("sensitivity")):
            raise ConfigError(f"method is {self.method!r}; expected {' or '.join(known)}")
        if self.num_batches < 1:
            raise ConfigError(f"num_batches is {self.num_batches}; it must be at least 1")
