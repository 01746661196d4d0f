"""Models from nothing side by side: what is refused, and what claims come to on numbers that nobody measured."""

from math import log
from pathlib import Path
from typing import Any

import pytest

from saint import config, records
from saint.data import Splits
from saint.errors import ConfigError
from saint.report import claim_figures, claim_lines, claims_unmeasured, ways_markdown, write_ways
from saint.studies import WaysFindings, WaysOutcome, WaysPlan, check_ways, make_ways_results

LLAMA = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BASE = {"domain": "prose", "model": LLAMA, "schedule": {"num_steps": 4, "batch_size": 2, "seq_len": 16}}


def plan_of(**changed: Any) -> WaysPlan:
    settings: dict[str, Any] = {
        "name": "made up",
        "data": {"prepared": "text"},
        "base": BASE,
        "ways": [{"name": "one"}, {"name": "two", "model": {"num_hidden_layers": 1}, "num_steps": 8}],
        "seeds": [0, 1],
        **changed,
    }
    return config.build(settings, WaysPlan, where="test")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ways": []}, "ways and seeds must not be empty"),
        ({"ways": [{"name": "one"}, {"name": "one"}]}, "ways has 'one' twice"),
        ({"data_plan": "text.toml"}, "data or data_plan"),
        ({"evaluation_seq_len": 0}, "evaluation_seq_len is 0"),
        ({"claims": [{"name": "c", "better": "one", "than": "three", "by": 0}]}, "is about three"),
        ({"least_stage_of": "one"}, "no way that grows"),
        ({"ways": [{"name": "one", "grown": {"stages": 1}}]}, "growth takes at least 2"),
        ({"ways": [{"name": "one", "grown": {"least": 0}}]}, "least is 0"),
        ({"ways": [{"name": "one", "grown": {}, "stacked": 3}]}, "no `grown` beside it"),
        ({"claims": [{"name": "c", "better": "one", "than": "two"}]}, "exactly one of by, worse_by and alike"),
        ({"claims": [{"name": "c", "better": "one", "than": "two", "by": 0, "alike": 1}]}, "exactly one"),
    ],
)
def test_a_plan_that_cannot_be_meant(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(**changed)
    assert words in str(refused.value)


def test_a_way_changes_what_it_names_and_nothing_else() -> None:
    plan = plan_of()
    one, two = (way.of(plan.base) for way in plan.ways)
    assert one == plan.base
    assert two.model == {**LLAMA, "num_hidden_layers": 1}
    assert (two.schedule.num_steps, one.schedule.num_steps) == (8, 4)


def test_what_does_not_fit_is_refused_before_anything_is_trained(data: Splits) -> None:
    check_ways(plan_of(), data)
    with pytest.raises(ConfigError, match="learns from the domain 'code'"):
        check_ways(plan_of(base={**BASE, "domain": "code"}), data)
    for way in ({"grown": {"stages": 3}}, {"stacked": 3}):
        with pytest.raises(ConfigError, match=r"into 3 parts, and model\.num_hidden_layers is 2; give a multiple of 3"):
            check_ways(plan_of(ways=[{"name": "one", **way}]), data)
    blocks = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
    with pytest.raises(ConfigError, match="num_hidden_layers is not given"):
        check_ways(plan_of(base={**BASE, "model": blocks}, ways=[{"name": "one", "stacked": 2}]), data)
    with pytest.raises(ConfigError, match="has no setting 'layers'"):
        check_ways(plan_of(ways=[{"name": "one", "model": {"layers": 3}}]), data)


def outcome(data: Splits, name: str, losses: list[float], *, noise: float = 0.0) -> WaysOutcome:
    """So many nats per byte, one number for each seed; every second document has `noise` more, the others less."""
    sizes = data.held_out.num_bytes_each
    signs = [(-1) ** place for place in range(len(sizes))]
    results = {
        seed: {
            "held_out": [(loss + sign * noise) * size for sign, size in zip(signs, sizes.tolist(), strict=True)],
            "select_bpb": loss / log(2),
            "curve": [[10, loss]],
            "active_params": 10,
            "total_params": 20,
            "train_tokens": 30,
            "train_s": 1.0,
            "flops": 10,
        }
        for seed, loss in enumerate(losses)
    }
    return WaysOutcome(name=name, lr=0.1, results=results)


def record_of(plan: WaysPlan, data: Splits, *outcomes: WaysOutcome) -> dict[str, Any]:
    found = WaysFindings(data=data, outcomes=list(outcomes), num_known=0)
    return {
        "name": plan.name,
        "command": "saint study interface",
        "plan": records.to_plain(plan),
        "plan_digest": "0" * 64,
        "code": "1" * 64,
        "versions": {"python": "3"},
        "machine": {"processor": "x", "num_cores": 2, "num_workers": 1},
        "data": data.describe(),
        "grown_domain": data.grown_domain,
        "sessions": [{"wall_s": 30.0, "num_workers": 1}, {"wall_s": 12.0, "num_workers": 2}],
        **make_ways_results(plan, found),
    }


@pytest.mark.parametrize(
    ("claim", "losses", "holds", "value"),
    [
        ({"by": 0.1}, [2.0, 2.2], "yes", 0.2),
        ({"by": 0.2 + 1e-6}, [2.0, 2.2], "no", 0.2),
        ({"worse_by": 0.05}, [2.1, 2.0], "yes", 0.05),
        ({"worse_by": 0.04}, [2.1, 2.0], "no", 0.05),
        ({"worse_by": 0.0}, [1.9, 2.0], "yes", -0.05),
        ({"alike": 0.06}, [1.9, 2.0], "yes", 0.05),
        ({"alike": 0.04}, [1.9, 2.0], "no", 0.05),
        ({"alike": 0.04}, [2.1, 2.0], "no", 0.05),
    ],
)
def test_a_claim_is_held_against_the_interval(
    data: Splits, claim: dict[str, float], losses: list[float], holds: str, value: float
) -> None:
    plan = plan_of(claims=[{"name": "c", "better": "one", "than": "two", **claim}])
    one, two = (outcome(data, name, [loss, loss + 0.1]) for name, loss in zip(("one", "two"), losses, strict=True))
    [found] = record_of(plan, data, one, two)["claims"]
    share = 1 if "by" in claim else losses[1] / (losses[1] + 0.05)  # of the mean over the seeds
    assert found["holds"] == holds
    assert found["value"] == pytest.approx(value * share)
    assert found["saved"]["estimate"] == pytest.approx(losses[1] - losses[0])


@pytest.mark.parametrize("claim", [{"by": 0.2}, {"worse_by": 0.0}, {"alike": 0.1}])
def test_a_claim_that_only_a_part_of_the_interval_speaks_for_is_open(data: Splits, claim: dict[str, float]) -> None:
    plan = plan_of(claims=[{"name": "c", "better": "one", "than": "two", **claim}])
    one = outcome(data, "one", [2.0 if "by" in claim else 2.2] * 2, noise=1.5)
    [found] = record_of(plan, data, one, outcome(data, "two", [2.2] * 2))["claims"]
    assert found["saved"]["low"] < found["saved"]["estimate"] < found["saved"]["high"]
    assert found["holds"] == "open"


def test_every_stage_has_to_be_worth_something(data: Splits) -> None:
    grown = {"ways": [{"name": "one", "grown": {}}, {"name": "two"}], "least_stage_of": "one"}
    sizes = data.held_out.num_bytes_each.tolist()

    def after(*losses: float) -> dict[str, Any]:
        way = outcome(data, "one", [losses[-1]] * 2)
        for result in way.results.values():
            result["stages"] = [{"held_out": [loss * size for size in sizes]} for loss in losses]
        return record_of(plan_of(**grown), data, way, outcome(data, "two", [2.0] * 2))

    better, worse = after(2.5, 2.2, 2.1), after(2.5, 2.2, 2.3)
    assert better["rows"][0]["stages"] == pytest.approx([2.5, 2.2, 2.1])
    assert [one["claims"][0]["holds"] for one in (better, worse)] == ["yes", "no"]
    assert [one["claims"][0]["value"] for one in (better, worse)] == pytest.approx([0.1, -0.1])
    assert "2.500, 2.200, 2.100" in ways_markdown(better)


def test_a_way_that_did_not_learn_is_said_and_its_claims_are_not_measured(data: Splits, tmp_path: Path) -> None:
    claims = [{"name": "c", "better": "one", "than": "two", "by": 0.1}]
    plan = plan_of(claims=claims, seconds=42)
    failed = WaysOutcome(name="two", lr=0.1, results={0: {"failure": "not a number after 3 steps"}})
    record = record_of(plan, data, outcome(data, "one", [2.0, 2.0]), failed)
    assert [str(figure) for figure in claim_figures(record)] == ["FIGURE seconds 42 <=42 ok"]
    assert claims_unmeasured(record) == ["c was not measured: one or two did not learn"]
    assert "two failed: not a number after 3 steps" in ways_markdown(record)
    write_ways(record, tmp_path)
    assert not (tmp_path / "claims.svg").exists()
    assert "did not learn" in (tmp_path / "table.md").read_text()


def test_figures_are_the_claims(data: Splits, tmp_path: Path) -> None:
    claims = [{"name": "gain_nats", "better": "one", "than": "two", "by": 0.1}]
    claims += [{"name": "as_good", "better": "two", "than": "one", "worse_by": 0.05}]
    record = record_of(
        plan_of(claims=claims), data, *(outcome(data, name, [loss] * 2) for name, loss in (("one", 2.0), ("two", 2.2)))
    )
    lines = claim_lines(record)
    assert [line.split()[1:2] + line.split()[-2:] for line in lines] == [
        ["gain_nats", ">=0.1", "ok"],
        ["as_good", "<=0.05", "short"],
    ]
    write_ways(record, tmp_path)
    assert "one against two" in (tmp_path / "claims.svg").read_text()
    assert all(line in (tmp_path / "table.md").read_text() for line in lines)
