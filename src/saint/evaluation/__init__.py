"""What a graft does to the composed model, measured in pairs, document by document."""

from saint.evaluation._attribution import attribute as attribute
from saint.evaluation._by_site import site_by_site as site_by_site, taylor_by_site as taylor_by_site
from saint.evaluation._canaries import canary_p_value as canary_p_value
from saint.evaluation._completions import (
    CompletionCosts as CompletionCosts,
    completion_costs as completion_costs,
    continuations as continuations,
    shown_tokens as shown_tokens,
)
from saint.evaluation._difference import text_difference as text_difference
from saint.evaluation._evaluate import (
    evaluate as evaluate,
    measure_arm as measure_arm,
    measure_cost as measure_cost,
)
from saint.evaluation._footprint import footprint as footprint
from saint.evaluation._interactions import interactions as interactions
from saint.evaluation._loss_store import LossStore as LossStore, PerDocument as PerDocument
from saint.evaluation._losses import Losses as Losses
from saint.evaluation._measured import (
    Measure as Measure,
    TaskResult as TaskResult,
    TextResult as TextResult,
    measure_task as measure_task,
    measure_text as measure_text,
)
from saint.evaluation._safety import (
    SafetyFindings as SafetyFindings,
    SuiteValues as SuiteValues,
    measure_safety as measure_safety,
    suite_losses as suite_losses,
)
from saint.evaluation._sealed import (
    Sealed as Sealed,
    holdout_digest as holdout_digest,
    holdout_sizes as holdout_sizes,
    secret_order as secret_order,
)
from saint.evaluation._strength import (
    choose_strength as choose_strength,
    search_strength as search_strength,
    worst_excess as worst_excess,
)
from saint.evaluation._tasks import (
    TaskScores as TaskScores,
    normal_answer as normal_answer,
    score_task as score_task,
    split_pairs as split_pairs,
    word_f1 as word_f1,
)
from saint.statistics import (
    negated as negated,
    paired_interval as paired_interval,
    paired_spread as paired_spread,
    repeated_interval as repeated_interval,
)
