"""The kinds of graft: every module here without a leading underscore is one kind."""

from saint.grafts._graft import (
    Birth as Birth,
    Graft as Graft,
    History as History,
    grow_from as grow_from,
    kind_and_options as kind_and_options,
)
from saint.grafts._kind import Kind as Kind, LowRankFactors as LowRankFactors
