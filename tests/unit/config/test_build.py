"""A plan that cannot be meant is refused in one line that says what was expected, what came and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from saint import config
from saint.errors import ConfigError


class Season(StrEnum):
    SPRING = "spring"
    AUTUMN = "autumn"


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    num_steps: int = 200
    lr: float = 0.01
    shuffle: bool = True
    decay: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps is {self.num_steps}; it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    name: str
    schedule: Schedule = field(default_factory=Schedule)
    retries: tuple[Schedule, ...] = ()
    roles: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    patience: int | None = None
    season: Season = Season.SPRING
    curve: tuple[tuple[int, float], ...] = ()


def read(text: str, *overrides: str) -> Recipe:
    return config.build(config.parse(text, where="plan.toml", overrides=overrides), Recipe, where="plan.toml")


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(text, *overrides)
    assert refused.value.exit_status == 2
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_a_plan_becomes_frozen_typed_data() -> None:
    plan = read("""
        name = "meadow"
        roles = ["up", "down"]
        limits = { code = 0.5 }
        options = { rank = 4, alpha = 0.5, basis = "random" }
        season = "autumn"
        [schedule]
        num_steps = 10
        decay = "linear"
        [[retries]]
        lr = 0.1
    """)
    assert plan == Recipe(
        name="meadow",
        roles=("up", "down"),
        limits={"code": 0.5},
        options={"rank": 4, "alpha": 0.5, "basis": "random"},
        season=Season.AUTUMN,
        schedule=Schedule(num_steps=10, decay="linear"),
        retries=(Schedule(lr=0.1),),
    )
    assert isinstance(plan.season, Season)


@pytest.mark.parametrize(
    ("text", "place", "near"),
    [
        ('name = "m"\nseasn = "spring"', "plan.toml: Recipe", "season"),
        ('name = "m"\n[schedule]\nnum_stpes = 3', "plan.toml: schedule: Schedule", "num_steps"),
        ('name = "m"\n[[retries]]\n[[retries]]\nsuffle = true', "plan.toml: retries[1]: Schedule", "shuffle"),
    ],
)
def test_a_misspelt_key_names_its_neighbour(text: str, place: str, near: str) -> None:
    message = refusal(text)
    assert message.startswith(place)
    assert f"did you mean {near!r}?" in message


def test_a_key_like_no_other_lists_the_keys() -> None:
    message = refusal('name = "m"\n[schedule]\nzzz = 3')
    assert "'zzz'" in message
    assert "the keys are num_steps, lr, shuffle, decay" in message


def test_a_missing_key_is_named() -> None:
    assert "needs the key 'name'" in refusal("[schedule]\nnum_steps = 3")


@pytest.mark.parametrize(
    ("line", "place", "expected", "came"),
    [
        ('schedule.lr = "fast"', "schedule: lr", "a number", "'fast' (str)"),
        ("schedule.num_steps = 2.5", "schedule: num_steps", "a whole number", "2.5 (float)"),
        ("schedule.num_steps = true", "schedule: num_steps", "a whole number", "True (bool)"),
        ("schedule.lr = true", "schedule: lr", "a number", "True (bool)"),
        ("schedule.shuffle = 1", "schedule: shuffle", "true or false", "1 (int)"),
        ("name = 3", "name", "text", "3 (int)"),
        ('roles = "up"', "roles", "a list", "'up' (str)"),
        ("roles = [1]", "roles[0]", "text", "1 (int)"),
        ("limits = [0.5]", "limits", "a table", "[0.5] (list)"),
        ('limits = { code = "low" }', "limits.code", "a number", "'low' (str)"),
        ("schedule = 3", "schedule", "a table for Schedule", "3 (int)"),
        ("retries = [3]", "retries[0]", "a table for Schedule", "3 (int)"),
        ('schedule.decay = "square"', "schedule: decay", "'cosine' or 'linear'", "'square' (str)"),
        ("options = { rank = true }", "options.rank", "a whole number or a number or text", "True (bool)"),
        ("curve = [[1, 2.5], [2, true]]", "curve[1][1]", "a number", "True (bool)"),
        ('patience = "long"', "patience", "a whole number", "'long' (str)"),
        ('season = "winter"', "season", "Season", "'winter' (str)"),
    ],
)
def test_a_wrong_type_says_where_what_was_expected_and_what_came(
    line: str, place: str, expected: str, came: str
) -> None:
    named = "" if line.startswith("name") else 'name = "m"\n'
    message = refusal(named + line)
    assert message.startswith(f"plan.toml: {place}: expected {expected}")
    assert message.endswith(f"got {came}")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", f"{10**309}"])
def test_a_number_that_no_record_can_hold_is_refused(number: str) -> None:
    assert "schedule: lr: expected a finite number" in refusal(f'name = "m"\nschedule.lr = {number}')


def test_a_whole_number_that_readers_of_json_would_round_is_refused() -> None:
    assert read(f'name = "m"\nschedule.num_steps = {2**53 - 1}').schedule.num_steps == 2**53 - 1
    assert "2^53" in refusal(f'name = "m"\nschedule.num_steps = {2**53}')


def test_a_long_value_is_shown_in_short() -> None:
    assert len(refusal(f'name = "m"\nroles = "{"x" * 5000}"')) < 200


def test_a_whole_number_serves_where_a_number_is_asked() -> None:
    lr = read('name = "m"\nschedule.lr = 1').schedule.lr
    assert lr == 1.0
    assert isinstance(lr, float)


def test_the_members_of_a_pair_have_their_own_types() -> None:
    assert read('name = "m"\ncurve = [[1, 2], [3, 0.5]]').curve == ((1, 2.0), (3, 0.5))
    assert "curve[0]: expected 2 values, got 3" in refusal('name = "m"\ncurve = [[1, 2, 3]]')


def test_an_optional_value_may_be_given_or_left_out() -> None:
    assert read('name = "m"').patience is None
    assert read('name = "m"\npatience = 3').patience == 3


def test_what_the_plan_itself_refuses_says_where_it_stands() -> None:
    message = refusal('name = "m"\nschedule.num_steps = 0')
    assert message == "plan.toml: schedule: num_steps is 0; it must be at least 1"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("schedule.num_steps=7", Recipe(name="m", schedule=Schedule(num_steps=7, lr=0.5))),
        ("schedule.shuffle=false", Recipe(name="m", schedule=Schedule(lr=0.5, shuffle=False))),
        ("schedule.decay=linear", Recipe(name="m", schedule=Schedule(lr=0.5, decay="linear"))),
        ('name="two words"', Recipe(name="two words", schedule=Schedule(lr=0.5))),
        ("name=a=b", Recipe(name="a=b", schedule=Schedule(lr=0.5))),
        ('roles=["q", "k"]', Recipe(name="m", roles=("q", "k"), schedule=Schedule(lr=0.5))),
        ("limits.code=0.5", Recipe(name="m", limits={"code": 0.5}, schedule=Schedule(lr=0.5))),
    ],
)
def test_an_override_reaches_its_place_and_nothing_else(override: str, expected: Recipe) -> None:
    assert read('name = "m"\n[schedule]\nlr = 0.5', override) == expected


def test_the_last_override_wins() -> None:
    assert read('name = "m"', "name=first", "name=second").name == "second"


def test_an_override_is_checked_like_the_plan() -> None:
    assert "did you mean 'num_steps'?" in refusal('name = "m"', "schedule.num_stpes=7")
    assert "expected a whole number, got 'many' (str)" in refusal('name = "m"', "schedule.num_steps=many")


def test_an_override_without_a_value_shows_how_it_is_written() -> None:
    message = refusal('name = "m"', "schedule.num_steps")
    assert "--set 'schedule.num_steps'" in message
    assert "expected key=value" in message


def test_an_override_cannot_go_into_a_value() -> None:
    assert "'name' is a value, not a table" in refusal('name = "m"', "name.first=x")


def test_text_that_is_not_toml_is_refused_with_the_line() -> None:
    message = refusal('name = "m"\nroles = [')
    assert "plan.toml is not valid TOML" in message
    assert "line 2" in message or "end of document" in message


def test_a_plan_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('name = "größere Wiese"', encoding="utf-8")
    assert config.load(file, Recipe, overrides=["patience=2"]) == Recipe(name="größere Wiese", patience=2)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the path of a TOML file") as refused:
        config.load(tmp_path / "gone.toml", Recipe)
    assert "gone.toml" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_status == 2


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"weights\.bin cannot be read as a plan"):
        config.load(file, Recipe)
