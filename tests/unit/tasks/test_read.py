"""Files of questions: which are drawn, what belongs together, what guessing gets; what cannot be read is refused."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from saint.errors import ConfigError, DataError, UnknownNameError
from saint.tasks import Questions, read_questions


def write(file: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return file


def some(folder: Path, num: int = 60, **more: Any) -> Path:
    lines = [{"query": f"{i} is", "choices": ["odd", "even"], "gold": (i + 1) % 2, **more} for i in range(num)]
    return write(folder / "some.jsonl", lines)


def test_all_are_asked_in_their_order_unless_there_is_a_limit(tmp_path: Path) -> None:
    found = read_questions("choice", some(tmp_path))
    assert [question.contexts[0] for question in found.questions] == [f"{i} is" for i in range(60)]
    assert (found.num_available, found.seed) == (60, None)
    assert read_questions("choice", some(tmp_path), limit=60).digest == found.digest


def test_a_limit_draws_from_the_whole_file_by_its_seed(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[int]:
        found = read_questions("choice:mine", some(tmp_path), limit=20, seed=seed)
        assert (len(found.questions), found.num_available, found.seed) == (20, 60, seed)
        return [int(question.contexts[0].split()[0]) for question in found.questions]

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0) == sorted(set(drawn(0)))
    assert max(drawn(0)) > 40, "not the first ones: files are sorted by subject"


def test_guessing_is_counted_question_by_question(tmp_path: Path) -> None:
    lines = [
        {"query": "a", "choices": ["b"] * 2, "gold": 0},
        {"query": "a", "choices": ["b", "c", "d", "e"], "gold": 1},
    ]
    found = read_questions("choice", write(tmp_path / "x.jsonl", lines))
    assert found.chance == (1 / 2 + 1 / 4) / 2
    assert found.constant is None


def test_always_answering_the_same_is_counted_where_options_are_the_same(tmp_path: Path) -> None:
    lines = [{"passage": f"{i}", "question": "q", "answer": i < 7} for i in range(10)]
    found = read_questions("boolq", write(tmp_path / "x.jsonl", lines))
    assert (found.chance, found.constant) == (0.5, 0.7)
    lambada = read_questions("lambada", write(tmp_path / "y.jsonl", [{"text": "a b c"}] * 2))
    assert lambada.chance is None is lambada.constant


def clusters(found: Questions) -> list[int]:
    return found.clusters.tolist()


def test_what_shares_a_cluster_belongs_together_and_nothing_else_does(tmp_path: Path) -> None:
    assert len(set(clusters(read_questions("choice", some(tmp_path))))) == 60
    assert len(set(clusters(read_questions("choice", some(tmp_path, cluster="q1"))))) == 1
    lines = [{"query": "a", "choices": ["b", "c"], "gold": 0, "cluster": c} for c in ("one", "two", "one")]
    found = clusters(read_questions("choice", write(tmp_path / "x.jsonl", lines)))
    assert found[0] == found[2] != found[1]


def test_the_published_file_of_squad_is_read_as_it_is(tmp_path: Path) -> None:
    asked = [{"question": f"{i}?", "answers": [{"text": "b"}]} for i in range(3)]
    article = {"title": "t", "paragraphs": [{"context": "a b c", "qas": asked}]}
    file = tmp_path / "dev-v1.1.json"
    file.write_text(json.dumps({"version": "1.1", "data": [article]}, indent=1), encoding="utf-8")
    assert len(read_questions("squad", file).questions) == 3
    with gzip.open(tmp_path / "dev.json.gz", "wt", encoding="utf-8") as packed:
        packed.write(file.read_text(encoding="utf-8"))
    assert read_questions("squad", tmp_path / "dev.json.gz").digest == read_questions("squad", file).digest


@pytest.mark.parametrize(
    ("task", "line", "complaint"),
    [
        ("arc", {"query": "q", "choices": ["a", "b"]}, "does not say which option is right"),
        ("arc", {"query": "q", "choices": ["a", "b"], "gold": 2}, "'gold' is 2, none of the 2 options"),
        ("arc", {"query": "q", "choices": ["a"], "gold": 0}, "not a list of 2 to 26 options"),
        ("arc", {"query": "q", "choices": ["a", 3], "gold": 0}, "'choices' is int, not text"),
        ("piqa", {"goal": "g", "sol1": "a", "sol2": "b", "label": -1}, "'label' is -1, none of the 2 options"),
        ("boolq", {"passage": "p", "question": "q", "answer": "maybe"}, "'maybe', neither true nor false"),
        ("copa", {"premise": "p", "choice1": "a", "choice2": "b", "question": "why", "label": 0}, "neither cause"),
        ("winogrande", {"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}, "has no _"),
        ("lambada", {"text": "word"}, "no context"),
        ("squad", {"context": "c", "question": "q", "answers": {"text": []}}, "questions without an answer"),
        ("squad", {"data": [{"paragraphs": [{}]}]}, "not what SQuAD has there"),
        ("blimp", {"sentence_good": "a"}, "it has no 'sentence_bad', but sentence_good"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused_by_its_place(
    tmp_path: Path, task: str, line: Mapping[str, Any], complaint: str
) -> None:
    file = write(tmp_path / "x.jsonl", [line])
    with pytest.raises(DataError, match=f"x.jsonl:1 is no line of {task}: .*{complaint}"):
        read_questions(task, file)


def test_a_task_a_file_or_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'arc'"):
        read_questions("arcc", some(tmp_path))
    with pytest.raises(DataError, match="no such file"):
        read_questions("arc", tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="has no questions for arc"):
        read_questions("arc", write(tmp_path / "empty.jsonl", []))
    with pytest.raises(ConfigError, match="limit is 1"):
        read_questions("choice", some(tmp_path), limit=1)
    with pytest.raises(DataError, match="every line must be one JSON object"):
        read_questions("choice", _broken(tmp_path))


def _broken(folder: Path) -> Path:
    (folder / "broken.jsonl").write_text("{", encoding="utf-8")
    return folder / "broken.jsonl"
