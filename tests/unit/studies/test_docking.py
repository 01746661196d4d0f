"""Modules moved to other backbones: what is refused, what backbones share, and what claims come to."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saint import config, records
from saint.composition import newborn
from saint.data import DataPlan, Domain, Splits, save_splits
from saint.errors import ConfigError, DataError, SiteError
from saint.grafts import NewLayer
from saint.models import freeze
from saint.report import claim_lines, claims_unmeasured, docking_markdown, write_docking
from saint.studies import DockingFindings, DockingOutcome, DockingPlan, check_docking, make_docking_results
from saint.studies._docking_bench import (
    Building,
    Docking,
    DockingBench,
    Job,
    candidate_of,
    shared_names,
    shuffled,
    sites_of,
)
from saint.testing import GraftSuite
from saint.training import untrained

MODEL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}
SCHEDULE = {"num_steps": 10, "batch_size": 2, "seq_len": 16, "evaluate_every": 5, "patience": 100}
BASE = {"architecture": "saint_layered", "domain": "code", "lr": 1e-2, "model": MODEL, "schedule": SCHEDULE}
HOME = {"name": "home"}
TOP = {"name": "top", "kind": "layer", "blocks": [-1]}


def plan_of(**changed: Any) -> DockingPlan:
    settings: dict[str, Any] = {
        "name": "made up",
        "data": {"prepared": "text"},
        "base": BASE,
        "backbones": [HOME, {"name": "other"}],
        "modules": [TOP],
        "schedule": SCHEDULE,
        "seeds": [0, 1],
        "evaluation_seq_len": 16,
        **changed,
    }
    return config.build(settings, DockingPlan, where="test")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"backbones": [HOME]}, "at least two backbones"),
        ({"backbones": [HOME, HOME]}, "backbones has 'home' twice"),
        ({"backbones": [{"name": "home", "stem": 1}, {"name": "other"}]}, "the plan's base as it is"),
        ({"backbones": [HOME, {"name": "other", "stem": -1}]}, "stem is -1"),
        ({"backbones": [HOME, {"name": "other", "stem": 1, "forced": True}]}, "leave out model and forced"),
        ({"modules": [{**TOP, "kind": "layers"}]}, "layers"),
        ({"modules": [{**TOP, "lr": 0.0}]}, "lr is 0"),
        ({"retraining": 0.01}, "at least one step"),
        ({"data_plan": "text.toml"}, "data or data_plan"),
        ({"claims": [{"name": "c", "better": "home: top, moved", "than": "home: alone"}]}, "no row of the study"),
    ],
)
def test_a_plan_that_cannot_be_meant(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_of(**changed)
    assert words in str(refused.value)


def test_what_does_not_fit_is_refused_before_anything_is_trained(data: Splits) -> None:
    permuted = {"name": "other", "model": {"interface_options": {"permutation_seed": 1}}}
    found = check_docking(plan_of(backbones=[HOME, {"name": "same"}, {**permuted, "forced": True}]), data)
    assert found["home"] == found["same"] != found["other"]
    with pytest.raises(SiteError, match=r"'other': .* has the frozen token interface .*say forced = true"):
        check_docking(plan_of(backbones=[HOME, permuted]), data)
    with pytest.raises(SiteError, match="has no frozen token interface"):
        check_docking(plan_of(backbones=[HOME, {"name": "other", "model": {"interface": "learned"}}]), data)
    with pytest.raises(ConfigError, match="has the interface of the first one"):
        check_docking(plan_of(backbones=[HOME, {"name": "other", "forced": True}]), data)
    with pytest.raises(ConfigError, match="leave at least one block above the stem"):
        check_docking(plan_of(backbones=[HOME, {"name": "other", "stem": 2}]), data)
    with pytest.raises(SiteError, match="'top' finds no site; there are 2 blocks"):
        check_docking(plan_of(modules=[{**TOP, "blocks": [2]}]), data)
    with pytest.raises(DataError, match="poems"):
        check_docking(plan_of(backbones=[HOME, {"name": "other", "domain": "poems"}]), data)


def test_what_backbones_share(data: Splits) -> None:
    model = untrained(plan_of().base, data.tokenizer)
    stem, head = shared_names(model, stem=1, head=False), shared_names(model, stem=0, head=True)
    assert stem == {name for name, _ in model.named_parameters() if ".layers.0." in name}
    assert head == {"model.norm.weight", "model.norm.bias", "lm_head.weight", "lm_head.bias"}
    assert shared_names(model, stem=1, head=True) == stem | head


def test_a_shuffled_module_has_the_same_numbers_in_each_tensor(data: Splits) -> None:
    plan = plan_of(modules=[TOP, {"name": "adapters", "kind": "block", "options": {"width": 3}}])
    base = freeze(untrained(plan.base, data.tokenizer), tokenizer=data.tokenizer)
    assert [len(sites_of(base.sites(), module)) for module in plan.modules] == [1, 2]
    for module in plan.modules:
        graft = GraftSuite().moved(newborn(base, candidate_of(base, module, seed=0)))
        mixed = shuffled(graft, base, seed=1)
        assert mixed.to_bytes() == shuffled(graft, base, seed=1).to_bytes() != graft.to_bytes()
        pairs = list(zip(graft.parameters(), mixed.parameters(), strict=True))
        for was, now in zip(graft.parts.values(), mixed.parts.values(), strict=True):
            before, after = was.growth(), now.growth()
            if isinstance(before, NewLayer) and isinstance(after, NewLayer):  # one tensor holds all of a layer's
                pairs += zip(before.weights.values(), after.weights.values(), strict=True)
        assert all(torch.equal(was.flatten().sort().values, now.flatten().sort().values) for was, now in pairs)


@pytest.mark.slow
def test_modules_are_moved_to_the_bit_and_shared_parts_stay_what_they_were(data: Splits, tmp_path: Path) -> None:
    save_splits(data, tmp_path / "text", plan=DataPlan(domains={"prose": Domain(role="grow", sources=("prose",))}))
    plan = plan_of(backbones=[HOME, {"name": "other"}, {"name": "stem", "stem": 1, "head": True}], seeds=[0])
    bench = DockingBench(tmp_path / "text", tmp_path / "cells", plan)

    def done(backbone: str, arm: Any = "") -> dict[str, Any]:
        job: Job = Building(backbone=backbone, seed=0)
        if arm:
            job = Docking(backbone=backbone, module="top", arm=arm, seed=0)
        assert bench.result(job) is None
        found = bench.do(job)
        assert bench.result(job) == found
        return found

    home, other, stem = (done(name) for name in ("home", "other", "stem"))
    assert len({tuple(one["held_out"]) for one in (home, other, stem)}) == 3
    weights = {
        name: dict(bench._model(Building(backbone=name, seed=0)).named_parameters())
        for name in ("home", "other", "stem")
    }
    shared = shared_names(bench._model(Building(backbone="home", seed=0)), stem=1, head=True)
    same = {name for name, one in weights["home"].items() if torch.equal(one, weights["stem"][name])}
    assert same == shared
    assert not any(torch.equal(one, weights["other"][name]) for name, one in weights["home"].items() if one.dim() > 1)

    assert done("home", "own")["held_out"] != home["held_out"]
    at_home = bench._weights(Docking(backbone="home", module="top", arm="own", seed=0))
    work = Docking(backbone="other", module="top", arm="moved", seed=0)
    base = bench._base(Building(backbone="other", seed=0))
    assert bench._moved(work, base).to_bytes() == at_home
    results = {arm: done("other", arm) for arm in ("own", "moved", "shuffled", "retrained", "as short")}
    tokens = {arm: one["train_tokens"] for arm, one in results.items()}
    assert tokens == {"own": 320, "moved": 0, "shuffled": 0, "retrained": 32, "as short": 32}
    assert len({tuple(one["held_out"]) for one in (other, *results.values())}) == 6
    base.check()


def outcome(data: Splits, backbone: str, loss: float, module: str = "", arm: str = "") -> DockingOutcome:
    """So many nats per byte, and 0.1 more with the second seed."""
    nats = {seed: [(loss + 0.1 * seed) * size for size in data.held_out.num_bytes_each.tolist()] for seed in (0, 1)}
    results = {seed: {"held_out": one, "train_tokens": 30, "train_s": 1.0} for seed, one in nats.items()}
    return DockingOutcome(backbone=backbone, module=module, arm=arm, results=results)


def record_of(plan: DockingPlan, data: Splits, *outcomes: DockingOutcome) -> dict[str, Any]:
    interfaces = {one.name: "a" * 64 for one in plan.backbones}
    found = DockingFindings(data=data, outcomes=list(outcomes), interfaces=interfaces, num_known=0)
    return {
        "name": plan.name,
        "command": "saint study docking",
        "plan": records.to_plain(plan),
        "plan_digest": "0" * 64,
        "code": "1" * 64,
        "versions": {"python": "3"},
        "machine": {"processor": "x", "num_cores": 2, "num_workers": 1},
        "data": data.describe(),
        "grown_domain": data.grown_domain,
        "sessions": [{"wall_s": 30.0, "num_workers": 1}],
        **make_docking_results(plan, found),
    }


def test_claims_are_about_gains_each_over_its_own_backbone(data: Splits, tmp_path: Path) -> None:
    own, moved = "other: top, own", "other: top, moved"
    claims: list[dict[str, Any]] = [
        {"name": "moved_is_worse_than_nothing", "better": "other: alone", "than": moved, "by": 0.49},
        {"name": "own_gains", "better": own, "than": "other: alone", "by": 0.29},
        {"name": "half_of_home", "better": own, "than": "home: top, own", "share": 0.5, "by": 0.09},
        {"name": "all_of_home", "better": own, "than": "home: top, own"},
        {"name": "shuffled", "better": moved, "than": "other: top, shuffled"},
    ]
    plan = plan_of(claims=claims, seconds=10)
    table = [
        outcome(data, "home", 2.0),
        outcome(data, "home", 1.6, "top", "own"),  # 0.4 gained
        outcome(data, "other", 3.0),
        outcome(data, "other", 2.7, "top", "own"),  # 0.3 gained
        outcome(data, "other", 3.5, "top", "moved"),
        DockingOutcome(backbone="other", module="top", arm="shuffled", results={0: {"failure": "not a number"}}),
    ]
    record = record_of(plan, data, *table)
    holds = {one["name"]: one["holds"] for one in record["claims"]}
    assert holds == {
        "moved_is_worse_than_nothing": "yes",
        "own_gains": "yes",
        "half_of_home": "yes",
        "all_of_home": "no",
        "shuffled": "not measured",
    }
    saved = {one["name"]: one["saved"]["estimate"] for one in record["claims"] if one["saved"]}
    assert saved["half_of_home"] == pytest.approx(0.1)
    assert saved["all_of_home"] == pytest.approx(-0.1)
    rows = {row["name"]: row for row in record["rows"]}
    assert rows[moved]["gain"]["estimate"] == pytest.approx(-0.5)
    assert rows[moved]["short_of_own"]["estimate"] == pytest.approx(0.8)
    assert rows[own]["short_of_own"] is None
    lines = claim_lines(record)
    assert lines[-2:] == [
        "FIGURE seconds 30 <=10 short",
        "shuffled was not measured: other: top, moved or other: top, shuffled did not learn",
    ]
    assert claims_unmeasured(record) == lines[-1:]
    page = docking_markdown(record)
    assert "top moved to other predicts worse than the backbone alone: it does not dock" in page
    assert "at least 50% of its gain and +0.09 nats per byte" in page
    write_docking(record, tmp_path)
    assert "other: top, moved" in (tmp_path / "gains.svg").read_text()
    assert (tmp_path / "table.md").read_text() == page
