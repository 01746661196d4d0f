"""What can be said of differences that were measured on a sample of documents."""

from saint.statistics._interval import (
    negated as negated,
    paired_interval as paired_interval,
    paired_spread as paired_spread,
    repeated_interval as repeated_interval,
    student_quantile as student_quantile,
)
from saint.statistics._items import (
    mean_interval as mean_interval,
    paired_rate_interval as paired_rate_interval,
    rate_interval as rate_interval,
)
from saint.statistics._placeholder import (
    documents_needed as documents_needed,
    e_lond_log_threshold as e_lond_log_threshold,
    log_e_value as log_e_value,
    log_tail_p_value as log_tail_p_value,
    log_threshold as log_threshold,
)
