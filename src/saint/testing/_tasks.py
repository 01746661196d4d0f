from collections.abc import Mapping, Sequence
from typing import Any

from saint.errors import DataError
from saint.tasks import Question, Task, task_of


class TaskSuite:
    """What every benchmark's task must keep: subclass it and set `task`, a line, and the question that it is."""

    task: str
    line: Mapping[str, Any]
    question: Question
    other_forms: Sequence[Mapping[str, Any]] = ()
    """The same question as other published copies of the benchmark spell it."""

    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        """What the task makes of a line."""
        return self.built().read(line)

    def built(self) -> Task:
        """The task by its name."""
        return task_of(self.task)

    def test_a_line_is_its_question(self) -> None:
        assert tuple(self.read(self.line)) == (self.question,)

    def test_other_published_forms_are_the_same_question(self) -> None:
        for form in self.other_forms:
            assert tuple(self.read(form)) == (self.question,), f"{form} was read as something else"

    def test_the_right_option_is_there_and_every_option_is_some_text(self) -> None:
        assert 0 <= self.question.right < len(self.question.options)
        assert all(option.strip() for option in self.question.options)
        assert len(self.question.pairs) == len(self.question.options)
        assert len(self.question.options) == 1 or self.built().sort != "word"

    def test_a_space_stands_before_an_option_or_the_context_is_empty(self) -> None:
        for context, option in self.question.pairs:
            assert option.startswith(" ") if context else not option.startswith(" ")
            assert not context.endswith(" ")

    def test_a_line_of_something_else_is_refused(self) -> None:
        for wrong in ({}, {"text": 1}, {"unheard_of": "x"}, dict.fromkeys(self.line)):
            self._must_refuse(wrong)

    def test_half_a_character_is_refused(self) -> None:
        for name, value in self.line.items():
            if isinstance(value, str) and len(value) > 1:  # letters and numbers that name an option are compared
                self._must_refuse({**self.line, name: f"{value} \ud800 _ {value}"})

    def test_it_says_where_it_is_from(self) -> None:
        assert self.built().reference.startswith(("arXiv:", "doi:", "https://", "SAINT-G"))
        assert self.built().licence

    def _must_refuse(self, line: Mapping[str, Any]) -> None:
        try:
            self.read(line)
        except DataError:
            return
        raise AssertionError(f"{self.task} made a question of {line}")
