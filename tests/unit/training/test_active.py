"""What a stage of growth by layers takes: the published counts, and those of real steps."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig

from saint.backbones import LayeredConfig
from saint.composition import Above, Below, boundary_of, newborn
from saint.errors import BudgetError, ConfigError
from saint.grafts import Graft
from saint.growth import LayerStage, Layerwise, stage_candidate, stages_of, started
from saint.models import FrozenBase, family_of, freeze, token_nats
from saint.records import ActiveBudget, ActiveStage, Candidate
from saint.training import Schedule, active_stage, deepened, head_of, lora_rank, lora_stage
from small_bases import moved

SCHEDULE = Schedule(num_steps=10, batch_size=2, seq_len=16)
LAYERED = LayeredConfig(vocab_size=96, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
LLAMA = LlamaConfig(
    vocab_size=96,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    tie_word_embeddings=False,
    pad_token_id=None,
)
BOTH = pytest.mark.parametrize("config", [LAYERED, LLAMA], ids=["layered", "llama"])


def stage(config: object, num_blocks: int, *, num_newest: int = 2, with_head: bool = True) -> ActiveStage:
    return active_stage(
        config, name="a stage", num_blocks=num_blocks, num_newest=num_newest, with_head=with_head, schedule=SCHEDULE
    )


def test_the_published_counts() -> None:
    """arXiv:2507.07129: 104,950,784 parameters are active in every stage of three blocks."""
    published = LayeredConfig(
        vocab_size=65_536, hidden_size=1024, num_hidden_layers=3, num_attention_heads=32, final_norm=False
    )
    for num_blocks in (3, 9):
        found = stage(published, num_blocks, num_newest=3)
        assert (found.block_params, found.head_params) == (3 * 12_592_128, 67_174_400)
        assert found.params == 104_950_784
        assert found.optimizer_bytes == 2 * 4 * 104_950_784
    assert stage(published, 9, num_newest=9).params == 180_503_552


@BOTH
def test_frozen_blocks_cost_their_forward_pass_and_nothing_else(config: object) -> None:
    first, second, third = (stage(config, num_blocks) for num_blocks in (2, 4, 6))
    assert first.params == second.params == third.params
    assert first.backward_flops == second.backward_flops == third.backward_flops
    assert first.activation_bytes == second.activation_bytes == third.activation_bytes
    assert third.forward_flops - second.forward_flops == second.forward_flops - first.forward_flops > 0
    assert stage(config, 6, num_newest=6).backward_flops > 2 * third.backward_flops


def counted(model: torch.nn.Module) -> tuple[int, int]:
    """Operations of a real step, forward and backward."""
    tokens = torch.arange(2 * 17).view(2, 17)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        nats = token_nats(model, tokens)
        forward = counter.get_total_flops()
        nats.mean().backward()
        return forward, counter.get_total_flops() - forward


def stage_on(base: FrozenBase, *, seed: int) -> Graft:
    top = [site for site in base.sites() if site.sort == "insertion"][-1]
    head = next(site for site in base.sites() if site.role == "head")
    options = {"blocks": 2, "head_bias": head_of(base.model).bias is not None}
    return moved(newborn(base, Candidate(sites=(top, head), kind="layer", options=options, seed=seed)), seed=seed)


@BOTH
def test_a_stage_costs_what_its_frozen_blocks_cost_forward_and_the_new_part(config: object) -> None:
    base = freeze(family_of(config).from_config(deepened(config, 2)))
    standing, new = (
        [stage_on(base, seed=seed).requires_grad_(requires_grad=False) for seed in (1, 2)],
        stage_on(base, seed=3),
    )
    boundary = boundary_of(base, standing, new.candidate.sites)
    assert boundary == 2, "all that stands is below"
    below = Below(base, standing, [boundary])
    whole, alone = stage(config, 8), stage(config, 2)
    anew = Above(base, standing, [new], boundary, lambda ids: below.read(ids)[boundary])
    assert counted(anew) == (whole.forward_flops, whole.backward_flops)
    new.zero_grad()
    hidden = below.read(torch.arange(2 * 17).view(2, 17)[:, :-1])[boundary]
    remembered = Above(base, standing, [new], boundary, lambda _: hidden)
    assert counted(remembered) == (alone.forward_flops, alone.backward_flops)
    assert all(parameter.grad is None for graft in standing for parameter in graft.parameters())


def test_adapters_of_a_phase_have_the_published_rank() -> None:
    """arXiv:2507.07129: (2/3) k d / L, at 3 of 16 blocks of width 1024 exactly a stage's matrices."""
    published = LayeredConfig(
        vocab_size=65_536, hidden_size=1024, num_hidden_layers=16, num_attention_heads=32, final_norm=False
    )
    found = lora_stage(published, name="", num_blocks=16, rank=128, with_head=True, schedule=SCHEDULE)
    assert (found.adapter_params, found.block_params, found.head_params) == (3 * 12 * 1024**2, 0, 67_174_400)
    assert found.params < stage(published, 3, num_newest=3).params
    with torch.device("meta"):
        block = family_of(published).from_config(deepened(published, 1)).model.layers[0]
    ranks = [lora_rank(block, num_newest=3, num_blocks=num_blocks) for num_blocks in (6, 9, 12, 13, 16, 10_000)]
    assert ranks == [341, 227, 170, 157, 128, 1]


@BOTH
def test_a_phase_costs_what_a_real_one_does(config: object) -> None:
    base = freeze(family_of(config).from_config(deepened(config, 2)))
    layers = Layerwise(blocks=2, stages=(LayerStage(), LayerStage(), LayerStage(sort="lora")))
    standing = [moved(stage_on(base, seed=1), seed=1).requires_grad_(requires_grad=False)]
    adapters = started(base, standing, stage_candidate(base, standing, layers, 2, seed=3), layers)
    *_, found = stages_of(layers, config, [SCHEDULE] * 3)
    assert adapters.num_params == found.params == found.adapter_params + found.head_params
    assert found.optimizer_bytes == 2 * 4 * found.params
    real = counted(Above(base, standing, [moved(adapters, seed=2)], 0, lambda _: torch.empty(0)))
    assert real == (found.forward_flops, found.backward_flops)


def test_a_phase_beyond_the_budget_of_a_stage_is_refused() -> None:
    def stages(**phase: int) -> list[ActiveStage]:
        layers = Layerwise(blocks=2, stages=(LayerStage(), LayerStage(), LayerStage(sort="lora", **phase)))
        return stages_of(layers, LAYERED, [SCHEDULE] * 3)

    found = stages()
    assert found[2].adapter_params <= found[0].block_params
    with pytest.raises(
        BudgetError, match=r"stage 3 \(LoRA on 4 blocks\) has .* in adapters, and the blocks of a stage"
    ):
        stages(rank=6)
    with pytest.raises(BudgetError, match=r"stage 1 .* active parameters"):
        ActiveBudget(params=found[2].params - 1).check(found[2:])


def test_a_table_that_learns_is_counted_where_it_is() -> None:
    learned = LayeredConfig(vocab_size=96, hidden_size=16, num_attention_heads=2, interface="learned")
    layers = Layerwise(blocks=2, stages=(LayerStage(), LayerStage()), interface_learns=True)
    first, second = stages_of(layers, learned, [SCHEDULE] * 2)
    assert (first.embedding_params, second.embedding_params) == (96 * 16, 0)
    assert first.params == second.params + 96 * 16
    assert first.activation_bytes > stage(learned, 2).activation_bytes, "gradients go on to the table"
    with pytest.raises(ConfigError, match="has no parameters, so it cannot learn"):
        stages_of(layers, LAYERED, [SCHEDULE] * 2)


def test_only_a_head_of_its_own_can_learn() -> None:
    tied = deepened(LLAMA, 2)
    tied.tie_word_embeddings = True
    with pytest.raises(ConfigError, match="take an untied head"):
        stage(tied, 2)
    assert stage(tied, 2, with_head=False).head_params == 0
    with pytest.raises(ConfigError, match="take an untied head"):
        stage(LayeredConfig(vocab_size=96, hidden_size=16, num_attention_heads=2, head="tied"), 2)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"params": 1}, "stage 1 .* active parameters"),
        ({"optimizer_bytes": 1}, "bytes of the optimiser"),
        ({"activation_bytes": 1}, "bytes of activations"),
        ({"step_flops": 1}, "operations a step"),
        ({"tokens": 639}, "2 stages take 640 tokens together, and the active budget allows 639"),
        ({"train_flops": 1}, "operations together"),
    ],
)
def test_a_stage_beyond_a_limit_is_refused(limits: dict[str, int], said: str) -> None:
    stages = [stage(LAYERED, 2), stage(LAYERED, 4)]
    with pytest.raises(BudgetError, match=said):
        ActiveBudget(**limits).check(stages)
    ActiveBudget(params=stages[0].params, tokens=640).check(stages)


def test_no_limit_is_below_one() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ActiveBudget(tokens=0)
