"""Published benchmarks, read from files that are given: every module here without a leading underscore is a task."""

from saint.tasks._question import Question as Question
from saint.tasks._read import (
    Questions as Questions,
    read_questions as read_questions,
    task_of as task_of,
)
from saint.tasks._task import Task as Task
