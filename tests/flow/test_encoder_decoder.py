"""A T5 grows through the same calls as a decoder-only model, in its encoder, its decoder and between them."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

import saint
from saint import config
from saint.cli.exporting import export_stack
from saint.composition import logits_digest
from saint.data import Splits
from saint.growth import Plan, open_data, start
from saint.models import FrozenBase
from saint.registry import Registry, verify
from saint.testing import assert_base_untouched, assert_same_function
from small_bases import small_model
from workshop import Workshop, build_workshop

pytestmark = pytest.mark.slow  # three rounds of a model with two stacks take seconds

PLAN = """
name = "tiny-t5"
rounds = 3
candidates_per_round = 1
finalists_per_round = 1
evaluation_seq_len = 32
strengths = [1.0, 0.5]

[data]
prepared = "text"

[budget]
num_params = 20_000
train_tokens = 100_000

[schedule]
num_steps = 8
batch_size = 4
seq_len = 16
evaluate_every = 4

[sensitivity]
num_batches = 1

[[proposals]]
kind = "phi"
options = { rank = 8 }
streams = ["encoder"]
bundle = "all"
lr = 0.02

[[proposals]]
kind = "lora"
options = { rank = 2 }
roles = ["cross_q", "cross_k", "cross_v", "cross_o"]
bundle = "all"
lr = 0.02

[[proposals]]
kind = "phi"
options = { rank = 8 }
roles = ["up", "down"]
streams = ["decoder"]
bundle = "all"
lr = 0.02

[gates.gain]
at_least_bpb = -1.0
at_most_heavy = 0.5

[judging]
alpha = 0.2

[gates.rollback]

[controls]
after = "last round"
lora_lr = 0.02
full_lr = 0.005
"""


class Grown:
    """A T5 with three grafts, in the order in which they came to stand."""

    def __init__(self, workshop: Workshop) -> None:
        self.base: FrozenBase = saint.freeze(workshop.base)
        plan = config.load(workshop.plan, Plan)
        self.registry: Registry = start(workshop.registry, self.base, plan, root=workshop.root)
        self.data: Splits = open_data(self.registry, plan, self.base)
        saint.grow(self.base, self.data, plan, self.registry)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    model = small_model("t5_relu", vocab_size=300)
    return Grown(build_workshop(tmp_path_factory.mktemp("t5"), model=model, plan=PLAN))


@pytest.mark.slow
def test_grafts_stand_in_the_encoder_in_the_decoder_and_between_them(grown: Grown) -> None:
    accepted = grown.registry.accepted()
    places = [{(site.stream, site.role) for site in entry.candidate.sites} for entry in accepted]
    ordinary = {"q", "k", "v", "o", "up", "down"}
    assert sorted(places, key=len) == [
        {("decoder", role) for role in ("up", "down")},
        {("decoder", f"cross_{role}") for role in "qkvo"},
        {("encoder", role) for role in ordinary},
    ]
    assert all(entry.evidence.removal and entry.evidence.removal.restored for entry in accepted)
    assert verify(grown.registry).problems == ()
    assert_base_untouched(grown.base)


def test_the_result_has_its_controls(grown: Grown) -> None:
    [measured] = grown.registry.state.measured
    arms = {arm["name"]: arm for arm in measured["arms"]}
    assert arms.keys() == {"grafts", "lora", "full", "full, interpolated"}
    assert arms["grafts"]["gain_bpb"]["estimate"] > 0
    assert arms["full"]["num_params"] == grown.base.num_params


def test_recomposing_gives_the_judged_model_to_the_bit(grown: Grown) -> None:
    model = saint.compose(grown.base, saint.restore(grown.registry))
    assert logits_digest(model) == grown.registry.accepted()[-1].evidence.logits


def test_every_graft_can_be_left_out(grown: Grown) -> None:
    stack = saint.restore(grown.registry)
    whole = logits_digest(saint.compose(grown.base, stack))
    for index in range(len(stack)):
        assert logits_digest(saint.compose(grown.base, stack[:index] + stack[index + 1 :])) != whole
    assert_same_function(saint.compose(grown.base, []), grown.base.model)


@pytest.mark.parametrize("form", ["lora", "peft"])
def test_plain_peft_loads_what_was_exported(grown: Grown, tmp_path: Path, form: str) -> None:
    peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")
    warnings.simplefilter("ignore")  # peft's advice about tied embeddings
    export_stack(grown.registry, grown.base, form, tmp_path / form)
    settings = json.loads((tmp_path / form / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["task_type"] == "SEQ_2_SEQ_LM"
    adapted = peft.PeftModel.from_pretrained(
        AutoModelForSeq2SeqLM.from_pretrained(grown.base.source), tmp_path / form
    ).eval()
    composed = saint.compose(grown.base, saint.restore(grown.registry))
    assert_same_function(adapted, composed, max_abs_difference=1e-4)


def test_plain_transformers_loads_the_merged_model(grown: Grown, tmp_path: Path) -> None:
    record = export_stack(grown.registry, grown.base, "merged", tmp_path / "merged")
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged").eval()
    composed = saint.compose(grown.base, saint.restore(grown.registry))
    assert_same_function(plain, composed, max_abs_difference=1e-4)
    assert record["max_abs_logit_difference"] < 1e-4


def test_the_grown_model_generates_like_any_other(grown: Grown) -> None:
    model = saint.compose(grown.base, saint.restore(grown.registry))
    made = model.generate(torch.tensor([[0, 5, 7]]), max_new_tokens=5, min_new_tokens=5, decoder_start_token_id=0)
    assert made.shape == (1, 6)


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path) -> None:
    workshop = build_workshop(tmp_path, model=small_model("t5_gated", vocab_size=300), plan=PLAN)
    workshop.init()
    grown = workshop.saint("grow", workshop.registry)
    assert grown.returncode == 0, grown.stderr
    recomposed = workshop.saint("verify", workshop.registry, "--recompose")
    assert recomposed.returncode == 0, recomposed.stdout
    assert "to the bit" in recomposed.stdout
    stands = json.loads(workshop.saint("status", workshop.registry, "--json").stdout)["stack"]
    assert len(stands) == 3
    last = stands[-1]["digest"][:12]
    back = workshop.saint("rollback", workshop.registry, last, "--reason", "trying it")
    assert back.returncode == 0, back.stderr
    assert workshop.saint("verify", workshop.registry, "--recompose").returncode == 0
    out = workshop.root / "adapter"
    exported = workshop.saint("export", workshop.registry, "--format", "lora", "--output-dir", out)
    assert exported.returncode == 0, exported.stderr
    assert (out / "adapter_model.safetensors").exists()
