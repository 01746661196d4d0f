"""Where a measure lies to chance is said by its interval; tables show names of anybody's as they are."""

from typing import Any

import pytest
from rich.console import Console

from saint.report import against_chance, measured_parts


def interval(estimate: float, low: float, high: float) -> dict[str, float]:
    return {"estimate": estimate, "low": low, "high": high}


@pytest.mark.parametrize(
    ("measure", "level", "said"),
    [
        (interval(0.30, 0.26, 0.34), 0.25, "above"),
        (interval(0.30, 0.24, 0.36), 0.25, "at chance"),
        (interval(0.20, 0.16, 0.24), 0.25, "below"),
        (interval(0.20, 0.16, 0.25), 0.25, "at chance"),
        (interval(0.20, 0.16, 0.24), None, ""),
    ],
)
def test_an_interval_lies_above_below_or_at_chance(measure: dict[str, float], level: float | None, said: str) -> None:
    assert against_chance(measure, level) == said


def record(*, against: bool) -> dict[str, Any]:
    def measure(estimate: float) -> dict[str, Any]:
        apart = interval(-0.02, -0.03, -0.01) if against else None
        return {"value": interval(estimate, estimate - 0.01, estimate + 0.01), "difference": apart}

    return {
        "model": {"name": "[bold]grown"},
        "against": {"name": "base"} if against else None,
        "tasks": [
            {
                "task": "boolq",
                "num_questions": 100,
                "num_available": 3270,
                "num_clusters": 90,
                "chance": 0.5,
                "constant": 0.62,
                "measures": {"accuracy": measure(0.6)},
                "right_bpb": measure(1.5),
            },
            {
                "task": "squad",
                "num_questions": 10,
                "num_available": 10,
                "num_clusters": 10,
                "chance": None,
                "constant": None,
                "measures": {"f1": measure(0.2)},
                "right_bpb": measure(1.5),
            },
        ],
        "texts": [{"text": "wiki", "num_documents": 7, "num_bytes": 9000, "bpb": measure(1.25)}],
        "harness": {"base": {"arc": {"num_items": 5, "measures": {"acc,none": 0.5, "acc_stderr,none": 0.1}}}},
    }


def shown(found: dict[str, Any]) -> str:
    console = Console(width=200, record=True)
    with console.capture() as captured:
        for part in measured_parts(found):
            console.print(part)
    return captured.get()


def test_the_table_has_value_chance_and_what_a_constant_answer_gets() -> None:
    lines = shown(record(against=False)).splitlines()
    assert lines[0] == "[bold]grown"
    [row] = [line.split() for line in lines if "boolq" in line]
    assert row == [
        "boolq",
        "100",
        "of",
        "3,270",
        "in",
        "90",
        "accuracy",
        "60.0%",
        "[59.0%,",
        "61.0%]",
        "50.0%",
        "above",
        "62.0%",
    ]
    [row] = [line.split() for line in lines if "squad" in line]
    assert row == ["squad", "10", "F1", "20.0%", "[19.0%,", "21.0%]", "none"]
    [row] = [line.split() for line in lines if "wiki" in line]
    assert row == ["wiki", "7", "9,000", "1.2500", "[1.2400,", "1.2600]"]
    [row] = [line.split() for line in lines if line.lstrip().startswith("arc")]
    assert row == ["arc", "5", "acc", "0.5000", "0.1000"]
    assert "difference" not in "\n".join(lines)


def test_differences_stand_beside_where_there_is_another_model() -> None:
    page = shown(record(against=True))
    assert "[bold]grown against base" in page
    assert page.count("-2.0% [-3.0%, -1.0%]") == 2
    assert page.count("-0.0200 [-0.0300, -0.0100]") == 3
    assert "Differences are [bold]grown less base" in page
