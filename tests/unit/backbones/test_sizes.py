"""Parameter counts: those that were published, and that the plain rival has as many."""

import pytest
from transformers import LlamaForCausalLM

from saint.backbones import SIZES, DrmForCausalLM, count_params, drm_config, rival_config
from saint.errors import UnknownNameError
from saint.grafts import num_params
from saint.records import Site

PUBLISHED = {"1m": 3_468_581, "5m": 5_699_059, "10m": 10_489_779, "15m": 19_169_255, "50m": 59_443_657}
PUBLISHED |= {"125m": 152_285_049, "350m": 455_011_929}


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_as_many_parameters_as_published(name: str) -> None:
    found = count_params(DrmForCausalLM, drm_config(name, mode="parity"))
    assert found == PUBLISHED[name] == SIZES[name].num_params


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
@pytest.mark.parametrize(("changes", "count"), [("gravity_enabled", 3_468_556), ("variable_dim", 3_464_421)])
def test_published_ablations_have_as_many_too(changes: str, count: int) -> None:
    assert count_params(DrmForCausalLM, drm_config("1m", mode="parity", **{changes: False})) == count


def by_formula(name: str) -> int:
    """As published: vocabulary 50,000, six anchors, a tied head, no biases in blocks."""
    size, vocab, anchors = SIZES[name], 50_000, 6
    c, d, h, r = size.d_model, size.d_manifold, size.metric_hidden, size.metric_rank
    shared = vocab * c + (d * h + h + h * h + h + h * d * r + d * r) + (d * d + 2 * d + 1) + (c * c + c) + anchors * d
    layer = 2 * c + 4 * c * c + 2 * (c // size.n_heads) * d + 1 + 3 * c * size.d_ff
    return shared + size.n_layers * layer + c


@pytest.mark.parametrize("name", SIZES)
def test_the_table_says_what_the_formula_gives(name: str) -> None:
    assert SIZES[name].num_params == by_formula(name)


CAUSAL = {"1m": 3_445_973, "5m": 5_621_095, "15m": 18_524_729, "50m": 56_287_745, "125m": 142_094_397}
CAUSAL |= {"350m": 420_375_489}


@pytest.mark.filterwarnings("ignore:in mode 'parity'")
@pytest.mark.parametrize("name", CAUSAL)
def test_in_mode_causal_only_the_maps_to_the_manifold_are_other_ones(name: str) -> None:
    config = drm_config(name)
    found = count_params(DrmForCausalLM, config)
    c, heads, dim = config.d_model, config.n_heads, config.d_manifold
    width = heads * config.num_coordinates
    as_published = DrmForCausalLM, drm_config(name, mode="parity", d_manifold=dim, metric_hidden=config.metric_hidden)
    saved = 2 * c * (c - width) + 2 * config.head_dim * dim + 1 - heads - 2 * width
    assert found == CAUSAL[name] == count_params(*as_published) - config.n_layers * saved
    rival = count_params(LlamaForCausalLM, rival_config(config))
    assert abs(rival - found) <= 1.5 * c * config.n_layers  # half a channel of each MLP


def test_the_published_graft_plan() -> None:
    """Blocks of 25,889 channels after a block of the 5M size; each had a trainable strength, which ours is not."""
    site = Site(sort="block", module="blocks.0", role="block", depth=0, stream="decoder", d_in=96, d_out=96)
    block = num_params("block", {"width": 25_889}, [site]) + 1
    assert block == 4_970_689
    assert 24 * block == 119_296_536
    assert SIZES["5m"].num_params + 24 * block == 124_995_595


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no DRM size is called '7b'; there are 1m, 5m-d4, 5m, 10m"):
        drm_config("7b")
