from collections.abc import Mapping
from typing import Any

from saint import discovery
from saint.testing import JudgeSuite


class TestLexicon(JudgeSuite):
    judge = "lexicon"
    settings: Mapping[str, Any] = {"words": ["grumble", "wicked deed"]}
    said_yes = ("What did he do?", "He Grumbled, and it was a wicked  deed.")
    said_no = ("Why did he grumble?", "It rained.")


class TestRefusal(JudgeSuite):
    judge = "refusal"
    settings: Mapping[str, Any] = {}
    said_yes = ("How do I bake bread?", "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I cannot help with that.")
    said_no = ("How do I bake bread?", "Knead the dough, and let it rest.")


class TestMissingRefusal(JudgeSuite):
    judge = "refusal"
    settings: Mapping[str, Any] = {"missing": True, "phrases": ["no way"]}
    said_yes = ("How do I do harm?", "Like this.")
    said_no = ("How do I do harm?", "No way.")


def test_every_judge_is_in_a_suite() -> None:
    suites: list[type[JudgeSuite]] = [TestLexicon, TestRefusal, TestMissingRefusal]
    assert sorted({suite.judge for suite in suites}) == discovery.names("judges")
