"""The published sizes of layered decoders by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from saint.backbones._layered_config import LayeredConfig
from saint.errors import UnknownNameError


class LayeredSize(NamedTuple):
    """One published size."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    interface: str = "binary"
    interface_options: Mapping[str, Any] = MappingProxyType({})


_SERIES: Mapping[str, Any] = {"interface": "glyph", "interface_options": MappingProxyType({"cell": 64})}

LAYERED_SIZES: Mapping[str, LayeredSize] = MappingProxyType(
    {
        "stage-3": LayeredSize(65536, 1024, 3),
        "study-9": LayeredSize(65536, 1024, 9),
        "study-9-learned": LayeredSize(65536, 1024, 9, interface="learned"),
        "long-16": LayeredSize(65536, 1024, 16),
        **{f"series-{depth}": LayeredSize(131072, 4096, depth, **_SERIES) for depth in range(1, 7)},
    }
)
"""By name: the first stage of the study that grows three blocks at a time, what it grows to above a code of 16 bits or
with a learned table, the long run, and the series that grows by one block above a table of glyphs."""


def layered_config(name: str, **changes: Any) -> LayeredConfig:
    """The configuration of a published size: 32 heads, contexts of 1,024 tokens, and no norm before the head.

    Args:
        name: One of `LAYERED_SIZES`.
        changes: Fields of `LayeredConfig` that are to be other ones.

    Raises:
        UnknownNameError: No size has that name.
    """
    if name not in LAYERED_SIZES:
        raise UnknownNameError(f"no layered size is called {name!r}; there are {', '.join(LAYERED_SIZES)}")
    shape = LAYERED_SIZES[name]._asdict()
    shape["interface_options"] = dict(shape["interface_options"])
    return LayeredConfig(**{**shape, "num_attention_heads": 32, "final_norm": False, **changes})
