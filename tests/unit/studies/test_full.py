"""Full models against grafted ones: what is refused, and what the numbers of a study that nobody ran come to."""

from math import log
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from saint import config
from saint.cli.main import main
from saint.data import Splits
from saint.errors import ConfigError, SiteError
from saint.report import full_figure_lines, full_figures, full_markdown, full_unmeasured, write_full
from saint.studies import FullFindings, FullOutcome, FullPlan, check_full, make_full_results
from saint.training import Schedule

LLAMA = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BASE = {"domain": "prose", "model": LLAMA, "schedule": {"num_steps": 4, "batch_size": 2, "seq_len": 16}}


def plan_of(**changed: Any) -> FullPlan:
    settings: dict[str, Any] = {
        "name": "made up",
        "equal_to": "block",
        "data": {"prepared": "text"},
        "arms": [
            {"name": "block", "kind": "block", "options": {"width": 2}},
            {"name": "lora", "kind": "lora", "options": {"rank": 2}, "control": True},
        ],
        "backbones": [{"name": "gpt", "base": BASE, "full": {"name": "full", "plan": BASE}}],
        "seeds": [0, 1],
        "schedule": {"num_steps": 4, "batch_size": 2, "seq_len": 16},
        **changed,
    }
    return config.build(settings, FullPlan, where="test")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"equal_to": "blocks"}, "equal_to is 'blocks', which is no arm; those are block, lora"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 1]}, "seeds has 1 twice"),
        ({"against": ["time", "time"]}, "against has 'time' twice"),
        ({"against": ["patience"]}, "patience"),
        ({"backbones": []}, "backbones is empty"),
        ({"data_plan": "text.toml"}, "data or data_plan"),
        ({"evaluation_seq_len": 0}, "evaluation_seq_len is 0"),
        ({"arms": [{"name": "block", "kind": "block", "options": {"widht": 2}}]}, "did you mean 'width'"),
        ({"arms": [{"name": "block", "kind": "block", "options": {"width": 2}, "stages": 3}]}, "do not divide"),
        ({"arms": [{"name": "block", "kind": "block", "options": {"width": 2}, "stages": 0}]}, "at least 1"),
        ({"arms": [{"name": "block"}]}, "needs lrs"),
        ({"arms": [{"name": "base", "lrs": [0.1]}], "equal_to": "base"}, "arms has 'base' twice"),
    ],
)
def test_a_plan_that_cannot_be_meant(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(**changed)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"backbones": [{"name": "gpt", "base": {**BASE, "domain": "code"}, "full": {"name": "f", "plan": BASE}}]},
            "'gpt' learns from the domain 'code'; all models of this study learn from 'prose'",
        ),
        (
            {"calibration": [{"name": "one", "plan": {**BASE, "domain": "code"}}]},
            "'one' learns from the domain 'code'",
        ),
        (
            {"arms": [{"name": "block", "kind": "lora", "options": {"rank": 2}, "roles": ["query"]}]},
            "arm 'block' finds no site on 'gpt'; the roles there are block, down",
        ),
        ({"arms": [{"name": "block", "kind": "lora", "options": {"rank": 99}}]}, "lower the rank"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    data: Splits, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises((ConfigError, SiteError)) as refused:
        check_full(plan_of(**changed), data)
    assert words in str(refused.value)


def test_a_plan_that_fits(data: Splits) -> None:
    check_full(plan_of(), data)
    tokens = plan_of().all_tokens(plan_of().backbones[0])
    assert tokens == 2 * Schedule(num_steps=4, batch_size=2, seq_len=16).num_tokens


def outcome(data: Splits, name: str, bits: list[float], *, sort: Any = "ours", **changed: Any) -> FullOutcome:
    """So many bits per byte on every document, one number for each seed."""

    def result(bpb: float) -> dict[str, Any]:
        return {
            "held_out": (bpb * log(2) * data.held_out.num_bytes_each).tolist(),
            "num_params": 1000,
            "total_params": 5000,
            "num_bytes": 4000,
            "train_tokens": 100,
            "train_s": 36.0,
            "measure_s": 4.0,
            "memory_bytes": 1 << 20,
            "flops_per_step": 10,
            "select_bpb": bpb,
            "curve": [[[40, bpb + 0.5], [80, bpb + 0.25], [100, bpb]]],
            "recomposition": None if sort == "base" else 1e-7 * bpb,
            **changed.get("result", {}),
        }

    results = {seed: result(bpb) for seed, bpb in enumerate(bits)}
    equal = changed.get("equal", "")
    return FullOutcome(backbone="gpt", name=name, sort=sort, equal=equal, lr=0.1, results=results)


def made_up(data: Splits, *more: FullOutcome) -> FullFindings:
    base = outcome(data, "base", [4.0, 4.2], sort="base")
    return FullFindings(data=data, outcomes=[base, *more], num_known=0)


def record_of(plan: FullPlan, found: FullFindings) -> dict[str, Any]:
    from saint import records

    return {
        "name": plan.name,
        "command": "saint study full-vs-grafted",
        "plan": records.to_plain(plan),
        "plan_digest": "0" * 64,
        "code": "1" * 64,
        "versions": {"python": "3"},
        "machine": {"processor": "x", "num_cores": 2, "num_workers": 1},
        "data": found.data.describe(),
        "grown_domain": found.data.grown_domain,
        "sessions": [{"wall_s": 30.0, "num_workers": 1}, {"wall_s": 12.0, "num_workers": 2}],
        **make_full_results(plan, found),
    }


def test_gains_are_nats_per_token_against_the_base_of_the_same_seed(data: Splits) -> None:
    grafted = outcome(data, "block", [3.9, 4.1])
    larger = outcome(data, "full", [3.5, 3.7], sort="full", equal="tokens")
    base, block, full = make_full_results(plan_of(), made_up(data, grafted, larger))["rows"]
    held_out = data.held_out
    predicted = held_out.num_tokens - held_out.num_documents
    per_token = log(2) * held_out.num_bytes / predicted
    assert base["gain_nats"] is None
    assert base["loss"] == pytest.approx(4.1 * per_token)
    assert base["bpb"] == pytest.approx(4.1)
    assert base["plateau_bpb"] == pytest.approx(0.25), "from four fifths of the tokens on"
    assert block["gain_nats"]["estimate"] == pytest.approx(0.1 * per_token)
    assert block["difference_nats"] is None
    assert full["difference_nats"]["estimate"] == pytest.approx(0.4 * per_token)
    assert block["all_tokens"] == 200
    assert full["all_tokens"] == 100
    assert block["all_seconds"] == 72
    assert block["tokens_per_s"] == pytest.approx(100 / 36)
    assert block["recomposition"] == pytest.approx(4.1e-7)
    gain = block["gain_nats"]["estimate"]
    per = {"million_parameters": gain * 1000, "megabyte": gain * 250, "hour": gain * 100}
    assert block["gain_per"] == pytest.approx(per)


def test_figures_are_of_the_arm_that_is_best_on_select(data: Splits, tmp_path: Path) -> None:
    targets = {"gain_nats": 0.01, "held_out_tokens": 1, "graft_seconds": 10, "seconds": 42}
    plan = plan_of(targets=targets)
    control = outcome(data, "lora", [3.0, 3.2], sort="control")
    found = made_up(data, outcome(data, "block", [3.9, 4.1]), control)
    record = record_of(plan, found)
    assert [(figure.name, figure.ok) for figure in full_figures(record)] == [
        ("gain_nats", True),
        ("held_out_tokens", True),
        ("graft_seconds", False),
        ("seconds", True),
    ]
    assert full_figures(record)[2].value == 40, "training and measuring"
    assert "  block, +" in full_figure_lines(record)[-1]
    write_full(record, tmp_path)
    assert (tmp_path / "gains.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == full_markdown(record)


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ([3.5, 3.7], "the larger model predicts better than the grafted base"),
        ([4.5, 4.7], "the grafted base predicts better than the larger model"),
        ([3.5, 4.5], "the larger model and the grafted base cannot be told apart"),
    ],
)
def test_whether_growing_paid_is_said(data: Splits, bits: list[float], said: str) -> None:
    larger = outcome(data, "wider", bits, sort="full", equal="tokens")
    record = record_of(plan_of(), made_up(data, outcome(data, "block", [3.9, 4.1]), larger))
    assert f"- gpt, equal tokens (wider): {said}, " in full_markdown(record)


def test_what_failed_is_said_and_is_no_figure(data: Splits) -> None:
    plan = plan_of(targets={"gain_nats": 0.01})
    failed = FullOutcome(backbone="gpt", name="block", sort="ours", results={0: {"failure": "it blew up"}})
    nothing = FullOutcome(backbone="gpt", name="nothing fits", sort="full", equal="memory")
    record = record_of(plan, made_up(data, failed, nothing))
    assert [row["status"] for row in record["rows"]] == ["measured", "diverged", "nothing fits"]
    assert full_figures(record) == []
    assert full_unmeasured(record) == [
        "gain_nats was not measured: no arm of ours on the first backbone was trained to the end"
    ]
    assert "- gpt block, seed 0, failed: it blew up" in full_markdown(record)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.toml"], ["neither a file nor a recipe", "full-vs-grafted-quick.toml"]),
        (["full-vs-grafted.toml", "--quick"], ["either a PLAN or --quick"]),
        (["--source", "text", "--data", "text"], ["either --source or --data"]),
        (["--quick", "--data", "nowhere"], ["is not prepared data"]),
        (["--quick", "--source", "nowhere"], ["nowhere", "no such file"]),
        (["--quick", "--set", "equal_to=blocks"], ["equal_to is 'blocks'"]),
    ],
)
def test_a_command_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(main, ["study", "full-vs-grafted", *arguments])
    assert refused.exit_code == 2, (refused.output, refused.exception)
    for word in words:
        assert word in refused.stderr.strip().splitlines()[-1]
