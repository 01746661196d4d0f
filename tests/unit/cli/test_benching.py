"""`saint bench cost`: the model beside what is counted, on the demo's base."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from saint.cli.main import main


def test_every_count_is_what_the_model_says() -> None:
    done = CliRunner().invoke(main, ["bench", "cost", "--json"], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert len(told["per_token"]) == 5
    assert {row["ratio"] for row in told["per_token"]} == {1.0}
    over_bound = [row["over_bound"] for row in told["round"]]
    assert over_bound == sorted(over_bound, reverse=True)
    assert over_bound[-1] == 1.0
    assert told["round"][-1]["flops"] == told["bound"]


@pytest.mark.slow
def test_the_table_names_each_sort_of_work() -> None:
    done = CliRunner().invoke(main, ["bench", "cost", "--rank", "2", "--candidates", "12"], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    for what in ("dense training step", "step with hooks", "step with cached prefix", "sensitivity pass", "evaluation"):
        assert what in done.output
    assert "A round of 12 candidates" in done.output


def test_a_base_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["bench", "cost", str(tmp_path / "nowhere")])

    assert done.exit_code != 0
    assert "is not a folder" in done.stderr
    assert "Traceback" not in done.stderr
