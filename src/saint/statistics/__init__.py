"""What can be said of differences that were measured on a sample of documents."""

from saint.statistics._betting import log_e_value as log_e_value, running_log_e_values as running_log_e_values
from saint.statistics._bootstrap import bootstrap_interval as bootstrap_interval
from saint.statistics._interval import (
    Stratum as Stratum,
    negated as negated,
    paired_interval as paired_interval,
    paired_spread as paired_spread,
    repeated_interval as repeated_interval,
    stratified_interval as stratified_interval,
    student_quantile as student_quantile,
)
from saint.statistics._items import (
    mean_interval as mean_interval,
    paired_rate_interval as paired_rate_interval,
    rate_interval as rate_interval,
)
from saint.statistics._power import documents_needed as documents_needed
from saint.statistics._ranks import rank_p_value as rank_p_value
from saint.statistics._running_tail import running_log_tail_e_values as running_log_tail_e_values
from saint.statistics._scores import (
    paired_score_interval as paired_score_interval,
    score_interval as score_interval,
)
from saint.statistics._spending import e_lond_log_threshold as e_lond_log_threshold, log_threshold as log_threshold
from saint.statistics._tail import clopper_pearson_upper as clopper_pearson_upper, log_tail_p_value as log_tail_p_value
