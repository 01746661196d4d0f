"""An adapter that plain PEFT trained comes to a decision in the ledger, from the command line as a user runs it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM

import saint
from saint import config, records
from saint.cli.main import main
from saint.composition import compose, probe_logits
from saint.data import open_splits
from saint.growth import Plan, Submission, grow, open_data, start, submit
from saint.records import Candidate
from saint.registry import Registry, verify
from saint.report import summarise, to_html
from workshop import Workshop

peft = pytest.importorskip("peft", reason="the adapters are made by plain PEFT")


def train_adapter(workshop: Workshop, name: str, settings: Any, *, num_steps: int = 8, lr: float = 0.02) -> Path:
    """What somebody without us does: a few steps of AdamW on the workshop's prose."""
    torch.manual_seed(0)
    model: Any = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(workshop.base), settings)
    batches = open_splits(workshop.root / "text").train.batches(batch_size=8, seq_len=16, seed=0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for step in range(num_steps):
        model(input_ids=batches[step], labels=batches[step]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(workshop.root / name)
    return workshop.root / name


def lora() -> Any:
    return peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def begin(workshop: Workshop, *overrides: str) -> Registry:
    base = saint.freeze(workshop.base)
    plan = config.load(workshop.plan, Plan, overrides=overrides)
    return start(workshop.registry, base, plan, root=workshop.root)


@pytest.mark.slow
def test_a_lora_from_elsewhere_is_judged_and_stands(workshop: Workshop) -> None:
    begin(workshop)
    adapter = train_adapter(workshop, "adapter", lora())
    done = workshop.saint(
        "submit", workshop.registry, "--adapter", adapter, "--name", "tuesday", "--reason", "a friend's", "--json"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["decision"] == "accept"
    assert said["kind"] == "lora"
    assert said["strength"] == 1
    assert said["cost"]["train_tokens"] == 0

    events = workshop.events()
    assert [event["event"] for event in events] == ["created", "policy_set", "submitted", "queried", "judged"]
    _, _, submitted, _, judged = events
    body = submitted["body"]
    assert body["files"] == {
        name: records.file_digest(adapter / name) for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert (body["name"], body["reason"], body["same_base"]) == ("tuesday", "a friend's", "identity")
    assert body["config"]["peft_type"] == "LORA"
    assert body["graft"] == judged["body"]["graft"] == said["digest"]

    registry = Registry.open(workshop.registry)
    composed = compose(saint.freeze(workshop.base), saint.restore(registry))
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(workshop.base), adapter).eval()
    torch.testing.assert_close(probe_logits(composed), probe_logits(theirs), rtol=1e-5, atol=1e-5)

    shown = run("show", workshop.registry, said["digest"][:12]).output
    assert "elsewhere, submitted as 'tuesday'" in shown
    assert "not trained here" in shown
    assert "reason   a friend's" in shown
    assert "tuesday" in run("log", workshop.registry).output
    assert run("verify", workshop.registry, "--recompose").exit_code == 0

    twice = run("submit", workshop.registry, "--adapter", adapter)
    assert twice.exit_code == 1
    assert "stands already" in twice.stderr
    assert len(workshop.events()) == 5


def test_a_graft_that_was_trained_through_peft_is_judged(workshop: Workshop) -> None:
    from saint.peft import GraftConfig

    begin(workshop)
    adapter = train_adapter(workshop, "adapter", GraftConfig(kind="block", options={"width": 4}, task_type="CAUSAL_LM"))
    done = run("submit", workshop.registry, "--adapter", adapter, "--choose-strength")
    assert done.exit_code == 0, done.output
    registry = Registry.open(workshop.registry)
    [entry] = registry.state.judged
    assert entry.candidate.kind == "block"
    assert entry.evidence.strength in (1.0, 0.5)
    assert f"graft {entry.digest[:12]}" in done.output
    assert entry.decision.outcome in done.output


def test_what_a_gate_rejects_is_recorded_all_the_same(workshop: Workshop) -> None:
    registry = begin(workshop, "gates.cost.at_most_params=10")
    done = run("submit", workshop.registry, "--adapter", train_adapter(workshop, "adapter", lora(), num_steps=1))
    assert done.exit_code == 0, done.output
    assert registry.accepted() == []
    [entry] = registry.state.judged
    assert entry.status == "rejected"
    assert "reject" in done.output
    again = run("submit", workshop.registry, "--adapter", workshop.root / "adapter")
    assert again.exit_code == 0, "what was refused may be tried again"
    assert not verify(registry).problems


@pytest.mark.slow
def test_growth_goes_on_from_what_was_submitted(workshop: Workshop) -> None:
    registry = begin(workshop, "rounds=1", "controls.after=never", "gates.cost.at_most_params=100000")
    base, plan = saint.freeze(workshop.base), config.build(registry.state.created["plan"], Plan, where="ledger")
    data = open_data(registry, plan, base)
    entry = submit(base, data, plan, registry, Submission(folder=train_adapter(workshop, "adapter", lora())))
    assert entry.status == "stands"
    judged = grow(base, data, plan, registry)
    assert judged[0].digest == entry.digest
    assert len(judged) > 1
    assert all(other.evidence.stack[0] == entry.digest for other in judged[1:])
    summary = summarise(registry)
    assert "not trained here" in to_html(summary)
    assert summary["stack"][0]["submitted"]["folder"].endswith("adapter")
    assert all(graft["submitted"] is None for graft in summary["judged"][1:])


@pytest.mark.slow
def test_a_submission_amid_a_round_gives_that_round_up(workshop: Workshop) -> None:
    registry = begin(workshop, "rounds=1", "controls.after=never")
    base, plan = saint.freeze(workshop.base), config.build(registry.state.created["plan"], Plan, where="ledger")
    data = open_data(registry, plan, base)
    idea = Candidate(sites=(base.sites()[0],), kind="phi", options={"rank": 2})
    registry.write("round_opened", {"round": 0, "stack": [], "sensitivity": None, "candidates": [idea]})
    entry = submit(base, data, plan, registry, Submission(folder=train_adapter(workshop, "adapter", lora())))
    assert entry.status == "stands"
    grow(base, data, plan, registry)
    assert registry.state.rounds[0]["abandoned"]
    assert registry.state.rounds[1]["closed"]


def test_a_standing_graft_goes_out_and_its_file_comes_back(workshop: Workshop) -> None:
    registry = begin(workshop)
    assert run("submit", workshop.registry, "--adapter", train_adapter(workshop, "adapter", lora())).exit_code == 0
    out = workshop.root / "out"
    done = run("export", workshop.registry, "--format", "saint-peft", "--output-dir", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["max_abs_logit_difference"] == 0
    back = run("submit", workshop.registry, "--adapter", out)
    assert "stands already" in back.stderr
    registry.rollback(registry.accepted()[0].digest, reason="to try its file")
    assert run("submit", workshop.registry, "--adapter", out).exit_code == 0
    assert len({entry.digest for entry in registry.state.judged}) == 1


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (shutil.rmtree, (), "has no adapter_config.json"),
        (lambda folder: reconfigure(folder, use_qalora=True), (), "sets use_qalora"),
        (lambda folder: reconfigure(folder, base_model_name_or_path="a/b"), (), "say so with --same-base"),
        (lambda folder: reconfigure(folder, base_model_name_or_path="a/b", r=7), ("--same-base",), "for another base"),
        (lambda folder: reconfigure(folder, lora_alpha=1e7), (), "submit it with a larger --at-most-change"),
        (lambda _: None, ("--at-most-change", "1e-9"), "expected at most 1e-09 times the weight's own"),
        (lambda folder: append(folder, b"PK"), (), "so it is not safetensors as it was written; fetch it again"),
    ],
)
def test_what_cannot_be_judged_leaves_no_trace(workshop: Workshop, spoil: Any, arguments: Any, words: str) -> None:
    begin(workshop)
    spoil(train_adapter(workshop, "adapter", lora(), num_steps=1))
    refused = run("submit", workshop.registry, "--adapter", workshop.root / "adapter", *arguments)
    assert refused.exit_code == 2, refused.output
    assert refused.stderr.strip().splitlines()[-1].startswith("saint: ")
    assert words in refused.stderr
    assert [event["event"] for event in workshop.events()] == ["created", "policy_set"]


def append(folder: Path, content: bytes) -> None:
    with (folder / "adapter_model.safetensors").open("ab") as file:
        file.write(content)


def reconfigure(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_a_word_for_the_base_is_kept(workshop: Workshop) -> None:
    registry = begin(workshop)
    reconfigure(train_adapter(workshop, "adapter", lora(), num_steps=1), base_model_name_or_path="a/b")
    assert run("submit", workshop.registry, "--adapter", workshop.root / "adapter", "--same-base").exit_code == 0
    [submitted] = registry.state.submitted.values()
    assert submitted["same_base"] == "said"


def test_a_registry_that_was_made_without_init_is_refused(tmp_path: Path) -> None:
    Registry.open(tmp_path / "bare")
    refused = run("submit", tmp_path / "bare", "--adapter", tmp_path)
    assert refused.exit_code == 2
    assert refused.stderr.strip().startswith("saint: ")
    assert "was made without `saint init`" in refused.stderr


@pytest.mark.parametrize("at", ["3", "[1]", "{q=3}", "{q={at={rank=1}}}", "{q={rank='x'}}", "{nowhere={rank=1}}"])
def test_a_plan_with_odd_exceptions_is_refused_before_there_is_a_registry(workshop: Workshop, at: str) -> None:
    plan = workshop.plan.read_text(encoding="utf-8").replace("{ rank = 8 }", f"{{ rank = 8, at = {at} }}")
    workshop.plan.write_text(plan, encoding="utf-8")
    refused = run("init", workshop.registry, "--base", workshop.base, "--plan", workshop.plan)
    assert refused.exit_code == 2, refused.output
    assert "saint: " in refused.stderr
    assert not workshop.registry.exists()
