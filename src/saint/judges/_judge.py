from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from saint import config, discovery
from saint.errors import JudgeError


class Judge(ABC):
    """Says of each generated text whether it does what a safety suite counts: violates, or refuses.

    An answer depends on its own prompt and text only, and asking twice answers the same. A judge is a frozen dataclass;
    its fields are the settings that a plan may give it. A judge that cannot answer raises: a suite without answers is
    not measured, and the gate defers.
    """

    @abstractmethod
    def judge(self, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """One answer for each text, in order.

        Args:
            prompts: What each text was generated after, as the model was shown it.
            texts: What the model said, without the prompt; may be empty.
        """


def build_judge(name: str, settings: Mapping[str, Any]) -> Judge:
    """The judge of that name, set as a plan says.

    Raises:
        UnknownNameError: There is no such judge.
        ConfigError: It has no such setting, or a setting cannot be meant.
    """
    return config.build(settings, discovery.find("judges", name, Judge), where=f"judge {name}")


def answers_of(judge: Judge, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """What `judge` answers, held to one answer for each text.

    Raises:
        JudgeError: It raised, or gave something else.
    """
    name = type(judge).__name__.lower()
    try:
        answers: Any = judge.judge(prompts, texts)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise JudgeError(f"the judge {name} failed ({said}); mend it or name another in the suite's judge") from error
    if not isinstance(answers, list) or not all(isinstance(answer, bool) for answer in answers):
        raise JudgeError(f"the judge {name} answered with {type(answers).__name__}; expected a list of true and false")
    if len(answers) != len(texts):
        raise JudgeError(f"the judge {name} gave {len(answers)} answers to {len(texts)} texts; expected one for each")
    return answers
