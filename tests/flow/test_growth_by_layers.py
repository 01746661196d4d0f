"""Growth by layers from its plan on: what a stage trains and leaves alone, and that it can be stopped and undone."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import saint
from by_layers import LLAMA, PLAN as LAYERS, Layers, begin, grow, plan_of, told
from interrupting import StopsAfter
from saint.cli.exporting import export_stack
from saint.composition import compose, probe_logits, restore
from saint.errors import BaseChangedError, ConfigError, Interrupted
from saint.evaluation import Losses
from saint.grafts import Graft
from saint.growth import _training, make_first_stage
from saint.growth._journal import Journal
from saint.growth._layers import candidate_of, first_plan, open_layers, started
from saint.growth._trial import Trial
from saint.models import FrozenBase, tensor_digest
from saint.progress import Silent, Task
from saint.registry import Registry, verify
from saint.testing import assert_base_untouched, assert_same_function
from saint.training import _learn, train_many, untrained
from workshop import Workshop, build_workshop

pytestmark = pytest.mark.slow  # growth of two stages takes seconds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_workshop(tmp_path_factory.mktemp("workshop")).root


@pytest.fixture(scope="module")
def grown(root: Path) -> Layers:
    return grow(begin(root, plan_of()))


def test_each_stage_is_a_layer_graft_that_the_gates_accepted(grown: Layers) -> None:
    state = grown.registry.state
    assert [entry.status for entry in state.judged] == ["stands", "stands"]
    assert [entry.candidate.kind for entry in state.judged] == ["layer", "layer"]
    assert [[site.role for site in entry.candidate.sites] for entry in state.judged] == [["insertion", "head"]] * 2
    assert all(entry.candidate.options["blocks"] == 2 for entry in state.judged)
    assert verify(grown.registry).problems == ()
    assert_base_untouched(grown.base)


def test_as_many_parameters_are_active_in_every_stage(grown: Layers) -> None:
    [begun] = [event.body for event in grown.registry.state.others if event.name == "layers_begun"]
    active = {stage["block_params"] + stage["head_params"] for stage in begun["active"]}
    assert len(active) == 1
    assert {graft.num_params for graft in restore(grown.registry)} == active
    assert [stage["num_blocks"] for stage in begun["active"]] == [2, 4, 6]
    per_step = [stage["forward_flops"] + stage["backward_flops"] for stage in begun["active"]]
    trained = grown.registry.state.trained.values()
    assert [one["train_flops"] * 64 / one["train_tokens"] for one in trained] == per_step[1:]


def test_what_the_first_stage_does_not_train_stays_what_it_was(root: Path) -> None:
    plan = plan_of("schedule.num_steps=2")
    one = begin(root, plan, into="two-steps")
    before = untrained(first_plan(plan, one.data), one.data.tokenizer).state_dict()
    after = one.base.model.state_dict()
    moved = {name for name in before if tensor_digest(before[name]) != tensor_digest(after[name])}
    assert moved == {name for name in before if ".layers." in name or name.startswith("lm_head.")}


def test_a_stage_starts_at_the_loss_that_the_one_before_ended_at(grown: Layers) -> None:
    bpb = [one["bpb"] for one in grown.registry.state.rounds.values()]
    assert all(one["at_birth"] == pytest.approx(one["before"], abs=1e-6) for one in bpb)
    text = grown.data.select[grown.data.grown_domain]
    ended = Losses(seq_len=32).of(grown.base, restore(grown.registry)[:1], text).sum() / log(2) / text.num_bytes
    assert bpb[1]["before"] == pytest.approx(ended, abs=1e-6)
    assert bpb[1]["before"] < bpb[0]["before"]


def start_of(one: Layers, stack: list[Graft], **layerwise: Any) -> Graft:
    layers = plan_of(**layerwise).layerwise
    assert layers is not None
    return started(one.base, stack, one.registry.state.judged[len(stack)].candidate, layers)


@pytest.mark.parametrize("num_standing", [0, 1])
def test_blocks_with_output_projections_of_zero_change_nothing_to_the_bit(grown: Layers, num_standing: int) -> None:
    stack = restore(grown.registry)[:num_standing]
    without = probe_logits(compose(grown.base, stack))
    newborn = start_of(grown, stack)
    assert torch.equal(probe_logits(compose(grown.base, [*stack, newborn])), without)
    first, *_ = newborn.parts.values()
    assert len(first.flat.unique()) > 100, "the rest of them is random"


def test_blocks_may_start_at_random_or_as_the_one_below(grown: Layers) -> None:
    stack = restore(grown.registry)[:1]
    without = probe_logits(compose(grown.base, stack))
    for init in ("random", "copy"):
        begun = start_of(grown, stack, init=init)
        assert not torch.equal(probe_logits(compose(grown.base, [*stack, begun])), without)
    copied, below = (next(iter(graft.parts.values())).growth() for graft in (begun, stack[0]))
    for new in (copied.weights, *copied.further):
        assert all(torch.equal(new[name], weight) for name, weight in below.further[-1].items())


def test_a_head_that_begins_anew_knows_nothing(grown: Layers) -> None:
    stack = restore(grown.registry)[:1]
    begun = start_of(grown, stack, head="reset")
    head = grown.base.model.lm_head
    weight, bias = head.weight, head.bias
    for graft in (*stack, begun):
        weight, bias = graft.parts["lm_head"].fold(weight, bias)
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(bias.detach().abs().max()) < 1e-6


def test_taking_the_top_out_gives_the_earlier_logits_back(root: Path, grown: Layers) -> None:
    shutil.copytree(root / "grown", root / "taken-out")
    one = replace(grown, registry=Registry.open(root / "taken-out" / "registry"))
    lower, top = restore(one.registry)
    before = probe_logits(compose(one.base, [lower]))
    live = probe_logits(compose(one.base, [lower, top]))
    assert not torch.equal(live, before)
    assert torch.equal(probe_logits(compose(one.base, restore(one.registry))), live)
    one.registry.rollback(top.digest, reason="a look at what was below")
    assert torch.equal(probe_logits(compose(one.base, restore(one.registry))), before)


def test_a_grown_model_is_an_ordinary_deeper_one(grown: Layers, tmp_path: Path) -> None:
    export_stack(grown.registry, grown.base, "merged", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert merged.config.num_hidden_layers == 6
    tokens = torch.arange(24)[None] + 5
    composed = compose(grown.base, restore(grown.registry))
    assert_same_function(merged, composed)
    settings = {"max_new_tokens": 8, "do_sample": False, "use_cache": True}
    assert torch.equal(merged.generate(tokens, **settings), composed.generate(tokens, **settings))


def test_a_lora_phase_readjusts_all_blocks_and_can_be_taken_out(root: Path, tmp_path: Path) -> None:
    plan = plan_of(stages=[{}, {"tokens": 1536}, {"sort": "lora", "tokens": 1536}])
    one = grow(begin(root, plan, into="lora"))
    state = one.registry.state
    assert [entry.status for entry in state.judged] == ["stands", "stands"]
    layer, adapters = restore(one.registry)
    assert adapters.candidate.kind == "readjust"
    assert [site.role for site in adapters.candidate.sites][-2:] == ["insertion", "head"]
    assert adapters.candidate.options["rank"] == 2 * 2 * 16 // (3 * 4)
    [begun] = [event.body for event in state.others if event.name == "layers_begun"]
    phase = begun["active"][2]
    assert (phase["name"], phase["num_blocks"], phase["block_params"]) == ("LoRA on 4 blocks", 4, 0)
    assert phase["adapter_params"] + phase["head_params"] == adapters.num_params <= layer.num_params
    trained = list(state.trained.values())[-1]
    assert trained["train_flops"] * 64 / trained["train_tokens"] == phase["forward_flops"] + phase["backward_flops"]
    assert next(iter(state.rounds[1]["bpb"].values())) == pytest.approx(state.rounds[1]["bpb"]["at_birth"], abs=1e-6)

    export_stack(one.registry, one.base, "merged", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert merged.config.num_hidden_layers == 4
    assert_same_function(merged, compose(one.base, [layer, adapters]))
    assert verify(one.registry).problems == ()
    one.registry.rollback(adapters.digest, reason="a look at what was below")
    before = probe_logits(compose(one.base, [layer]))
    assert torch.equal(probe_logits(compose(one.base, restore(one.registry))), before)


def test_a_stage_that_is_refused_is_not_built_upon(root: Path) -> None:
    plan = plan_of("gates.gain.at_least_bpb=5.0", stages=[{}, {"tokens": 640}, {"sort": "lora", "tokens": 640}])
    one = grow(begin(root, plan, into="refused"))
    first, second = one.registry.state.judged
    assert {first.status, second.status}.isdisjoint({"stands"})
    assert (first.evidence.stack, second.evidence.stack) == ((), ())
    assert "layers" not in second.candidate.options, "it readjusts the blocks that are there"
    assert second.candidate.options["rank"] == 2 * 2 * 16 // (3 * 2)
    assert restore(one.registry) == []


class StopsIn(StopsAfter):
    """Stops, or dies, after so many tokens of training in a stage."""

    def __init__(self, stage: str, num_tokens: int, *, dies: bool = False) -> None:
        super().__init__(num_tokens)
        self._stage, self._dies = stage, dies

    @contextmanager
    def task(self, description: str, *, total: int, unit: str) -> Iterator[Task]:
        with super().task(description, total=total, unit=unit) as task:
            yield task if description.startswith(self._stage) else Silent()

    def advance(self, amount: int) -> None:
        try:
            super().advance(amount)
        except Interrupted:
            if self._dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise


@pytest.mark.parametrize("stage", ["first stage", "layer"])
def test_stopped_in_any_stage_it_goes_on_to_the_same_bits(root: Path, grown: Layers, stage: str) -> None:
    into, stops = f"stopped-{stage[:5]}", StopsIn(stage, 600)
    with pytest.raises(Interrupted):
        grow(begin(root, plan_of(), into=into, progress=stops), progress=stops)
    assert list((root / into).rglob("*checkpoint*")), "it goes on from where it was"
    again = grow(begin(root, plan_of(), into=into))
    assert again.base.digest == grown.base.digest
    assert told(again) == told(grown)


def test_killed_within_a_stage_it_goes_on_from_its_checkpoint(
    root: Path, grown: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    into, dies = "killed", StopsIn("layer", 600, dies=True)
    monkeypatch.setattr(_learn, "_SAVE_EVERY_S", 0.0)
    if (child := os.fork()) == 0:
        grow(begin(root, plan_of(), into=into, progress=dies), progress=dies)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list((root / into / "registry").rglob("checkpoints/*.safetensors"))
    again = grow(begin(root, plan_of(), into=into))
    assert told(again) == told(grown)


def test_a_frozen_head_is_no_part_of_a_stage(grown: Layers) -> None:
    layers = plan_of(head="frozen").layerwise
    assert layers is not None
    assert [site.role for site in candidate_of(grown.base, layers, seed=0).sites] == ["insertion"]


def test_a_llama_grows_too(root: Path) -> None:
    plan = plan_of(architecture="llama", model={**LLAMA, "tie_word_embeddings": False}, blocks=1, stages=[{}, {}])
    one = grow(begin(root, plan, into="llama"))
    assert "lm_head" in one.registry.state.judged[0].candidate.sites[1].key
    stack = restore(one.registry)
    assert stack
    merged = saint.merge(one.base, stack)
    assert_same_function(merged.model, compose(one.base, stack))


def test_a_head_that_is_tied_can_only_be_frozen(root: Path) -> None:
    tied = {"architecture": "llama", "model": {**LLAMA, "tie_word_embeddings": True}, "blocks": 1}
    with pytest.raises(ConfigError, match="take an untied head, or head = 'frozen'"):
        begin(root, plan_of(**tied), into="tied")
    plan = plan_of("schedule.num_steps=2", head="frozen", **tied)
    one = begin(root, plan, into="tied-frozen")
    before = untrained(first_plan(plan, one.data), one.data.tokenizer)
    assert torch.equal(one.base.model.lm_head.weight, before.lm_head.weight)


@pytest.mark.parametrize("head", ["carried", "continued"])
def test_the_head_goes_on_with_its_optimisers_state_or_without(root: Path, head: str) -> None:
    plan = plan_of(head=head)
    one = begin(root, plan, into=f"head-{head}")
    trial: Trial = open_layers(Journal(one.registry, one.base, one.data, plan, Silent()), Losses(seq_len=32), 0, [])
    if head == "continued":
        assert not trial.moments
        return
    assert set(trial.moments) == {"lm_head.delta", "lm_head.bias"}
    steps = {float(there["step"]) for there in trial.moments.values()}
    assert steps == {24.0}


def test_what_is_below_a_stage_may_not_move(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = begin(root, plan_of(), into="moved")

    def tampers(base: FrozenBase, stack: list[Graft], *arguments: Any, **more: Any) -> Any:
        found = train_many(base, stack, *arguments, **more)
        for graft in stack:
            with torch.no_grad():
                next(graft.parameters()).view(-1)[0] += 1e-3
        return found

    monkeypatch.setattr(_training, "train_many", tampers)
    with pytest.raises(BaseChangedError, match="after stage 3 was trained on it"):
        grow(one)


def test_a_base_of_another_schedule_is_not_grown_on(root: Path, grown: Layers) -> None:
    with pytest.raises(ConfigError, match="made by another schedule"):
        make_first_stage(plan_of("schedule.num_steps=30"), grown.data, root / "grown" / "base")


def test_from_the_command_line_a_plan_is_enough(workshop: Workshop) -> None:
    plan = workshop.root / "layers.toml"
    plan.write_text(LAYERS, encoding="utf-8")
    into = ("--output-dir", workshop.root / "out")
    beyond = workshop.saint("grow", plan, *into, "--set", "layerwise.active.params=100")
    assert (beyond.returncode, beyond.stderr.count("\n")) == (2, 1)
    assert "the active budget allows 100" in beyond.stderr
    assert not list(workshop.root.glob("out/*base*"))

    grown = workshop.saint("grow", plan, *into)
    assert grown.returncode == 0, grown.stderr
    assert "blocks 3 to 4" in grown.stdout
    assert "FLOPs of a step, backward" in grown.stdout
    assert "2 sites: insertion, head" in grown.stdout
    events = list(workshop.root.glob("out/registry/log/*/*.json"))
    assert workshop.saint("grow", plan, *into).returncode == 0
    assert workshop.saint("grow", workshop.root / "out" / "registry").returncode == 0
    assert list(workshop.root.glob("out/registry/log/*/*.json")) == events, "what is finished is left alone"

    changed = workshop.saint("grow", plan, *into, "--set", "layerwise.lr=0.5")
    assert changed.returncode == 2
    assert "was begun with another schedule: layerwise.lr is 0.5, and was 0.01" in changed.stderr
    other = workshop.saint("grow", workshop.plan, "--output-dir", workshop.root / "other")
    assert other.returncode == 2
    assert "has no table [layerwise]" in other.stderr
