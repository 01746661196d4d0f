"""What a model has on benchmarks and texts, for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_LABELS = {
    "accuracy": "accuracy",
    "accuracy_per_byte": "accuracy, per byte",
    "exact_match": "exact match",
    "f1": "F1",
}


def measured_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """For a terminal, of what `saint measure` found.

    Args:
        record: As its --json has it.
    """
    parts: list[RenderableType] = [Text(_title(record))]
    if record["tasks"]:
        parts.append(_tasks(record))
    if record["texts"]:
        parts.append(_texts(record))
    for name, found in record["harness"].items():
        parts.append(_harness(name, found))
    return [*parts, Text(_reading(record))]


def against_chance(measure: Mapping[str, Any], level: float | None) -> str:
    """Where an interval lies to what guessing gets: above, below, or not told apart from it."""
    if level is None:
        return ""
    if measure["low"] > level:
        return "above"
    return "below" if measure["high"] < level else "at chance"


def _title(record: Mapping[str, Any]) -> str:
    against = f" against {record['against']['name']}" if record["against"] else ""
    return f"{record['model']['name']}{against}"


def _tasks(record: Mapping[str, Any]) -> Table:
    table = Table(box=box.HORIZONTALS)
    table.add_column("task")
    for column in ("questions", "measure", "value", "chance", "is", "always one answer"):
        table.add_column(column, justify="left" if column in ("measure", "is") else "right")
    if record["against"]:
        table.add_column("difference", justify="right")
    for task in record["tasks"]:
        for row in _rows(task):
            table.add_row(*row if record["against"] else row[:-1])
    return table


def _rows(task: Mapping[str, Any]) -> Iterator[tuple[Text, ...]]:
    asked, there, apart = task["num_questions"], task["num_available"], task["num_clusters"]
    num = f"{asked:,}{f' of {there:,}' if asked < there else ''}{f' in {apart:,}' if apart < asked else ''}"
    name, constant = task["task"], task["constant"]
    for measure, found in task["measures"].items():
        level = task["chance"]
        shown = (name, num, _LABELS[measure], _percent(found["value"]), "none" if level is None else f"{level:.1%}")
        fixed = "" if constant is None else f"{constant:.1%}"
        yield _texted(*shown, against_chance(found["value"], level), fixed, _points(found["difference"]))
        name = num = ""
    bits = task["right_bpb"]
    yield _texted(
        "", "", "bits per byte, right answer", _bits(bits["value"]), "", "", "", _more_bits(bits["difference"])
    )


def _texts(record: Mapping[str, Any]) -> Table:
    table = Table(box=box.HORIZONTALS)
    table.add_column("text")
    for column in ("documents", "bytes", "bits per byte", *(["difference"] if record["against"] else [])):
        table.add_column(column, justify="right")
    for text in record["texts"]:
        sizes = f"{text['num_documents']:,}", f"{text['num_bytes']:,}"
        row = _texted(text["text"], *sizes, _bits(text["bpb"]["value"]), _more_bits(text["bpb"]["difference"]))
        table.add_row(*row if record["against"] else row[:-1])
    return table


def _harness(name: str, found: Mapping[str, Any]) -> Table:
    table = Table(title=f"{name}, by lm-evaluation-harness", title_justify="left", box=box.HORIZONTALS)
    for column in ("task", "items", "measure"):
        table.add_column(column)
    table.add_column("value", justify="right")
    table.add_column("standard error", justify="right")
    for task, result in found.items():
        measures = result["measures"]
        for key, value in measures.items():
            measure, _, chosen = key.partition(",")
            if not measure.endswith("_stderr"):
                error = measures.get(f"{measure}_stderr,{chosen}")
                spread = "" if error is None else f"{error:.4f}"
                table.add_row(*_texted(task, str(result["num_items"] or ""), measure, f"{value:.4f}", spread))
    return table


def _reading(record: Mapping[str, Any]) -> str:
    lines = ["Brackets are 95 % intervals; a number of questions in fewer articles or pairs counts those."]
    if record["tasks"]:
        lines.append("Per byte: log-likelihoods are divided by the bytes of their options.")
    if record["against"]:
        lines.append(f"Differences are {record['model']['name']} less {record['against']['name']}, on the same items.")
    return " ".join(lines)


def _percent(found: Mapping[str, Any]) -> str:
    return f"{found['estimate']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def _points(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['estimate']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"


def _bits(found: Mapping[str, Any]) -> str:
    return f"{found['estimate']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def _more_bits(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['estimate']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _texted(*cells: str) -> tuple[Text, ...]:
    """As they are: brackets are no markup."""
    return tuple(map(Text, cells))
