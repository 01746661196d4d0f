from collections.abc import Mapping, Sequence
from typing import Any

from saint import discovery
from saint.tasks import Question
from saint.testing import TaskSuite

HEAD = "The following are multiple choice questions (with answers) about small sums."


def labelled(*texts: str) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in zip(texts, "ABCDE", strict=False)]


class TestArc(TaskSuite):
    task = "arc"
    line: Mapping[str, Any] = {
        "id": "x",
        "question": {"stem": "What is wet?", "choices": labelled("sand", "water", "salt")},
        "answerKey": "B",
    }
    question = Question(contexts=("Question: What is wet?\nAnswer:",), options=(" sand", " water", " salt"), right=1)
    other_forms: Sequence[Mapping[str, Any]] = (
        {
            "question": "What is wet?",
            "choices": {"text": ["sand", "water", "salt"], "label": ["1", "2", "3"]},
            "answerKey": "2",
        },
        {"query": "Question: What is wet?", "choices": ["sand", "water", "salt"], "gold": 1},
        {"query": "Question: What is wet?\nAnswer:", "choices": ["sand", "water", "salt"], "gold": 1},
    )


class TestCommonsenseQa(TestArc):
    task = "csqa"


class TestOpenbookQa(TaskSuite):
    task = "openbookqa"
    line: Mapping[str, Any] = {"question": {"stem": "Water is", "choices": labelled("wet", "dry")}, "answerKey": "A"}
    question = Question(contexts=("Water is",), options=(" wet", " dry"))
    other_forms: Sequence[Mapping[str, Any]] = (
        {"question_stem": "Water is", "choices": {"text": ["wet", "dry"], "label": ["A", "B"]}, "answerKey": "A"},
        {"query": "Water is ", "choices": ["wet", "dry"], "gold": 0},
    )


class TestChoice(TaskSuite):
    task = "choice"
    line: Mapping[str, Any] = {
        "query": "One and one is",
        "choices": ["two", "three"],
        "gold": 0,
        "group": "sums",
        "cluster": "one",
    }
    question = Question(contexts=("One and one is",), options=(" two", " three"), group="sums", cluster="one")


class TestHellaSwag(TaskSuite):
    task = "hellaswag"
    line: Mapping[str, Any] = {
        "activity_label": "Mowing",
        "ctx_a": "[header] A man mows. [title] Care.",
        "ctx_b": "he",
        "endings": ["sits [step] down.", "flies."],
        "label": "0",
    }
    question = Question(contexts=("Mowing: A man mows.. Care. He",), options=(" sits down.", " flies."))
    other_forms: Sequence[Mapping[str, Any]] = (
        {"query": "Mowing: A man mows.. Care. He", "choices": ["sits down.", "flies."], "gold": 0},
    )


class TestPiqa(TaskSuite):
    task = "piqa"
    line: Mapping[str, Any] = {"goal": "How do I boil water?", "sol1": "Cool it.", "sol2": "Heat it.", "label": 1}
    question = Question(
        contexts=("Question: How do I boil water?\nAnswer:",), options=(" Cool it.", " Heat it."), right=1
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {"query": "Question: How do I boil water?\n", "choices": ["Cool it.", "Heat it."], "gold": 1},
    )


class TestCopa(TaskSuite):
    task = "copa"
    line: Mapping[str, Any] = {
        "premise": "It rained.",
        "choice1": "The street was dry.",
        "choice2": "The street was wet.",
        "question": "effect",
        "label": 1,
    }
    question = Question(
        contexts=("It rained therefore",), options=(" the street was dry.", " the street was wet."), right=1
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {"query": "It rained therefore", "choices": ["the street was dry.", "the street was wet."], "gold": 1},
    )


class TestBoolQ(TaskSuite):
    task = "boolq"
    line: Mapping[str, Any] = {"passage": "Water is wet.", "question": "is water wet", "answer": True}
    question = Question(
        contexts=("Water is wet.\nQuestion: is water wet?\nAnswer:",),
        options=(" no", " yes"),
        right=1,
        cluster="Water is wet.",
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {"passage": "Water is wet.", "question": "is water wet", "label": 1},
        {"query": "Passage: Water is wet.\nQuestion: is water wet?", "choices": ["no", "yes"], "gold": 1},
    )


class TestBlimp(TaskSuite):
    task = "blimp"
    line: Mapping[str, Any] = {
        "sentence_good": "Ann sees herself.",
        "sentence_bad": "Ann sees himself.",
        "UID": "anaphor",
    }
    question = Question(contexts=("",), options=("Ann sees herself.", "Ann sees himself."), group="anaphor")


class TestLambada(TaskSuite):
    task = "lambada"
    line: Mapping[str, Any] = {"text": "Ann saw a stone and picked up the stone"}
    question = Question(contexts=("Ann saw a stone and picked up the",), options=(" stone",))
    other_forms: Sequence[Mapping[str, Any]] = (
        {"context": "Ann saw a stone and picked up the", "continuation": "stone"},
    )


class TestWinogrande(TaskSuite):
    task = "winogrande"
    line: Mapping[str, Any] = {
        "sentence": "The cup did not fit into the bag as the _ was small.",
        "option1": "cup",
        "option2": "bag",
        "answer": "2",
    }
    question = Question(
        contexts=("The cup did not fit into the bag as the cup", "The cup did not fit into the bag as the bag"),
        options=(" was small.", " was small."),
        right=1,
        cluster="The cup did not fit into the bag as the cup / The cup did not fit into the bag as the bag",
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {
            "context_options": [
                "The cup did not fit into the bag as the cup",
                "The cup did not fit into the bag as the bag",
            ],
            "continuation": "was small.",
            "gold": 1,
        },
    )


class TestWsc(TestWinogrande):
    task = "wsc"
    line: Mapping[str, Any] = TestWinogrande.other_forms[0]
    other_forms: Sequence[Mapping[str, Any]] = ()


class TestMmlu(TaskSuite):
    task = "mmlu"
    line: Mapping[str, Any] = {"question": "1 + 1 = ", "subject": "small_sums", "choices": ["2", "3"], "answer": 0}
    question = Question(
        contexts=(f"{HEAD}\n\n1 + 1 =\nA. 2\nB. 3\nAnswer:",),
        options=(" A", " B"),
        group="small_sums",
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {"query": "1 + 1 =", "subject": "small_sums", "choices": ["2", "3"], "gold": 0},
    )


class TestMmluCloze(TaskSuite):
    task = "mmlu_cloze"
    line: Mapping[str, Any] = {"question": "1 + 1 =", "subject": "small_sums", "choices": ["2", "3"], "answer": "A"}
    question = Question(contexts=("Question: 1 + 1 =\nAnswer:",), options=(" 2", " 3"), group="small_sums")


class TestSquad(TaskSuite):
    task = "squad"
    line: Mapping[str, Any] = {
        "title": "Water",
        "context": "Water is wet.",
        "question": "What is wet?",
        "answers": {"text": ["water", "Water", "water"], "answer_start": [0, 0, 0]},
    }
    question = Question(
        contexts=("Title: Water\nBackground: Water is wet.\nQuestion: What is wet?\nAnswer:",),
        options=(" water", " Water"),
        cluster="Water",
    )
    other_forms: Sequence[Mapping[str, Any]] = (
        {
            "title": "Water",
            "query": "Title: Water\nBackground: Water is wet.\nQuestion: What is wet?\nAnswer:",
            "answers": ["water", "Water"],
        },
        {
            "version": "1.1",
            "data": [
                {
                    "title": "Water",
                    "paragraphs": [
                        {
                            "context": "Water is wet.",
                            "qas": [
                                {
                                    "id": "1",
                                    "question": "What is wet?",
                                    "answers": [{"text": "water", "answer_start": 0}, {"text": "Water"}],
                                }
                            ],
                        }
                    ],
                }
            ],
        },
    )


def test_every_task_is_in_a_suite() -> None:
    suites = [thing for thing in globals().values() if isinstance(thing, type) and issubclass(thing, TaskSuite)]
    assert sorted({suite.task for suite in suites if suite is not TaskSuite}) == discovery.names("tasks")
