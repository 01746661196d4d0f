"""`saint mix`: experts in folders as one model in a folder, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer

from saint.cli.main import main
from saint.data import DataPlan, Domain, Splits, save_splits
from saint.models import freeze
from saint.testing import tiny_base, tiny_splits


def save_all(folder: Path, data: Splits) -> None:
    """Two experts and their text."""
    for seed in (1, 2):
        tiny_base(data.tokenizer, seed=seed).model.save_pretrained(folder / f"expert-{seed}")
        data.tokenizer.save_pretrained(folder / f"expert-{seed}")
    save_splits(data, folder / "text", plan=DataPlan(domains={"prose": Domain(role="grow", sources=("prose",))}))


def run(folder: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(main, ["mix", *arguments])


def measure(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["measure", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return done


def test_a_mixture_is_written_measured_and_generates(tmp_path: Path, data: Splits) -> None:
    save_all(tmp_path, data)
    done = run(tmp_path, "first=expert-1", "expert-2", "--output-dir", "both", "--data", "text", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["experts"] == {"first": "expert-1", "expert-2": "expert-2"}
    assert set(told["bits_per_byte"]) == {"first", "expert-2", "together"}
    assert json.loads((tmp_path / "both" / "mixture.json").read_text(encoding="utf-8")) == told
    parts = [told["bits_per_byte"][name]["prose"] for name in ("first", "expert-2")]
    assert min(parts) - 0.05 < told["bits_per_byte"]["together"]["prose"] < max(parts)
    assert told["cost"]["apart_params"] >= told["cost"]["held_params"]
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "both")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "both")
    written = model.generate(**tokenizer("the", return_tensors="pt"), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert written.shape[1] > 4
    lines = [
        json.dumps({"text": f"The {one} of a {one} is {two}."}) for one in ("cat", "dog") for two in ("big", "old")
    ]
    (tmp_path / "seen-by-none.jsonl").write_text("\n".join(lines), encoding="utf-8")
    text = f"unseen={tmp_path / 'seen-by-none.jsonl'}"
    measured = [
        json.loads(measure(tmp_path / one, "--text", text, *more).stdout)
        for one, *more in (("both", "--against", str(tmp_path / "expert-1")), ("expert-1",), ("expert-2",))
    ]
    together, *alone = (one["texts"][0]["bpb"] for one in measured)
    estimates = [one["value"]["estimate"] for one in alone]
    assert together["difference"]["estimate"] == pytest.approx(together["value"]["estimate"] - estimates[0])
    assert min(estimates) - 0.05 < together["value"]["estimate"] < max(estimates)
    assert model.config.tokenizer_digest == freeze(tmp_path / "expert-1").identity.tokenizer


def test_mixtures_are_mixed(tmp_path: Path, data: Splits) -> None:
    save_all(tmp_path, data)
    assert run(tmp_path, "expert-1", "expert-2", "--as", "logit_mean", "--output-dir", "both").exit_code == 0
    done = run(tmp_path, "both", "expert-1", "--prior", "0.75", "--prior", "0.25", "--output-dir", "all", "--json")
    assert done.exit_code == 0, done.output
    cost = json.loads(done.stdout)["cost"]
    over = cost["held_params"] - 2 * cost["apart_params"] // 3  # the third expert is the first one again
    assert over == 5 * 16  # but for its norms
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "all")
    tokens = torch.arange(8)[None]
    parts = [
        AutoModelForCausalLM.from_pretrained(tmp_path / name)(tokens).logits[:, 0] for name in ("both", "expert-1")
    ]
    wanted = 0.75 * parts[0].softmax(-1) + 0.25 * parts[1].softmax(-1)
    torch.testing.assert_close(model(tokens).logits[:, 0].exp(), wanted)


def test_a_gate_learns_from_the_text(tmp_path: Path, data: Splits) -> None:
    save_all(tmp_path, data)
    done = run(
        tmp_path,
        "expert-1",
        "expert-2",
        "--as",
        "gate",
        "--steps",
        "8",
        "--data",
        "text",
        "--output-dir",
        "gated",
        "--json",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["gate"]["train_tokens"] > 0
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "gated")
    assert model.gate.weight.abs().sum() > 0
    assert torch.equal(model.experts[1].lm_head.weight, tiny_base(data.tokenizer, seed=2).model.lm_head.weight)


def test_an_average_is_an_ordinary_model(tmp_path: Path, data: Splits) -> None:
    save_all(tmp_path, data)
    done = run(tmp_path, "expert-1", "expert-2", "--as", "weight_average", "--output-dir", "one", "--data", "text")
    assert done.exit_code == 0, done.output
    assert "together" in done.output
    assert json.loads((tmp_path / "one" / "config.json").read_text(encoding="utf-8"))["model_type"] == "llama"


def test_what_is_refused_is_one_sentence(tmp_path: Path, data: Splits) -> None:
    save_all(tmp_path, data)
    other = tiny_splits(seed=1).tokenizer
    tiny_base(data.tokenizer).model.save_pretrained(tmp_path / "foreign")
    other.save_pretrained(tmp_path / "foreign")
    for arguments, words in (
        (("expert-1", "foreign", "--output-dir", "new"), "saint: foreign has the tokenizer"),
        (("expert-1", "expert-1", "--output-dir", "new"), "Two experts are called 'expert-1'"),
        (("expert-1", "--output-dir", "expert-2"), "saint: expert-2 exists already"),
        (("expert-1", "--as", "gate", "--output-dir", "new"), "give --data"),
        (("foreign", "--data", "text", "--output-dir", "new"), "which foreign has; prepare it"),
        (("expert-1", "expert-2", "--prior", "1", "--output-dir", "new"), "saint: expected 2 weights above 0"),
        (("./nowhere", "--output-dir", "new"), "saint: ./nowhere is not a folder"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.exit_code, words in done.stderr) == (2, True), done.output
    assert not (tmp_path / "new").exists()
