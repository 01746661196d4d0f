"""Which structure buys the most: kinds, budgets and seeds on one base and one text, against controls."""

from saint.comparison._bench import Materials as Materials, check_device as check_device
from saint.comparison._code import code_digest as code_digest
from saint.comparison._compare import (
    Findings as Findings,
    Outcome as Outcome,
    check_materials as check_materials,
    compare as compare,
)
from saint.comparison._entries import Entry as Entry, make_entries as make_entries
from saint.comparison._plan import ArmPlan as ArmPlan, ComparisonPlan as ComparisonPlan, Targets as Targets
from saint.comparison._table import make_rows as make_rows
from saint.comparison._tuning import at_the_edge as at_the_edge, best_rate as best_rate, rates_to_try as rates_to_try
from saint.comparison._views import (
    budgets_won as budgets_won,
    gain_per_byte_ratio as gain_per_byte_ratio,
    gain_per_byte_ratio_no_less_gain as gain_per_byte_ratio_no_less_gain,
    make_views as make_views,
    strongest_rivals as strongest_rivals,
)
