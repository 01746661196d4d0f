"""By what grafts are judged, in which order, and how every decision is worked out again: no PyTorch."""

from saint.judging._answer import is_shown as is_shown
from saint.judging._change import set_policy as set_policy
from saint.judging._decide import decide as decide
from saint.judging._early import (
    all_shown_early as all_shown_early,
    block_ends as block_ends,
    read_until_shown as read_until_shown,
)
from saint.judging._holdout import (
    HoldOut as HoldOut,
    must_answer as must_answer,
    num_left as num_left,
    threshold as threshold,
)
from saint.judging._ideas import idea_of as idea_of, num_asked as num_asked
from saint.judging._judge import judge as judge, read_losses as read_losses
from saint.judging._policy import (
    Judging as Judging,
    Policy as Policy,
    RiskClass as RiskClass,
    policy_of as policy_of,
)
from saint.judging._power import (
    effect_needed as effect_needed,
    fewest_documents as fewest_documents,
    must_suffice as must_suffice,
)
from saint.judging._replay import Replayed as Replayed, replay_decisions as replay_decisions
