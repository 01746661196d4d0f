from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from saint import discovery
from saint.testing import OperatorSuite
from small_bases import small_model

D, INNER, HEAD = 16, 24, 8  # of the tiny base: two query heads to one key, two blocks
BLOCK = 2 * D * 2 * HEAD + 2 * D * HEAD + 3 * D * INNER + 2 * D
CHANNEL, GROUP = 3 * D, 2 * D * 2 * HEAD + 2 * D * HEAD
ROUNDING = 1e-5


class TestGStack(OperatorSuite):
    operator = "g_stack"
    settings: Mapping[str, Any] = {"times": 3}
    num_added = 4 * BLOCK
    draws = False


class TestLlamaPro(OperatorSuite):
    operator = "llama_pro"
    settings: Mapping[str, Any] = {"groups": 2}
    num_added = 2 * BLOCK
    draws = False


class TestNet2Net(OperatorSuite):
    operator = "net2net"
    settings: Mapping[str, Any] = {"inner": 2.5, "heads": 2}
    num_added = 2 * (36 * CHANNEL + GROUP)
    draws = True
    tolerance = ROUNDING


class TestNet2NetWithNoise(OperatorSuite):
    operator = "net2net"
    settings: Mapping[str, Any] = {"noise": 0.5}
    num_added = 2 * 24 * CHANNEL
    draws = True


class TestMsgInDepth(OperatorSuite):
    operator = "msg"
    settings: Mapping[str, Any] = {"groups": 2}
    num_added = 2 * BLOCK
    draws = True


class TestMsgInWidth(OperatorSuite):
    operator = "msg"
    settings: Mapping[str, Any] = {"inner": 1.5, "heads": 2, "groups": 1}
    num_added = 3 * (12 * CHANNEL + GROUP) + BLOCK
    draws = True
    tolerance = ROUNDING


class OnQwen(OperatorSuite):
    """Norms of queries and keys, biases or none, and an output head that is tied."""

    @override
    def small(self) -> Any:
        return small_model("qwen2").eval()


WIDE = 32  # Qwen2 with biases at queries, keys and values: 4 query heads to 2 keys, of 8 each, 48 channels
OF_QWEN = 2 * WIDE * WIDE + 2 * WIDE * 16 + (WIDE + 32) + 3 * WIDE * 48 + 2 * WIDE


class TestLlamaProOnQwen(OnQwen):
    operator = "llama_pro"
    settings: Mapping[str, Any] = {"groups": 1}
    num_added = OF_QWEN
    draws = False


def test_every_operator_is_in_a_suite() -> None:
    suites = [thing for thing in globals().values() if isinstance(thing, type) and issubclass(thing, OperatorSuite)]
    named = {suite.operator for suite in suites if hasattr(suite, "operator")}
    assert sorted(named) == discovery.names("operators")
