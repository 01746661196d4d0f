"""What a user may get wrong in a study: one sentence and exit 2, before anything is trained."""

import pytest
from click.testing import CliRunner

from made_up_study import plan_of
from saint.cli.main import main
from saint.errors import ConfigError
from saint.models import FrozenBase
from saint.studies._study import candidates_of
from workshop import Workshop

PLAN = """
name = "tiny"
base = "base"
short = [1]

[data]
prepared = "text"

[schedule]
num_steps = 2
seq_len = 16
evaluate_every = 1

[[proposals]]
kind = "lora"
options = { rank = 2 }
bundle = "site"
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seeds": [0]}, "at least two"),
        ({"seeds": [0, 0]}, "at least two"),
        ({"proposals": []}, "proposals is empty"),
        ({"maps": ["gradiant"]}, "maps names 'gradiant'"),
        ({"maps": ["gradient", "gradient"]}, "name each once"),
        ({"short": [3]}, "multiples of schedule.evaluate_every (4)"),
        ({"short": [12]}, "below schedule.num_steps (12)"),
        ({"short": [4, 4]}, "each number of steps once"),
        ({"top": [0]}, "from 1 on"),
        ({"num_resamples": 0}, "num_resamples is 0"),
        ({"data_plan": "text.toml"}, "data or data_plan"),
    ],
)
def test_a_plan_that_cannot_be_meant(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match="test") as refused:
        plan_of(**changed)
    assert words in str(refused.value)


def test_too_few_candidates_to_rank(base: FrozenBase) -> None:
    plan = plan_of(proposals=[{"kind": "lora", "options": {"rank": 2}, "bundle": "all"}])
    with pytest.raises(ConfigError, match="make 1 candidates, and a ranking needs at least 3"):
        candidates_of(plan, base.sites())


def test_candidates_stand_in_the_order_of_the_sites(base: FrozenBase) -> None:
    keys = [site.key for site in base.sites() if site.sort == "linear"]
    assert [one.sites[0].key for one in candidates_of(plan_of(), base.sites())] == keys


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.toml"], ["neither a file nor a recipe", "study-sensitivity.toml"]),
        (["study.toml", "--base", "text"], ["text"]),
        (["study.toml", "--data", "nowhere"], ["is not prepared data"]),
        (["study.toml", "--set", "schedule.seq_len=500"], ["500", "64"]),
        (
            ["study.toml", "--set", "proposals=[{kind='lora', options={rank=1}, roles=['x'], bundle='site'}]"],
            ["'x'", "the roles are"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    (workshop.root / "study.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(workshop.root)
    refused = CliRunner().invoke(main, ["study", "sensitivity", *arguments])
    assert refused.exit_code == 2, (refused.output, refused.exception)
    said = refused.stderr.strip().splitlines()[-1]
    assert said.startswith("saint: ")
    for word in words:
        assert word in said


def test_results_of_another_plan_are_not_written_over(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop.root)
    (workshop.root / "study.toml").write_text(PLAN, encoding="utf-8")
    (workshop.root / "saint-study-tiny").mkdir()
    (workshop.root / "saint-study-tiny" / "results.json").write_text('{"plan_digest": "00", "name": "other"}')
    refused = CliRunner().invoke(main, ["study", "sensitivity", "study.toml"])
    assert refused.exit_code == 2
    assert "holds the results of another plan (other, 00)" in refused.stderr
