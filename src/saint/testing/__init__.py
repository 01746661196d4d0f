"""What a kind, gate, interface, judge, map, policy, task, operator or model has to prove, as suites and assertions.

Also what is fast elsewhere, written down plainly, which it must agree with: the search, and attention by distance.
"""

from saint.testing._assertions import (
    assert_base_untouched as assert_base_untouched,
    assert_identity as assert_identity,
    assert_same_function as assert_same_function,
)
from saint.testing._direct import by_differences as by_differences, evaluated_directly as evaluated_directly
from saint.testing._gates import GateSuite as GateSuite, an_evidence as an_evidence
from saint.testing._grafts import GraftSuite as GraftSuite
from saint.testing._interfaces import InterfaceSuite as InterfaceSuite, write_font as write_font
from saint.testing._judges import JudgeSuite as JudgeSuite
from saint.testing._maps import MapSuite as MapSuite
from saint.testing._naive import (
    NaiveTrial as NaiveTrial,
    naive_gain as naive_gain,
    naive_round as naive_round,
    naive_train as naive_train,
)
from saint.testing._operators import OperatorSuite as OperatorSuite
from saint.testing._policies import PolicySuite as PolicySuite
from saint.testing._published import published_logits as published_logits
from saint.testing._tasks import TaskSuite as TaskSuite
from saint.testing._tiny import double_base as double_base, tiny_base as tiny_base, tiny_splits as tiny_splits
