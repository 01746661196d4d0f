"""The kinds of graft: every module here without a leading underscore is one kind."""

from saint.grafts._graft import (
    Graft as Graft,
    History as History,
    assemble as assemble,
    chance_of as chance_of,
    check_at as check_at,
    default_lr as default_lr,
    grow_from as grow_from,
    kind_and_options as kind_and_options,
    num_bytes as num_bytes,
    num_params as num_params,
)
from saint.grafts._kind import (
    Call as Call,
    FirstStep as FirstStep,
    Kind as Kind,
    LowRankFactors as LowRankFactors,
    Moment as Moment,
    NewChannels as NewChannels,
    NewLayer as NewLayer,
    Place as Place,
    Signals as Signals,
)
from saint.grafts._sets import joined as joined, part_of as part_of
