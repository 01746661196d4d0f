"""A workshop: a tiny base, prepared text and a plan in a folder, as a user has them."""

import atexit
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import warm
from saint.data import DataPlan, Domain, save_splits
from saint.testing import tiny_base, tiny_splits

PLAN = """
name = "tiny"
rounds = 2
candidates_per_round = 3
finalists_per_round = 2
evaluation_seq_len = 32
strengths = [1.0, 0.5]

[data]
prepared = "text"

[budget]
num_params = 4000
train_tokens = 100_000

[schedule]
num_steps = 24
batch_size = 4
seq_len = 16
evaluate_every = 12

[sensitivity]
num_batches = 2

[[proposals]]
kind = "phi"
options = { rank = 8 }
bundle = "all"
lr = 0.05

[[proposals]]
kind = "block"
options = { width = 4 }
bundle = "site"
lr = 0.02

[gates.gain]
at_least_bpb = 0.001
at_most_heavy = 0.5

[gates.retention]
at_most_bpb = 2.0
at_most_heavy = 0.5

[gates.cost]
at_most_params = 3000

[gates.rollback]

[judging]
alpha = 0.2

[controls]
lora_lr = 0.02
full_lr = 0.005
"""


@dataclass(frozen=True)
class Workshop:
    """Where the parts lie."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def plan(self) -> Path:
        return self.root / "plan.toml"

    @property
    def registry(self) -> Path:
        return self.root / "garden"

    def saint(self, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command line in a process of its own."""
        return warm.run("saint.cli", *arguments, env=env, timeout_s=300)

    def init(self) -> None:
        made = self.saint("init", self.registry, "--base", self.base, "--plan", self.plan)
        assert made.returncode == 0, made.stderr

    def events(self) -> list[Any]:
        """The ledger's entries as they lie on disk."""
        return [json.loads(file.read_bytes()) for file in sorted(self.registry.glob("log/*/*.json"))]


def build_workshop(root: Path, *, model: Any = None, plan: str = PLAN) -> Workshop:
    """Lay everything out; `model` (of 300 tokens) instead of the tiny Llama."""
    shutil.copytree(_as_laid_out(), root, dirs_exist_ok=True)
    if model is not None:
        (root / "base" / "model.safetensors").unlink()
        model.save_pretrained(root / "base")
    (root / "plan.toml").write_text(plan, encoding="utf-8")
    return Workshop(root)


@cache
def _as_laid_out() -> Path:
    """Base and text, made once in a process: cutting and comparing the text takes most of a second."""
    root = Path(tempfile.mkdtemp(prefix="workshop-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    splits = tiny_splits()
    tiny_base(splits.tokenizer).model.save_pretrained(root / "base")
    splits.tokenizer.save_pretrained(root / "base")
    domains = {"code": Domain(role="retain", sources=("*.py",)), "prose": Domain(role="grow", sources=("topics",))}
    save_splits(splits, root / "text", plan=DataPlan(domains=domains))
    return root
