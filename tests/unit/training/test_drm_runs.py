"""A DRM trained from a file of settings: its penalties, its decay, several processes, a compiler."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multilingual import content_of, write_source
from saint.backbones import DrmConfig, DrmForCausalLM
from saint.data import open_shards, prepare_text
from saint.errors import ConfigError
from saint.models import document_nats
from saint.training import RunPlan, load_run, train_run
from saint.training._run import optimizer_of

SCRIPT = Path(__file__).parents[3] / "scripts" / "train_distributed.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
SETTINGS = """
model_type: drm
d_model: 16
n_layers: 2
n_heads: 2
d_ff: 24
max_seq_len: 16
d_manifold: 4
metric_hidden: 8
metric_rank: 2
dropout: 0.1
metric_size_weight: 0.5
lambda_ortho: 0.25
spread_weight: 2.0
spread_target: 0.5
batch_size: 2
gradient_accumulation_steps: 2
learning_rate: 3e-3
warmup_tokens: 100
total_tokens: 640
log_interval: 1
eval_interval: 5
eval_tokens: 300
save_interval: 4
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    given = {"source": str(write_source(root / "source")), "langs": ("en", "pt", "de"), "vocab_size": 300}
    prepare_text({**given, "held_out_share": 0.1}, root / "shards")
    return root / "shards"


def settings_of(folder: Path, text: Path, *overrides: str) -> list[str]:
    (folder / "tiny.yaml").write_text(SETTINGS)
    return [f"data_dir={text}", f"save_dir={folder / 'run'}", *overrides]


def plan(folder: Path, text: Path, *overrides: str) -> RunPlan:
    settings = settings_of(folder, text, *overrides)
    return load_run(folder / "tiny.yaml", overrides=settings)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def curve(folder: Path, key: str) -> list[float]:
    return [line[key] for line in lines_of(folder) if key in line]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    train_run(plan(folder, text))
    return folder


def command(folder: Path, text: Path, size: int, *overrides: str) -> list[str]:
    several = [*TORCHRUN, str(size)] if size else [sys.executable]
    settings = settings_of(folder, text, *overrides)
    return [*several, str(SCRIPT), "--config", str(folder / "tiny.yaml"), "--json", "--override", *settings]


def launch(folder: Path, text: Path, size: int, *overrides: str) -> "subprocess.CompletedProcess[str]":
    line = command(folder, text, size, *overrides)
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_penalties_are_learnt_from_and_shown_apart_from_the_cross_entropy(alone: Path) -> None:
    lines = [line for line in lines_of(alone) if "loss" in line]
    assert len(lines) == 10
    for line in lines:
        penalties = 0.5 * line["metric_size"] + 0.25 * line["orthogonality"] + 2.0 * line["spread"]
        assert line["loss"] == pytest.approx(line["cross_entropy"] + penalties, rel=1e-5)
        assert penalties > 0.1
    assert lines[-1]["cross_entropy"] < lines[0]["cross_entropy"]


def test_a_weight_changes_what_is_learnt(alone: Path, text: Path, tmp_path: Path) -> None:
    train_run(plan(tmp_path, text, "lambda_ortho=25"))
    assert curve(tmp_path, "orthogonality")[0] == curve(alone, "orthogonality")[0]
    assert curve(tmp_path, "orthogonality")[-1] < curve(alone, "orthogonality")[-1]


def test_what_is_held_out_is_measured_in_cross_entropy_alone(alone: Path, text: Path) -> None:
    model = DrmForCausalLM.from_pretrained(alone / "run" / "step_00000010")
    held_out = open_shards(text).corpora["val"].evenly(300)
    nats = document_nats(model, held_out.windows(seq_len=16, batch_size=8), held_out.num_documents)
    last = lines_of(alone)[-1]
    assert last["val_loss"] == pytest.approx(float(nats.sum()) / last["val_tokens"], rel=1e-6)
    assert "val_orthogonality" not in last


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
@pytest.mark.parametrize(("mode", "still"), [("causal", "log_temperature"), ("parity", "temperature")])
def test_nothing_of_the_geometry_but_its_linear_maps_decays(mode: Any, still: str, text: Path, tmp_path: Path) -> None:
    config = DrmConfig(vocab_size=64, d_model=16, n_layers=2, n_heads=2, d_ff=24, d_manifold=4, mode=mode)
    model = DrmForCausalLM(config)
    decaying, others = optimizer_of(model, plan(tmp_path, text, "weight_decay=0.2")).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {names[id(parameter)] for parameter in others["params"]}
    shrunk = {names[id(parameter)] for parameter in decaying["params"]}
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.2, 0.0)
    assert {"anchors", "token_emb.weight", f"blocks.0.attn.{still}", f"blocks.1.attn.{still}"} <= kept
    assert {"blocks.0.attn.v_proj.weight", "metric_net.net.0.weight", "blocks.1.ffn.down_proj.weight"} <= shrunk
    assert not any("norm" in name or "bias" in name or "temperature" in name for name in shrunk)


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """The same run, by two processes that have half a model each."""
    folder = tmp_path_factory.mktemp("divided")
    done = launch(folder, text, 2, "fsdp=true")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 10  # one process speaks
    return folder


@pytest.mark.slow
@pytest.mark.distributed
def test_a_divided_model_follows_the_curve_of_one_process(alone: Path, divided: Path) -> None:
    for key in ("loss", "cross_entropy", "orthogonality", "grad_norm", "val_loss"):
        assert curve(divided, key) == pytest.approx(curve(alone, key), rel=1e-5)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_divided_model_leaves_the_files_of_one_process(alone: Path, divided: Path) -> None:
    names = content_of(alone / "run").keys()
    assert content_of(divided / "run").keys() == names
    assert {"step_00000010/model.safetensors", "step_00000010/optimizer.safetensors"} <= names
    for name in names:
        if name.endswith(".safetensors"):
            found, expected = (load_file(folder / "run" / name) for folder in (divided, alone))
            assert found.keys() == expected.keys()
            for key, tensor in expected.items():
                assert found[key].shape == tensor.shape
                assert torch.allclose(found[key], tensor, rtol=1e-3, atol=1e-4), key
        elif name.endswith(("config.json", "tokenizer.json")):
            assert (divided / "run" / name).read_bytes() == (alone / "run" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.distributed
def test_a_divided_run_goes_on_in_another_number_of_processes(
    alone: Path, divided: Path, text: Path, tmp_path: Path
) -> None:
    shutil.copytree(divided, tmp_path, dirs_exist_ok=True)
    for later in ("step_00000008", "step_00000010"):
        shutil.rmtree(tmp_path / "run" / later)
    train_run(plan(tmp_path, text))  # one process takes up what two have left
    assert curve(tmp_path, "loss") == pytest.approx(curve(alone, "loss"), rel=1e-5)
    shutil.rmtree(tmp_path / "run" / "step_00000010")
    done = launch(tmp_path, text, 2, "fsdp=true")  # and two take up what one has left
    assert done.returncode == 0, done.stderr
    assert curve(tmp_path, "loss") == pytest.approx(curve(alone, "loss"), rel=1e-5)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_stop_is_one_for_all_processes(text: Path, tmp_path: Path) -> None:
    line = command(tmp_path, text, 2, "fsdp=true", "total_tokens=640000", "save_interval=10000", "eval_interval=10000")
    metrics = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not (metrics.is_file() and metrics.read_text().count("\n") > 3):
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    (stopped,) = (tmp_path / "run").glob("step_*")
    assert int(stopped.name.removeprefix("step_")) == lines_of(tmp_path)[-1]["step"], said
    assert "another process was asked to stop" in said
    assert "could not go on" not in said


def test_a_model_is_not_divided_among_one(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fsdp is true, but there is one process and nobody to share the model with"):
        train_run(plan(tmp_path, text, "fsdp=true"))
    with pytest.raises(ConfigError, match="fsdp and compile are both true"):
        plan(tmp_path, text, "fsdp=true", "compile=true")


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_resumes_to_the_same_bits(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler is installed")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    settings = ("dropout=0", "total_tokens=384", "save_interval=2", "n_layers=1")
    eager, whole, stopped = (tmp_path / name for name in ("eager", "whole", "stopped"))
    eager.mkdir()
    train_run(plan(eager, text, *settings))
    whole.mkdir()
    done = launch(whole, text, 0, *settings, "compile=true")
    assert done.returncode == 0, done.stderr
    assert curve(whole, "loss") != curve(eager, "loss")
    assert curve(whole, "loss") == pytest.approx(curve(eager, "loss"), rel=1e-4)
    shutil.copytree(whole, stopped)
    for later in ("step_00000004", "step_00000006"):  # killed before they were there
        shutil.rmtree(stopped / "run" / later)
    done = launch(stopped, text, 0, *settings, "compile=true")
    assert done.returncode == 0, done.stderr
    for key in ("loss", "cross_entropy", "grad_norm", "val_loss"):
        assert curve(stopped, key) == curve(whole, key)
    for file in ("model.safetensors", "optimizer.safetensors"):
        found, expected = (folder / "run" / "step_00000006" / file for folder in (stopped, whole))
        assert found.read_bytes() == expected.read_bytes()


def test_a_missing_compiler_is_said(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="compile is true, but there is no C\\+\\+ compiler 'no-such-compiler'"):
        train_run(plan(tmp_path, text, "compile=true"))
    assert not list(tmp_path.glob("run/step_*"))
