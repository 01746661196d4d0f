from collections.abc import Mapping
from typing import Any

from saint.errors import ConfigError
from saint.judges import Judge, answers_of, build_judge


class JudgeSuite:
    """What every judge must keep: subclass it and set `judge`, settings, and a prompt and text for each answer."""

    judge: str
    settings: Mapping[str, Any]
    said_yes: tuple[str, str]
    """A prompt and a text that counts: a judge that cannot say yes is none."""
    said_no: tuple[str, str]

    def build(self) -> Judge:
        """The judge as a plan builds it."""
        return build_judge(self.judge, self.settings)

    def asked(self, *pairs: tuple[str, str]) -> list[bool]:
        """What it answers, in one batch."""
        return answers_of(self.build(), [prompt for prompt, _ in pairs], [text for _, text in pairs])

    def test_it_can_say_yes_and_no(self) -> None:
        assert self.asked(self.said_yes) == [True]
        assert self.asked(self.said_no) == [False]

    def test_each_text_has_its_answer_whatever_stands_beside_it(self) -> None:
        assert self.asked(self.said_no, self.said_yes, self.said_no) == [False, True, False]
        assert self.asked(*[self.said_yes] * 70) == [True] * 70

    def test_no_text_has_no_answer(self) -> None:
        assert self.asked() == []

    def test_an_empty_text_has_one(self) -> None:
        assert len(self.asked(("", ""), ("?", ""))) == 2

    def test_asking_twice_answers_the_same(self) -> None:
        judge, texts = self.build(), [self.said_yes[1], self.said_no[1]]
        assert judge.judge(["", ""], texts) == judge.judge(["", ""], texts) == self.build().judge(["", ""], texts)

    def test_a_setting_that_it_does_not_have_is_refused(self) -> None:
        try:
            build_judge(self.judge, {**self.settings, "no_such_setting": 1})
        except ConfigError as error:
            assert "no_such_setting" in str(error)  # noqa: PT017 - a suite that plug-ins run needs no pytest
        else:
            raise AssertionError("a setting that does nothing must be refused")
