"""The benchmarks run, at a size at which ratios mean nothing, and count what they say they count."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import warm
from benchmarks.registry.__main__ import GROUPS
from benchmarks.registry.flips import measure

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_groups_run_and_say_a_line_for_each_figure(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    groups = ("prefix", "evaluation")
    command = ["benchmarks.search", "--size", "tiny", "--repeats", "1", "--seeds", "1"]
    command += ["--work", str(tmp_path), "--json", str(told), *(part for group in groups for part in ("--only", group))]

    done = warm.run(*command, cwd=ROOT)

    assert done.returncode in (0, 1), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    record = json.loads(told.read_text())
    figures = {f["name"]: f for found in record["groups"].values() for f in found["figures"]}
    assert [line.split()[1] for line in lines] == list(figures)
    assert all(name.startswith("smoke_") for name in figures)
    assert done.returncode == (0 if all(figure["ok"] for figure in figures.values()) else 1)
    assert {figures[f"smoke_prefix_flops_off_{width}"]["value"] for width in ("d128", "d256", "d512")} == {0}
    assert figures["smoke_evaluation_readings"]["value"] == 1


@pytest.mark.slow
def test_what_is_planted_is_found(tmp_path: Path) -> None:
    command = ["benchmarks.gates", "--size", "smoke", "--work", str(tmp_path)]
    command += ["--only", "contamination", "--only", "attribution"]
    done = warm.run(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    assert len(lines) == 6
    assert "FIGURE smoke_attribution_harmful_named 2 >=2 ok" in lines


@pytest.mark.slow
def test_the_gates_are_simulated_and_say_a_line_for_each_figure(tmp_path: Path) -> None:
    groups = ("null", "early", "adaptive", "boosting", "power", "speed")
    command = ["benchmarks.gates", "--size", "smoke", "--work", str(tmp_path)]
    command += [part for group in groups for part in ("--only", group)]

    done = warm.run(*command, cwd=ROOT)

    assert done.returncode in (0, 1), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    assert done.returncode == (1 if any(line.endswith(" short") for line in lines) else 0)
    values = {name: float(value) for _, name, value, *_ in map(str.split, lines)}
    assert all(name.startswith("smoke_") for name in values)
    assert {name.split("_")[1] for name in values} == set(groups)
    assert values["smoke_adaptive_false_acceptances"] == values["smoke_boosting_false_acceptances"] == 0
    assert {file.name for file in tmp_path.iterdir()} == {f"{group}.md" for group in groups} | {"false-acceptances.svg"}
    assert "the gate" in (tmp_path / "false-acceptances.svg").read_text()


@pytest.mark.slow
def test_real_shams_are_not_accepted_and_every_decision_is_borne_out(tmp_path: Path) -> None:
    command = ["benchmarks.gates", "--only", "real", "--size", "smoke", "--work", str(tmp_path)]

    done = warm.run(*command, cwd=ROOT)

    assert done.returncode in (0, 1), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    assert done.returncode == (1 if any(line.endswith(" short") for line in lines) else 0)
    values = {name: float(value) for _, name, value, *_ in map(str.split, lines)}
    assert values["smoke_real_shams"] == 8
    assert values["smoke_real_sham_accepted"] == values["smoke_real_sham_accepted_in_use"] == 0
    assert values["smoke_real_helping_by_5_se"] == 2
    assert done.stdout.count("; 0 decisions come out otherwise when replayed") == 2
    assert "trained on prose" in (tmp_path / "real.md").read_text()


def test_hostile_files_are_answered_and_say_a_line_for_each_figure() -> None:
    command = [sys.executable, "-m", "benchmarks.registry.hostile_files", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # so few mutations are too few
    values = {name: float(value) for _, name, value, *_ in map(str.split, done.stdout.splitlines())}
    assert values["hostile_mutations_tried"] == 300
    assert values["hostile_files_peak_mb"] < 64
    wrong = ("files_wrongly_answered", "mutations_crashed", "mutations_read_otherwise")
    assert [values[f"hostile_{name}"] for name in wrong] == [0, 0, 0]


@pytest.mark.slow
def test_every_group_about_a_registry_is_run_and_flips_are_found(tmp_path: Path) -> None:
    groups = {file.stem for file in (ROOT / "benchmarks" / "registry").glob("*.py")} - {"__main__", "disks"}
    assert set(GROUPS) == groups
    figures = {figure.name: figure.value for figure in measure(tmp_path, every=50)}
    assert figures["flips_of_blob_tried"] == 200
    assert figures["flips_of_checkpoint_tried"] > 30
    assert {name for name, value in figures.items() if name.endswith("_missed") and value} == set()
    assert len(figures) == 10


@pytest.mark.slow
def test_the_drm_is_held_against_a_plain_gpt() -> None:
    command = ["benchmarks.drm", "--size", "tiny"]
    done = warm.run(*command, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    values = {n: float(v) for _, n, v, *_ in map(str.split, done.stdout.splitlines()[-7:])}
    assert all(name.startswith("smoke_drm_") for name in values)
    assert abs(values["smoke_drm_over_gpt_code_nats"]) < 1  # after two steps both know next to nothing
    assert done.stdout.count("  code, seed 0: DRM 5.") == 1
    assert values["smoke_drm_activations_over_gpt"] <= 1.5  # bytes that are counted, however few the tokens
    assert 0.1 < values["smoke_drm_1m_peak_gib"] < 2


@pytest.mark.slow
def test_a_stage_of_growth_by_layers_is_held_against_its_parts() -> None:
    command = ["benchmarks.layerwise", "--size", "tiny"]
    done = warm.run(*command, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr  # of blocks so small that all is overhead
    values = {n: float(v) for _, n, v, *_ in map(str.split, done.stdout.splitlines()[-2:])}
    assert set(values) == {"smoke_layerwise_stage_over_its_parts", "smoke_layerwise_stage_over_everything"}
    assert all(0 < value < 5 for value in values.values())


@pytest.mark.slow
def test_the_gpu_benchmark_says_that_there_is_no_gpu() -> None:
    command = ["benchmarks.gpu"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = warm.run(*command, cwd=ROOT, env=hidden)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "There is no GPU here, so nothing was measured; --size tiny runs on a CPU.\n"


@pytest.mark.slow
def test_the_gpu_benchmark_measures_both_families_and_the_published_smoke() -> None:
    command = ["benchmarks.gpu", "--size", "tiny"]
    done = warm.run(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("FIGURE ")]
    values = {name: float(value) for _, name, value, target, _ in lines if target == "-" or target.startswith("<=")}
    names = {
        f"smoke_gpu_{family}_1m_eager_{what}" for family in ("drm", "gpt") for what in ("tokens_per_s", "peak_gib")
    }
    assert names | {"smoke_gpu_drm_1m_eager_819200_tokens_s"} <= values.keys()
    assert all(value > 0 for value in values.values())


@pytest.mark.slow
def test_growth_with_workers_says_a_line_for_what_coordinating_costs(tmp_path: Path) -> None:
    done = warm.run("benchmarks.distributed", "--size", "tiny", "--only", "overhead", "--work", tmp_path, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    name, value, *_ = done.stdout.splitlines()[-1].removeprefix("FIGURE ").split()
    assert name == "smoke_overhead_per_trial"
    assert 0 < float(value) < 1
