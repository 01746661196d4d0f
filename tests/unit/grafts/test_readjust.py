"""Adapters on all blocks of a model that has grown, whose new blocks are other grafts."""

import pytest
import torch

from saint.backbones import LayeredConfig
from saint.composition import compose, compose_beside, newborn, probe_logits
from saint.consolidation import merge
from saint.errors import ConfigError, SiteError
from saint.grafts import Graft
from saint.growth import LayerStage, Layerwise, stage_candidate, started
from saint.models import FrozenBase, family_of, freeze
from saint.testing import assert_base_untouched, assert_same_function
from small_bases import moved

BLOCKS, LORA = LayerStage(), LayerStage(sort="lora")
LAYERS = Layerwise(blocks=2, stages=(BLOCKS, LORA, BLOCKS, LORA, BLOCKS, LORA))
CONFIG = LayeredConfig(vocab_size=96, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)


def stage(base: FrozenBase, stack: list[Graft], index: int, layers: Layerwise = LAYERS) -> Graft:
    return started(base, stack, stage_candidate(base, stack, layers, index, seed=index), layers)


@pytest.fixture(scope="module")
def base() -> FrozenBase:
    torch.manual_seed(0)
    return freeze(family_of(CONFIG).from_config(CONFIG))


@pytest.fixture(scope="module")
def stack(base: FrozenBase) -> list[Graft]:
    """Blocks and adapters in turn, each as training could have left it."""
    found: list[Graft] = []
    for index in range(1, len(LAYERS.stages)):
        found.append(moved(stage(base, found, index), seed=index))
    return found


def test_every_stage_changes_nothing_as_it_starts_and_something_later(base: FrozenBase, stack: list[Graft]) -> None:
    for index in range(1, len(LAYERS.stages)):
        below = stack[: index - 1]
        before = probe_logits(compose(base, below))
        assert torch.equal(probe_logits(compose(base, [*below, stage(base, below, index)])), before)
        assert not torch.equal(probe_logits(compose(base, [*below, stack[index - 1]])), before)
        assert torch.equal(probe_logits(compose(base, below)), before), "and it can be taken out again"
    assert_base_untouched(base)


def test_a_block_is_its_weights_and_what_adapters_above_add(base: FrozenBase, stack: list[Graft]) -> None:
    lower = stack[:3]
    [site] = [site for site in lower[2].candidate.sites if site.sort == "insertion"]
    before, adapters = lower[1].parts[site.key], lower[2].parts[site.key]
    together = compose(base, lower)  # shows them what is there
    first, second = before.growth().weights, before.growth().further[0]
    changed = adapters.change_layers([first, second])
    name = (
        "attention.q_proj.weight"
        if "attention.q_proj.weight" in first
        else next(n for n in first if n.endswith("weight") and first[n].ndim == 2)
    )
    rank = lower[2].candidate.options["rank"]
    assert rank == 2 * 16 * 2 // (3 * 4)
    for one, other in zip((first, second), changed, strict=True):
        assert int(torch.linalg.matrix_rank(other[name] - one[name], rtol=1e-4)) == rank
    assert not torch.equal(changed[0][name] - first[name], changed[1][name] - second[name]), "each has its own"
    merged = merge(base, lower).model
    assert merged.config.num_hidden_layers == 4
    inside = dict(merged.named_parameters())
    torch.testing.assert_close(inside[f"{site.module.rpartition('.')[0]}.2.{name}"], changed[0][name])
    assert_same_function(merged, together)


def test_merged_with_what_grew_after_them(base: FrozenBase, stack: list[Graft]) -> None:
    merged = merge(base, stack).model
    assert merged.config.num_hidden_layers == 6
    assert_same_function(merged, compose(base, stack))


def test_a_copy_of_the_block_below_has_its_adapters(base: FrozenBase, stack: list[Graft]) -> None:
    copying = Layerwise(blocks=2, stages=LAYERS.stages, init="copy")
    for num_standing, depth in ((1, 1), (3, 3)):
        copied = (
            next(iter(stage(base, stack[:num_standing], num_standing + 1, copying).parts.values())).growth().weights
        )
        merged = dict(merge(base, stack[:num_standing]).model.named_parameters())
        [blocks] = {name.rpartition(f".{depth}.")[0] for name in merged if f".{depth}." in name}
        for name, weight in copied.items():
            torch.testing.assert_close(weight, merged[f"{blocks}.{depth}.{name}"])


def test_on_other_layers_than_theirs_they_are_refused(base: FrozenBase, stack: list[Graft]) -> None:
    with pytest.raises(SiteError, match="trained on 2 new layers, and 0 stand there; take their graft out too"):
        compose(base, [stack[0], stack[2]])
    with pytest.raises(SiteError, match="trained on 2 new layers, and 0 stand there"):
        merge(base, [stack[2]])
    with pytest.raises(SiteError, match="shares no pass with others"):
        compose_beside(base, stack[:2], [stack[2], stack[2]])


def test_adapters_of_another_block_are_refused(base: FrozenBase, stack: list[Graft]) -> None:
    candidate = stack[2].candidate
    options = {**candidate.options, "layer_width": 7}
    with pytest.raises(SiteError, match="set layer_width to 288"):
        newborn(base, type(candidate)(sites=candidate.sites, kind="readjust", options=options))
    with pytest.raises(ConfigError, match="rank is 0"):
        newborn(base, type(candidate)(sites=candidate.sites, kind="readjust", options={"rank": 0}))
