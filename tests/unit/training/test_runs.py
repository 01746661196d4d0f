"""A base trained from a file of settings: the same bits however often it was stopped, and no setting in vain."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from interrupting import StopsAfter
from multilingual import content_of, write_source
from saint.data import open_shards, prepare_text
from saint.errors import (
    BusyError,
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    Interrupted,
    MissingPackageError,
)
from saint.folders import alone_in
from saint.models import document_nats
from saint.training import RunPlan, load_run, train_run
from saint.training._processes import Processes
from saint.training._run import optimizer_of

SCRIPTS = Path(__file__).parents[3] / "scripts"
SETTINGS = """
# a tiny one
model_type: llama
hidden_size: 16
intermediate_size: 32
num_hidden_layers: 2
num_attention_heads: 2
num_key_value_heads: 1
max_position_embeddings: 32
attention_dropout: 0.1
tie_word_embeddings: true
seq_len: 16
batch_size: 2
gradient_accumulation_steps: 2
learning_rate: 3e-3
warmup_tokens: 100
total_tokens: 1_300
log_interval: 1
eval_interval: 10
eval_tokens: 300
save_interval: 8
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    given = {"source": str(write_source(root / "source")), "langs": ("en", "pt", "de"), "vocab_size": 300}
    prepare_text({**given, "held_out_share": 0.1}, root / "shards")
    return root / "shards"


def plan(folder: Path, text: Path, *overrides: str) -> RunPlan:
    (folder / "tiny.yaml").write_text(SETTINGS)
    return load_run(folder / "tiny.yaml", overrides=(f"data_dir={text}", f"save_dir={folder / 'run'}", *overrides))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def lasting(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """What must not depend on interruptions."""
    measured = ("tokens_per_s", "tflops_per_s", "peak_memory_mib")
    lines = [{key: value for key, value in line.items() if key not in measured} for line in lines_of(folder)]
    files = content_of(folder / "run")
    return {name: content for name, content in files.items() if name != "metrics.jsonl"}, lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train_run(plan(folder, text))
    return folder


def test_it_learns_and_leaves_a_model_that_transformers_loads(whole: Path, text: Path) -> None:
    lines = lines_of(whole)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 0.3
    shards, checkpoint = open_shards(text), whole / "run" / "step_00000020"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    held_out = shards.corpora["val"].evenly(300)
    nats = document_nats(model, held_out.windows(seq_len=16, batch_size=8), held_out.num_documents)
    assert lines[-1]["val_tokens"] == held_out.num_tokens - held_out.num_documents
    assert lines[-1]["val_loss"] == pytest.approx(float(nats.sum()) / lines[-1]["val_tokens"])
    assert lines[-1]["tokens"] == 20 * 64
    assert [path.name for path in sorted((whole / "run").glob("step_*"))] == [
        "step_00000008", "step_00000016", "step_00000020",
    ]  # fmt: skip


@pytest.mark.parametrize("tokens", [64, 64 * 9, 64 * 16])
def test_a_run_that_was_stopped_comes_to_the_same_bits(tokens: int, whole: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train_run(plan(tmp_path, text), progress=StopsAfter(tokens))
    train_run(plan(tmp_path, text))
    files, lines = lasting(tmp_path)
    expected, expected_lines = lasting(whole)
    assert lines == expected_lines
    names = {name for name in expected if not name.endswith("run.json")}
    assert names <= files.keys()
    assert {name: files[name] for name in names if "step_00000020" in name} == {
        name: expected[name] for name in names if "step_00000020" in name
    }


def test_a_run_that_was_killed_goes_on_from_its_newest_checkpoint(whole: Path, text: Path, tmp_path: Path) -> None:
    train_run(plan(tmp_path, text))
    shutil.rmtree(tmp_path / "run" / "step_00000020")  # killed before it was written, and in the middle of a line
    (tmp_path / "run" / ".draft").mkdir()
    (tmp_path / "run" / ".draft" / "model.safetensors").write_bytes(b"half")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 20, "los')
    train_run(plan(tmp_path, text))
    assert lasting(tmp_path)[1] == lasting(whole)[1]
    final = [load_file(folder / "run" / "step_00000020" / "model.safetensors") for folder in (tmp_path, whole)]
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[1])


@pytest.mark.slow
def test_a_kill_while_it_trains_changes_nothing(whole: Path, text: Path, tmp_path: Path) -> None:
    arguments = ["data_dir=" + str(text), f"save_dir={tmp_path / 'run'}", "save_interval=2"]
    made = plan(tmp_path, text, "save_interval=2")
    command = [sys.executable, "-m", "saint.cli", "train", "--config", str(tmp_path / "tiny.yaml"), "--override"]
    with subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and not (tmp_path / "run" / "step_00000004").exists():
            time.sleep(0.005)
        child.kill()
    assert (tmp_path / "run" / "step_00000004").exists()
    train_run(made)
    final = [load_file(folder / "run" / "step_00000020" / "model.safetensors") for folder in (tmp_path, whole)]
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[1])
    assert lasting(tmp_path)[1] == lasting(whole)[1]


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_follow_the_curve_of_one(whole: Path, text: Path, tmp_path: Path) -> None:
    plan(tmp_path, text)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [str(SCRIPTS / "train_distributed.py"), "--config", str(tmp_path / "tiny.yaml"), "--json", "--override"]
    settings = [f"data_dir={text}", f"save_dir={tmp_path / 'run'}"]
    done = subprocess.run([*launch, *command, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 20  # one process speaks
    found, expected = lines_of(tmp_path), lines_of(whole)
    for key in ("loss", "grad_norm", "val_loss"):
        curve, other = ([line[key] for line in lines if key in line] for lines in (found, expected))
        assert curve == pytest.approx(other, rel=1e-3)


def test_processes_must_share_the_passes_equally(text: Path, tmp_path: Path) -> None:
    assert [list(Processes(rank=rank, size=2).share(4)) for rank in (0, 1)] == [[0, 2], [1, 3]]
    with pytest.raises(ConfigError, match="is 3, which 2 processes cannot share equally; give a multiple of 2"):
        Processes(size=2).share(plan(tmp_path, text, "gradient_accumulation_steps=3").gradient_accumulation_steps)


def test_two_runs_do_not_share_a_folder(text: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"), pytest.raises(BusyError, match="another process is at work"):
        train_run(plan(tmp_path, text))


def test_a_finished_run_is_left_as_it_is(whole: Path, text: Path) -> None:
    before = content_of(whole / "run")
    last = train_run(plan(whole, text))
    assert last == lines_of(whole)[-1]
    assert content_of(whole / "run") == before


def test_accumulation_is_a_larger_batch(text: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, batch in ((small, 1), (large, 4)):
        folder.mkdir()
        train_run(plan(folder, text, f"batch_size={batch}", f"gradient_accumulation_steps={4 // batch}",
                       "attention_dropout=0", "total_tokens=320"))  # fmt: skip
    losses = [[line["loss"] for line in lines_of(folder) if "loss" in line] for folder in (small, large)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_only_matrices_of_linear_layers_decay(text: Path, tmp_path: Path) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.inner, self.norm = nn.Embedding(5, 3), nn.Linear(3, 3), nn.LayerNorm(3)
            self.head, self.anchors = nn.Linear(3, 5, bias=False), nn.Parameter(torch.zeros(2, 3))
            self.head.weight = self.embedding.weight

    model = Small()
    decaying, others = optimizer_of(model, plan(tmp_path, text, "weight_decay=0.2")).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.2, 0.0)
    assert [id(parameter) for parameter in decaying["params"]] == [id(model.inner.weight)]
    assert len(others["params"]) == 5


def test_the_learning_rate_follows_the_tokens(text: Path, tmp_path: Path) -> None:
    made = plan(tmp_path, text, "total_tokens=6400", "warmup_tokens=640", "min_lr_ratio=0.1", "learning_rate=1.0")
    assert made.lr_at(320) == pytest.approx(0.5)
    assert made.lr_at(640) == pytest.approx(1.0)
    assert made.lr_at(640 + 5760 // 2) == pytest.approx(0.55)
    assert made.lr_at(6400) == pytest.approx(0.1)
    short = plan(tmp_path, text, "total_tokens=640", "warmup_tokens=640", "learning_rate=1.0")
    assert short.lr_at(64) == pytest.approx(1.0)


def test_bfloat16_and_recomputing_come_close(text: Path, tmp_path: Path, whole: Path) -> None:
    more = ("mixed_precision=bf16", "gradient_checkpointing=true")
    train_run(plan(tmp_path, text, *more))
    found, expected = ([line["loss"] for line in lines_of(folder) if "loss" in line] for folder in (tmp_path, whole))
    assert found != expected
    assert found == pytest.approx(expected, abs=0.1)


def test_operations_are_counted_and_held_against_what_the_device_can_do(text: Path, tmp_path: Path) -> None:
    train_run(plan(tmp_path, text, "peak_tflops=1.0", "total_tokens=64"))
    line = lines_of(tmp_path)[0]
    assert line["mfu"] == pytest.approx(line["tflops_per_s"])
    per_token = line["tflops_per_s"] * 1e12 / line["tokens_per_s"]
    matrices = 2 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32) + 300 * 16  # of two layers and the head
    assert 6 * matrices < per_token * 1.05 < 8 * matrices  # attention over 16 tokens comes on top
    assert "mfu" not in lines_of(tmp_path)[-1]


def test_metrics_go_to_tensorboard_too(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the package tensorboard is not installed"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    train_run(plan(tmp_path, text, "tensorboard=true"))
    found = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    expected = [line["loss"] for line in lines_of(tmp_path) if "loss" in line]
    assert [scalar.value for scalar in found.Scalars("loss")] == pytest.approx(expected)
    assert [scalar.step for scalar in found.Scalars("val_loss")] == [10, 20]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'saint-g\[tensorboard\]'"):
        train_run(plan(tmp_path, text, "tensorboard=true"))


def test_old_checkpoints_are_removed(text: Path, tmp_path: Path) -> None:
    train_run(plan(tmp_path, text, "save_interval=3", "save_total_limit=2"))
    assert sorted(path.name for path in (tmp_path / "run").glob("step_*")) == ["step_00000018", "step_00000020"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hiden_size=8", "llama has no setting 'hiden_size'; did you mean 'hidden_size'?"),
        ("batch_size=0", "batch_size is 0; it must be at least 1"),
        ("batch_size=two", "batch_size"),
        ("total_tokens=63", "less than the 64 of one step"),
        ("model_type=lama", "no architecture 'lama'"),
        ("vocab_size=299", "the model has a vocabulary of 299 and the shards in"),
        ("seq_len=64", "the model reads at most 32 tokens"),
        ("mixed_precision=fp16", "mixed_precision: expected 'fp32' or 'bf16'"),
        ("nonsense", "--override is 'nonsense'; expected key=value"),
        ("num_attention_heads=3", "heads"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(override: str, words: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train_run(plan(tmp_path, text, override))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("run/step_*"))


def test_a_resumed_run_with_other_settings_is_refused(whole: Path, text: Path) -> None:
    for override in ("learning_rate=0.1", "hidden_size=32", "total_tokens=6400", "seed=1"):
        with pytest.raises(CheckpointError, match="is of a run with other settings or text"):
            train_run(plan(whole, text, override))
    train_run(plan(whole, text, "log_interval=5", "save_interval=100"))


def test_a_damaged_checkpoint_is_named(whole: Path, text: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole / "run", tmp_path / "run"))
    file = folder / "step_00000020" / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"optimizer.safetensors is damaged"):
        train_run(plan(tmp_path, text))
    (folder / "step_00000020" / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no run.json that can be read"):
        train_run(plan(tmp_path, text))


def test_other_mistakes_are_a_sentence(text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device is 'nowhere'"):
        train_run(plan(tmp_path, text), device="nowhere")
    with pytest.raises(DataError, match="no finished text"):
        train_run(plan(tmp_path, tmp_path))
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_run(tmp_path / "nowhere.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="holds list; expected settings"):
        load_run(tmp_path / "list.yaml")
    with pytest.raises(DivergedError, match="stopped being a number at step"):
        train_run(plan(tmp_path, text, "learning_rate=1e30", "max_grad_norm=1e30", "warmup_tokens=0"))
