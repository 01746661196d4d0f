"""What a graft does to the composed model, measured in pairs, document by document."""

from saint.evaluation._by_site import site_by_site as site_by_site, taylor_by_site as taylor_by_site
from saint.evaluation._evaluate import (
    evaluate as evaluate,
    leave_one_out as leave_one_out,
    measure_arm as measure_arm,
    measure_cost as measure_cost,
)
from saint.evaluation._footprint import footprint as footprint
from saint.evaluation._interactions import interactions as interactions
from saint.evaluation._losses import Losses as Losses, PerDocument as PerDocument
from saint.evaluation._strength import choose_strength as choose_strength, search_strength as search_strength
from saint.statistics import (
    negated as negated,
    paired_interval as paired_interval,
    repeated_interval as repeated_interval,
)
