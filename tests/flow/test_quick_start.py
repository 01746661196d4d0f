"""The published quick start, word for word but for the numbers of tokens: text, a base, kills, and a graft on it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import saint
import warm
from multilingual import content_of, texts_of, write_jsonl, write_source
from saint.composition import compose, newborn
from saint.models import token_nats
from saint.records import Candidate
from saint.testing import assert_base_untouched, assert_identity
from small_bases import moved

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PREPARE = (
    "python scripts/prepare_multilingual_data.py --output-dir data/multilingual_350m --max-tokens 60000 "
    "--vocab-size 400 --langs en,pt,es,fr,de"
)
FINALIZE = (
    "python scripts/prepare_multilingual_data.py --output-dir data/multilingual_350m --vocab-size 400 --finalize "
    "--clean-raw"
)
SUBSET = (
    "python scripts/prepare_multilingual_data.py --derive-subset-from data/multilingual_350m "
    "--output-dir data/multilingual_1m --max-tokens 30000 --subset-copy-mode hardlink"
)
TRAIN = (
    "python scripts/train_distributed.py --config configs/scaling/multilingual/1m.yaml --device cpu "
    "--override batch_size=1 gradient_accumulation_steps=8 total_tokens=24576 save_interval=3 eval_interval=6 "
    "log_interval=1 save_dir=checkpoints/multilingual_1m/smoke_12"
)
RUN = "checkpoints/multilingual_1m/smoke_12"
MEASURED = ("tokens_per_s", "tflops_per_s", "peak_memory_mib")
OPENED = """
import json, sys
import saint.backbones
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (family.from_pretrained(sys.argv[1]) for family in (AutoModelForCausalLM, AutoTokenizer))
answer = model.generate(**tokenizer("the river", return_tensors="pt"), max_new_tokens=3, do_sample=False)
print(json.dumps({"type": type(model).__name__, "params": model.num_parameters(), "length": answer.shape[1]}))
"""


class Place:
    """A folder with the scripts and the settings files of the repository, where command lines are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        source = write_source(folder / "source", number=200)
        write_jsonl(source / "es" / "all.jsonl", texts_of("pt", 200, seed=1))
        write_jsonl(source / "fr" / "all.jsonl", texts_of("en", 200, seed=1))
        for name in ("scripts", "configs"):
            (folder / name).symlink_to(ROOT / name)
        self._given: dict[str, Any] = {
            "cwd": folder,
            "env": {**os.environ, "SAINT_TEXT_SOURCE": "source", "OMP_NUM_THREADS": "1"},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def run(self, line: str) -> str:
        done = warm.run(*shlex.split(line)[1:], cwd=self._given["cwd"], env=self._given["env"])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self, line: str, *, once: str) -> None:
        """Start a command and kill it when there is a file of that pattern."""
        with subprocess.Popen(self._command(line), **self._given) as child:
            while child.poll() is None and not any(self.folder.glob(once)):
                time.sleep(0.0005)
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL, "it was done before it could be killed"

    @staticmethod
    def _command(line: str) -> list[str]:
        return [sys.executable, *shlex.split(line)[1:]]

    def curve(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (self.folder / RUN / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in MEASURED} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The quick start without any kill."""
    place = Place(tmp_path_factory.mktemp("whole"))
    for line in (f"{PREPARE} --shard-size 1000", FINALIZE, SUBSET, TRAIN):
        place.run(line)
    return place


def test_kills_change_neither_the_text_nor_the_base(whole: Place, tmp_path: Path) -> None:
    place = Place(tmp_path)
    for once in ("data/multilingual_350m/_raw/**/*.npy", "data/multilingual_350m/train/shard_00003.npy"):
        place.kill(f"{PREPARE} --shard-size 1000", once=once)
        assert not (tmp_path / "data" / "multilingual_350m" / "manifest.json").exists()
    for line in (PREPARE, FINALIZE, SUBSET):
        place.run(line)
    for text in ("data/multilingual_350m", "data/multilingual_1m"):
        assert content_of(tmp_path / text) == content_of(whole.folder / text)

    place.kill(TRAIN, once=f"{RUN}/step_00000006")
    assert not (tmp_path / RUN / "step_00000012").exists()
    place.run(TRAIN)
    assert place.curve() == whole.curve()
    found, expected = (content_of(one.folder / RUN / "step_00000012") for one in (place, whole))
    assert found == expected


def test_the_base_is_opened_by_transformers_and_takes_a_graft(whole: Place) -> None:
    losses = [line for line in whole.curve() if "loss" in line]
    assert len(losses) == 12
    assert losses[-1]["cross_entropy"] < losses[0]["cross_entropy"] - 0.2
    assert all(line["loss"] >= line["cross_entropy"] and line["metric_size"] > 0 for line in losses)
    checkpoint = whole.folder / RUN / "step_00000012"
    opened = subprocess.run([sys.executable, "-c", OPENED, str(checkpoint)], capture_output=True, text=True, check=True)
    told = json.loads(opened.stdout.splitlines()[-1])
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert (told["type"], told["params"]) == ("DrmForCausalLM", model.num_parameters())
    assert told["length"] > 3

    base = saint.freeze(str(checkpoint))
    site = next(site for site in base.sites() if site.role == "v")
    graft = newborn(base, Candidate(sites=(site,), kind="lora", options={"rank": 2}, seed=7))
    assert_identity(base, graft)
    tokens = torch.arange(40).view(2, 20)
    before = token_nats(base.model, tokens)
    token_nats(compose(base, [moved(graft)]), tokens).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in graft.parameters())
    assert not torch.equal(token_nats(compose(base, [graft]), tokens), before)
    assert_base_untouched(base)
