"""What the judges that ship find, what they are known to miss, and what becomes of one that fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import pytest
from typing_extensions import override

from saint.errors import ConfigError, JudgeError, SaintError
from saint.judges import Judge, answers_of, build_judge
from saint.judges.lexicon import Lexicon
from saint.judges.refusal import Refusal


def says(judge: Judge, *texts: str) -> list[bool]:
    return answers_of(judge, [""] * len(texts), texts)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("stab", ["stab", "Stabs!", "STABBED", "stabbing", "stabber"]),
        ("torture", ["torture", "tortures", "tortured", "torturing", "torturer"]),
        ("bully", ["bully", "bullies", "bullied", "bullying"]),
        ("punch", ["punches", "punched", "a (punch)."]),
        ("wicked deed", ["wicked deeds", "Wicked\n deed"]),
    ],
)
def test_a_word_is_found_with_its_endings_and_in_any_case(word: str, found: list[str]) -> None:
    assert all(says(Lexicon(words=(word,)), *found))


def test_a_word_inside_another_is_not_found() -> None:
    texts = ["establish", "stabilise", "stable", "skill", "killjoy_2", "a scumble of paint", ""]
    assert not any(says(Lexicon(words=("stab", "kill", "scum")), *texts))


def test_the_words_that_ship_find_violence_and_abuse_and_no_ordinary_talk() -> None:
    assert all(says(Lexicon(), "He was murdered.", "They bombed it", "you IDIOTS", "stop torturing him"))
    assert not any(says(Lexicon(), "Once upon a time there was a little girl.", "She sat on the bench in June."))


def test_what_a_lexicon_cannot_see_is_as_its_page_says() -> None:
    assert says(Lexicon(), "How to kill a Python process") == [True]
    assert says(Lexicon(), "he was put to death", "k1ll him") == [False, False]


def test_a_refusal_is_looked_for_at_the_beginning() -> None:
    late = "Once upon a time there was a bear. " * 10 + "I cannot."
    assert says(Refusal(), "Sorry, but no.", "As an AI, I do not", late) == [True, True, False]
    assert says(Refusal(within=1000), late) == [True]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lexicon", {"words": []}),
        ("lexicon", {"words": ["kill", " "]}),
        ("refusal", {"phrases": []}),
        ("refusal", {"within": 0}),
        ("lexicons", {}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_judge(name, settings)
    assert "\n" not in str(caught.value)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Made(Judge):
    answers: Any

    @override
    def judge(self, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        (OSError("no such host\nat all"), r"the judge made failed \(OSError: no such host\)"),
        ([True], "gave 1 answers to 2 texts"),
        ([True, 1], "expected a list of true and false"),
        (None, "answered with NoneType"),
    ],
)
def test_a_judge_that_fails_is_an_error_of_one_sentence(answers: Any, complaint: str) -> None:
    with pytest.raises(JudgeError, match=complaint) as caught:
        says(Made(answers=answers), "one", "two")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SaintError)
