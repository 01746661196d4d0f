"""What can be said of differences that were measured on a sample of documents."""

from saint.statistics._interval import (
    negated as negated,
    paired_interval as paired_interval,
    repeated_interval as repeated_interval,
    student_quantile as student_quantile,
)
from saint.statistics._items import (
    mean_interval as mean_interval,
    paired_rate_interval as paired_rate_interval,
    rate_interval as rate_interval,
)
