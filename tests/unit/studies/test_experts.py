"""Composed experts: what is refused, what is trained on what, and what the numbers come to."""

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from saint import config
from saint.cli.main import main
from saint.data import DataPlan, Domain, Splits, save_splits, split_documents
from saint.data._documents import Document
from saint.errors import ConfigError, DataError
from saint.report import experts_figure_lines, experts_figures, experts_markdown, experts_unmeasured, write_experts
from saint.studies import (
    CompositionPlan,
    ExpertsBench,
    ExpertsFindings,
    ExpertsOutcome,
    check_composition,
    make_composition_results,
)
from saint.studies._experts_bench import JOINT, Composing, Learning
from saint.studies._experts_study import study_composition

LAYERED = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
STEPS = {"num_steps": 6, "batch_size": 2, "seq_len": 16, "evaluate_every": 3}
LETTERS = {"one": "abcdefgh ", "two": "stuvwxyz ", "new": "abcdwxyz "}
SHARES = {
    "retain": {"train": 0.4, "select": 0.2, "retain": 0.2, "vault": 0.2},
    "safety": {"select": 0.2, "safety": 0.6, "vault": 0.2},
}


def plan_of(**changed: Any) -> CompositionPlan:
    settings: dict[str, Any] = {
        "name": "made up",
        "data": {"prepared": "text"},
        "groups": [
            {"name": "shared", "model": LAYERED, "joint": True},
            {"name": "own", "model": {**LAYERED, "interface": "learned"}, "ways": ["posterior"]},
            {"name": "chance", "model": LAYERED, "apart": "chance", "ways": ["posterior"]},
        ],
        "seeds": [0, 1],
        "schedule": STEPS,
        "gate": {"schedule": STEPS},
        "evaluation_seq_len": 16,
        **changed,
    }
    return config.build(settings, CompositionPlan, where="test")


@pytest.fixture(scope="module")
def text() -> Splits:
    """Two domains that are as different as can be, and one that mixes them."""
    random = np.random.default_rng(0)
    documents = {
        name: {"": [Document("".join(random.choice(list(letters), 150)), f"{name} {n}") for n in range(60)]}
        for name, letters in LETTERS.items()
    }
    roles: dict[str, Any] = {name: "safety" if name == "new" else "retain" for name in LETTERS}
    domains = {name: Domain(role=role, sources=("made up",), shares=SHARES[role]) for name, role in roles.items()}
    return split_documents(documents, domains, seed=0, vocab_size=257)


@pytest.fixture(scope="module")
def folder(text: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study") / "text"
    save_splits(text, place, plan=DataPlan(domains={"one": Domain(role="retain", sources=("made up",))}))
    return place


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"groups": []}, "groups and seeds must not be empty"),
        ({"seeds": [1, 1]}, "seeds are 1, 1; give each once"),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, "groups are a, a"),
        ({"groups": [{"name": "a", "ways": ["posterior", "posterior"]}]}, "ways holds 'posterior'"),
        ({"groups": [{"name": "a", "ways": ["mean"]}]}, "mean"),
        ({"groups": [{"name": "a", "apart": "time"}]}, "time"),
        ({"data_plan": "text.toml"}, "data or data_plan"),
        ({"evaluation_seq_len": 0}, "evaluation_seq_len is 0"),
    ],
)
def test_a_plan_that_cannot_be_meant(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(**changed)
    assert words in str(refused.value)


def test_what_does_not_fit_is_refused_before_anything_is_trained(text: Splits) -> None:
    check_composition(plan_of(), text)
    alone = Splits(corpora=text.corpora, roles={"one": "retain", "new": "safety"}, tokenizer=text.tokenizer)
    with pytest.raises(DataError, match="at least 2 domains to learn from, got one"):
        check_composition(plan_of(), alone)
    with pytest.raises(ConfigError, match="seq_len is 128, the model reads at most 64"):
        check_composition(plan_of(schedule={"seq_len": 128}), text)
    with pytest.raises(ConfigError, match="no setting 'hiden_size'"):
        check_composition(plan_of(groups=[{"name": "a", "model": {"hiden_size": 8}}]), text)


def test_chance_cuts_all_text_into_parts(folder: Path, tmp_path: Path) -> None:
    bench = ExpertsBench(folder, tmp_path, plan_of())
    parts = bench.parts(bench.plan.groups[2])
    texts = [set(bench.text(part, "train").documents) for part in parts]
    assert parts == ["part 1", "part 2"]
    assert not texts[0] & texts[1]
    assert texts[0] | texts[1] == set(bench.text(JOINT, "train").documents)
    domains = [set(bench.text(domain, "train").documents) for domain in bench.domains]
    assert all(one & other for one in texts for other in domains)


def test_experts_start_apart_and_joint_models_have_all_their_tokens(folder: Path, tmp_path: Path) -> None:
    bench = ExpertsBench(folder, tmp_path, plan_of())
    plans = [bench.base_plan(Learning(group="shared", part=part, seed=0)) for part in ("one", "two", JOINT)]
    assert len({plan.seed for plan in plans}) == 3
    assert [plan.schedule.num_steps for plan in plans] == [6, 6, 12]


@pytest.mark.slow
def test_a_study_is_done_once_and_gate_and_interface_are_what_they_should_be(folder: Path, tmp_path: Path) -> None:
    """In this process: experts, then all compositions of them, then the same again from the disk."""
    bench = ExpertsBench(folder, tmp_path / "cells", plan_of(seeds=[0]))
    gated = Composing(group="shared", way="gate", seed=0)
    for part in bench.experts(gated):
        bench.do(part)
    found = {
        way: bench.do(Composing(group="shared", way=way, seed=0)) for way in ("posterior", "gate", "weight_average")
    }
    assert found["gate"]["train_tokens"] == 6 * 2 * 16
    assert found["posterior"]["train_tokens"] == 0
    saved = found["posterior"]["cost"]["apart_params"] - found["posterior"]["cost"]["held_params"]
    assert saved == 257 * 9  # one table of nine bits, instead of two
    for result in found.values():
        assert {name: len(nats) for name, nats in result["nats"].items()} == {
            name: text.num_documents for name, text in bench.judged.items()
        }
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").iterdir()}
    again = ExpertsBench(folder, tmp_path / "cells", plan_of(seeds=[0]))
    assert again.do(gated) == found["gate"]
    assert times == {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").iterdir()}
    other = ExpertsBench(folder, tmp_path / "cells", plan_of(seeds=[0], gate={"lr": 1.0, "schedule": STEPS}))
    assert other.result(gated) is None
    assert other.result(Composing(group="shared", way="posterior", seed=0)) == found["posterior"]


@pytest.mark.slow
def test_a_study_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    """Stops with 1 where a target is short, and finds everything done the second time."""
    group = "{ name = 'shared', ways = ['posterior'], model = { hidden_size = 32, num_hidden_layers = 1, "
    group += "num_attention_heads = 2, max_position_embeddings = 64 } }"
    plan = f"name = 'small'\ndata = {{ prepared = '{folder}' }}\nseeds = [0]\nevaluation_seq_len = 16\n"
    plan += f"groups = [{group}]\n[targets]\nposterior_saves_on_mix = 9.0\n"
    plan += "[schedule]\nnum_steps = 6\nbatch_size = 2\nseq_len = 16\nevaluate_every = 3\n"
    (tmp_path / "plan.toml").write_text(plan, encoding="utf-8")
    arguments = ["study", "composition", str(tmp_path / "plan.toml"), "--output-dir", str(tmp_path / "out")]
    for _ in range(2):
        done = CliRunner().invoke(main, [*arguments, "--workers", "1"])
        assert done.exit_code == 1, done.output
        assert "FIGURE posterior_saves_on_mix" in done.output
        assert "short" in done.output
    assert (tmp_path / "out" / "mix.svg").is_file()
    known = study_composition(
        config.load(tmp_path / "plan.toml", CompositionPlan), folder, tmp_path / "out" / "cells", num_workers=1
    )
    assert known.num_known == 3


def a_result(bench_text: dict[str, Any], per_byte: dict[str, float]) -> dict[str, Any]:
    """Nats of every document at so many per byte, a little more on every other one."""
    nats = {}
    for name, corpus in bench_text.items():
        wiggle = 1 + 0.01 * (-1.0) ** np.arange(corpus.num_documents)
        nats[name] = (per_byte[name] * wiggle * corpus.num_bytes_each).tolist()
    return {"nats": nats, "cost": {"held_params": 5}, "train_tokens": 100, "train_s": 1.0}


def findings(text: Splits, losses: dict[tuple[str, str, str], tuple[float, float, float]]) -> ExpertsFindings:
    judged = {"one": text.of("one", "retain"), "two": text.of("two", "retain"), "new": text.of("new", "safety")}
    outcomes = [
        ExpertsOutcome(
            group=group,
            name=name,
            sort=sort,  # type: ignore[arg-type]
            results={
                seed: a_result(judged, dict(zip(judged, (one + 0.001 * seed for one in each), strict=True)))
                for seed in (0, 1)
            },
        )
        for (group, name, sort), each in losses.items()
    ]
    return ExpertsFindings(data=text, domains=["one", "two"], judged=judged, outcomes=outcomes, num_known=0)


MADE_UP = {
    ("shared", "one", "part"): (1.0, 3.0, 2.0),
    ("shared", "two", "part"): (2.5, 1.0, 2.2),
    ("shared", "posterior", "mixture"): (1.01, 1.03, 1.9),
    ("shared", "logit_mean", "mixture"): (1.8, 2.0, 1.9),
    ("shared", "weight_average", "average"): (4.0, 4.0, 4.0),
    ("shared", "joint", "joint"): (0.9, 0.9, 1.5),
    ("own", "one", "part"): (1.0, 3.0, 2.0),
    ("own", "two", "part"): (3.0, 1.0, 2.0),
    ("own", "posterior", "mixture"): (1.2, 1.2, 1.9),
    ("chance", "part 1", "part"): (1.1, 1.1, 2.0),
    ("chance", "part 2", "part"): (1.2, 1.2, 2.0),
    ("chance", "posterior", "mixture"): (1.05, 1.05, 2.0),
}
TARGETS = {
    "posterior_saves_on_mix": 0.5,
    "logit_mean_saves_on_mix": 0.0,
    "posterior_loses_at_home": 0.02,
    "saves_with_own_embeddings": 0.5,
    "domains_beat_chance": 0.5,
    "average_loses_on_mix": 1.0,
    "joint_beats_posterior": 0.05,
}


def a_record(text: Splits, plan: CompositionPlan, found: ExpertsFindings) -> dict[str, Any]:
    return {
        "name": plan.name,
        "command": "saint study composition",
        "plan": config_plain(plan),
        "plan_digest": "0" * 64,
        "code": "1" * 64,
        "data": text.describe(),
        "versions": {"python": "3"},
        "machine": {"processor": "x", "num_cores": 2, "num_workers": 2},
        "sessions": [],
        **make_composition_results(plan, found),
    }


def config_plain(plan: CompositionPlan) -> Any:
    from saint import records

    return records.to_plain(plan)


def test_what_is_said_is_what_was_measured(text: Splits, tmp_path: Path) -> None:
    plan = plan_of(targets=TARGETS)
    record = a_record(text, plan, findings(text, MADE_UP))
    rows = {(row["group"], row["name"]): row for row in record["rows"]}
    assert rows["shared", "one"]["loss"] == pytest.approx(
        {"one": 1.0005, "two": 3.0005, "mix": 2.0005, "new": 2.0005}, abs=2e-3
    )
    figures = record["figures"]
    wanted = {
        "posterior_saves_on_mix": 1.75 - 1.02,  # the part on "two" is the better one on the mix
        "logit_mean_saves_on_mix": 1.75 - 1.9,
        "posterior_loses_at_home": 0.03,  # on "two"
        "saves_with_own_embeddings": 2.0 - 1.2,
        "domains_beat_chance": (1.75 - 1.02) - (1.1 - 1.05),
        "average_loses_on_mix": 4.0 - 1.75,
        "joint_beats_posterior": 1.02 - 0.9,
    }
    assert {name: figures[name]["estimate"] for name in wanted} == pytest.approx(wanted, abs=2e-3)
    assert figures["posterior_loses_at_home"]["of"] == "shared, two"
    assert figures["posterior_saves_on_mix"]["num_seeds"] == 2
    reached = {figure.name: figure.ok for figure in experts_figures(record)}
    assert reached == {name: name not in ("logit_mean_saves_on_mix", "posterior_loses_at_home") for name in TARGETS}
    assert experts_unmeasured(record) == []
    write_experts(record, tmp_path)
    table = experts_markdown(record)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == table
    assert (
        "shared: posterior against the better part: better on mix, worse on one, worse on two, better on new" in table
    )
    assert "shared: weight_average against the better part: worse on mix" in table


def test_what_diverged_is_said_and_not_counted(text: Splits) -> None:
    plan = plan_of(targets={"posterior_saves_on_mix": 0.5, "joint_beats_posterior": 0.0})
    found = findings(text, MADE_UP)
    posterior = next(one for one in found.outcomes if (one.group, one.name) == ("shared", "posterior"))
    assert isinstance(posterior.results, dict)
    posterior.results[1] = {"failure": "the loss stopped being a number"}
    record = a_record(text, plan, found)
    assert len(experts_unmeasured(record)) == 2
    assert any("posterior, seed 1, failed: the loss" in line for line in experts_markdown(record).splitlines())
    assert all("was not measured" in line for line in experts_figure_lines(record))


def test_every_domain_of_the_mix_counts_the_same(text: Splits) -> None:
    """Whatever their sizes: "two" is cut to a few documents."""
    found = findings(text, MADE_UP)
    judged = {**found.judged, "two": found.judged["two"].take(np.arange(2))}
    results = {0: a_result(judged, {"one": 1.0, "two": 3.0, "new": 2.0})}
    small = ExpertsFindings(
        data=text,
        domains=["one", "two"],
        judged=judged,
        outcomes=[ExpertsOutcome(group="shared", name="one", sort="part", results=results)],
        num_known=0,
    )
    [row] = make_composition_results(plan_of(), small)["rows"]
    assert row["loss"]["mix"] == pytest.approx((row["loss"]["one"] + row["loss"]["two"]) / 2, rel=1e-5)
    assert row["loss"]["one"] / log(2) > 1.4
