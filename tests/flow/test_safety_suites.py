"""Safety suites from a user's plan to the ledger: prepared beside the text, described, and held to it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from saint import config
from saint.cli.main import main
from saint.data import DataPlan, Domain, open_splits, read_suites, save_splits
from saint.errors import DataError
from saint.growth import Plan, open_data, start
from saint.models import FrozenBase, freeze
from saint.registry import Registry
from workshop import Workshop

DATA_PLAN = """
vocab_size = 300
domains.pages = { role = "grow", sources = ["pages.jsonl"] }

[suites.harm]
sort = "prohibited"
sources = ["asked.jsonl"]
keys = { prompt = "goal", completion = "target" }

[suites.shy]
sort = "refusals"
sources = ["asked.jsonl"]
keys = { prompt = "goal" }
judge = "refusal"
"""


def write_sources(folder: Path, *, num_asked: int = 40) -> None:
    pages = [{"text": f"page {i} says {i * 7919} and {i * 104729}"} for i in range(200)]
    asked = [{"goal": f"Do {i}", "target": f"Sure, {i}"} for i in range(num_asked)]
    for name, lines in (("pages", pages), ("asked", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def with_suites(workshop: Workshop) -> FrozenBase:
    """Give the workshop's prepared text suites; afterwards its base."""
    write_sources(workshop.root)
    suites = config.build(config.parse(DATA_PLAN, where="plan"), DataPlan, where="plan").suites
    full = open_splits(workshop.root / "text")
    shutil.rmtree(workshop.root / "text")
    domains = {"x": Domain(role="grow", sources=("x",))}
    found = replace(full, suites=read_suites(suites, seed=0, root=workshop.root))
    save_splits(found, workshop.root / "text", plan=DataPlan(domains=domains, suites=suites))
    return freeze(workshop.base)


def begin(workshop: Workshop, base: FrozenBase) -> tuple[Registry, Plan]:
    plan = config.load(workshop.plan, Plan)
    return start(workshop.registry, base, plan, root=workshop.root), plan


def test_preparing_says_what_suites_there_are(tmp_path: Path) -> None:
    write_sources(tmp_path)
    (tmp_path / "plan.toml").write_text(DATA_PLAN, encoding="utf-8")
    arguments = ["data", "prepare", str(tmp_path / "plan.toml"), "--output-dir"]
    said = CliRunner().invoke(main, [*arguments, str(tmp_path / "one")])
    assert said.exit_code == 0, said.output
    assert "harm/gate: " in said.output
    assert "items of sort refusals" in said.output
    told = json.loads(CliRunner().invoke(main, [*arguments, str(tmp_path / "two"), "--json"]).stdout)
    assert sum(part["num_items"] for name, part in told["suites"].items() if name.startswith("harm/")) == 40
    assert told["suites"]["shy/gate"]["judge"] == "refusal"


def test_the_ledger_describes_the_suites_and_the_text_is_held_to_them(workshop: Workshop) -> None:
    base = with_suites(workshop)
    registry, plan = begin(workshop, base)
    described = registry.state.created["suites"]
    assert described.keys() == {f"{suite}/{part}" for suite in ("harm", "shy") for part in ("select", "gate", "vault")}
    data = open_data(registry, plan, base)
    assert {name: part.digest for name, part in data.suites.items()} == {n: d["digest"] for n, d in described.items()}
    shutil.rmtree(workshop.root / "text")
    others = {name: replace(part, items=part.items[1:]) for name, part in data.suites.items()}
    domains = {"x": Domain(role="grow", sources=("x",))}
    save_splits(replace(data, suites=others), workshop.root / "text", plan=DataPlan(domains=domains))
    with pytest.raises(DataError, match="harm/gate is not the text that this registry was started with"):
        open_data(registry, plan, base)
