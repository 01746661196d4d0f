"""Questions whose answer stands in a passage; the model writes it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, final

from typing_extensions import override

from saint.errors import DataError
from saint.tasks._fields import checked, has, text
from saint.tasks._question import Question
from saint.tasks._task import Sort, Task


@final
class Squad(Task):
    """What is written on the line after passage and question, by exact match and F1 of words, as SQuAD 1.1 scores.

    Questions about one article are one observation. Questions without an answer (SQuAD 2.0) are refused.

    Lines: `data`, the published file; `context`, `question`, `answers`, as on the Hugging Face hub and of sets in other
    languages; or `query`, whole, with `answers`.
    """

    sort: ClassVar[Sort] = "answer"
    reference: ClassVar[str] = "arXiv:1606.05250"
    licence: ClassVar[str] = "CC-BY-SA-4.0"

    @override
    def read(self, line: Mapping[str, Any]) -> Sequence[Question]:
        if has(line, "data"):
            return tuple(_published(line["data"]))
        if has(line, "query"):
            return (_question(text(line, "query").rstrip(), line["answers"], line.get("title")),)
        return (_about(text(line, "context"), line, line.get("title")),)


def _published(articles: Any) -> Iterator[Question]:
    try:
        found = [
            (part["context"], asked, article["title"])
            for article in articles
            for part in article["paragraphs"]
            for asked in part["qas"]
        ]
    except (TypeError, KeyError) as error:
        raise DataError(f"'data' is not what SQuAD has there ({type(error).__name__}: {error})") from error
    for context, asked, title in found:
        yield _about(checked(context, "context"), asked, title)


def _about(passage: str, line: Mapping[str, Any], title: Any) -> Question:
    shown = f"Background: {passage.strip()}\nQuestion: {text(line, 'question').strip()}\nAnswer:"
    head = f"Title: {title}\n" if isinstance(title, str) and title else ""
    return _question(head + shown, line.get("answers"), title or passage)


def _question(context: str, answers: Any, about: Any) -> Question:
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    if not isinstance(answers, list) or not answers:
        raise DataError("'answers' is empty or no list; questions without an answer cannot be scored here")
    given = [one.get("text") if isinstance(one, Mapping) else one for one in answers]
    accepted = tuple(dict.fromkeys(f" {checked(one, 'answers').strip()}" for one in given))
    cluster = checked(about, "title") if about else ""
    return Question(contexts=(context,), options=accepted, cluster=cluster)
