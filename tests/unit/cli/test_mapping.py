"""`saint map`: scores of every site, their ranks within a role, and what they cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from saint import discovery
from saint.cli.main import main
from saint.registry import Registry
from workshop import Workshop, build_workshop


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A registry in which nothing stands yet."""
    workshop = build_workshop(tmp_path_factory.mktemp("map"))
    made = run("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan)
    assert made.exit_code == 0, made.output
    return workshop


def read(workshop: Workshop, *more: object) -> dict[str, Any]:
    result = run("map", workshop.registry, "--json", *more)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_all_maps_are_measured_and_nothing_is_recorded(started: Workshop) -> None:
    before = Registry.open(started.registry).ledger.events()
    found = read(started)
    assert list(found["maps"]) == discovery.names("sensitivity")
    assert found["num_tokens"] == 2 * 4 * 16  # the plan's batches, sequences and windows
    assert 0 < found["pass_flops"] < found["num_flops"]
    assert Registry.open(started.registry).ledger.events() == before


def test_ranks_are_within_a_role(started: Workshop) -> None:
    sites = read(started, "--method", "gate", "--method", "fisher")["sites"]
    for name in ("gate", "fisher"):
        for role in {site["role"] for site in sites}:
            ranked = sorted((s for s in sites if s["role"] == role), key=lambda s: s["ranks"][name])
            assert [site["ranks"][name] for site in ranked] == list(range(1, len(ranked) + 1))
            scores = [site["scores"][name] for site in ranked]
            assert scores == sorted(scores, reverse=True)


def test_top_keeps_the_best_of_each_role(started: Workshop) -> None:
    everything, best = read(started, "--method", "gate"), read(started, "--method", "gate", "--top", 1)
    assert [s for s in everything["sites"] if s["ranks"]["gate"] == 1] == best["sites"]


def test_the_tables_name_sites_maps_and_cost(started: Workshop) -> None:
    result = run("map", started.registry)
    assert result.exit_code == 0, result.output
    for name in [*discovery.names("sensitivity"), "model.layers.1.mlp.down_proj", "model.layers.0:block"]:
        assert name in result.stdout
    assert "128 tokens" in result.stdout
    assert "of training a LoRA at one site" in result.stdout.replace("\n", " ")


def test_sites_that_no_chosen_map_scores_are_left_out(started: Workshop) -> None:
    assert {site["role"] for site in read(started, "--method", "phi")["sites"]}.isdisjoint({"block", "mlp"})


def test_a_misspelt_map_is_named(started: Workshop) -> None:
    result = run("map", started.registry, "--method", "fischer")
    assert result.exit_code == 2
    assert "did you mean 'fisher'" in result.stderr


def test_a_folder_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    result = run("map", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("saint: ")
