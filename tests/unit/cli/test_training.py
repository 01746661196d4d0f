"""The published command line of training, word for word, and the settings files that it names."""

import json
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from multilingual import write_source
from saint.cli.main import main
from saint.data import prepare_text
from saint.training import load_run

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "scaling" / "multilingual"
PUBLISHED = r"""
python scripts/train_distributed.py \
  --config configs/scaling/multilingual/125m.yaml \
  --device cpu \
  --override batch_size=1 gradient_accumulation_steps=8 total_tokens=819200 save_interval=100 eval_interval=100 \
  log_interval=10 save_dir=checkpoints/multilingual_125m/smoke_100
"""
TINY = """
model_type: llama
hidden_size: 8
intermediate_size: 16
num_hidden_layers: 1
num_attention_heads: 2
max_position_embeddings: 16
seq_len: 16
batch_size: 2
total_tokens: 640
data_dir: text
save_dir: run
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    given = {"source": str(write_source(root / "source")), "langs": ("en", "pt", "de"), "vocab_size": 300}
    prepare_text({**given, "held_out_share": 0.1}, root / "text")
    return root / "text"


@pytest.fixture(autouse=True)
def _place(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").symlink_to(text)
    Path("tiny.yaml").write_text(TINY)


def run(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line))


def test_the_published_line_works_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("configs/scaling/multilingual")
    place.mkdir(parents=True)
    (place / "125m.yaml").write_text(TINY)
    line = PUBLISHED.replace("819200", "1280").replace("save_interval=100", "save_interval=4")
    _, script, *arguments = shlex.split(line.replace("\\\n", ""))
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0
    saved = sorted(Path("checkpoints/multilingual_125m/smoke_100").glob("step_*"))
    assert [path.name for path in saved] == ["step_00000004", "step_00000008", "step_00000010"]
    assert not Path("run").exists()


def test_sizes_and_losses_are_told() -> None:
    told = run("train --config tiny.yaml --data-dir text").stdout.splitlines()
    assert told[0] == "run: 20 steps, 640 tokens"
    last = json.loads(run("train --config tiny.yaml --json").stdout)
    assert told[1].startswith(f"held out: {last['val_loss']:.4f} nats per token")


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("train", 2, "Give either a PLAN or --config FILE."),
        ("train plan.toml --config tiny.yaml", 2, "Give either a PLAN or --config FILE."),
        ("train plan.toml", 2, "A PLAN needs --data and --output-dir."),
        ("train plan.toml --override a=1 b=2", 2, "--override and --device need --config."),
        ("train --config tiny.yaml --output-dir x", 2, "With --config, settings such as save_dir"),
        ("train --config tiny.yaml --override batch_size=1 hiden_size=3", 2, "did you mean 'hidden_size'?"),
        ("train --config tiny.yaml --override vocab_size=200", 2, "the model has a vocabulary of 200 and the shards"),
        ("train --config tiny.yaml --data-dir nowhere", 2, "nowhere has no manifest.json"),
        ("train --config nowhere.yaml", 2, "nowhere.yaml cannot be read as YAML"),
        ("train --config tiny.yaml --device abacus", 2, "--device is 'abacus'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(line: str, status: int, words: str) -> None:
    result = run(line)
    assert result.exit_code == status, (result.output, result.exception)
    assert words in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_file_of_settings_loads(file: Path) -> None:
    plan = load_run(file)
    assert plan.seq_len == plan.model["max_seq_len"]
    assert plan.save_dir == f"checkpoints/multilingual_{file.stem}"
    assert plan.warmup_tokens % plan.tokens_per_step == 0
    assert 0 < plan.warmup_tokens <= plan.total_tokens // 10


def test_the_published_smoke_takes_a_hundred_steps() -> None:
    changes = ("batch_size=1", "gradient_accumulation_steps=8", "total_tokens=819200")
    assert load_run(CONFIGS / "125m.yaml", overrides=changes).num_steps == 100
