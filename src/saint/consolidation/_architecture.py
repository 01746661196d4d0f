"""An ordinary model of a larger architecture: grafts that are layers or channels become plain layers and channels.

Everything happens in the configuration and in the names and shapes of the stored weights; the model is then built anew
by its own class, as loading a saved one does, and what that class has no place for is refused.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D

from saint.errors import ExportError
from saint.grafts import NewChannels, NewLayer
from saint.models import FrozenBase, block_stacks
from saint.records import Site

Addition = tuple[Site, NewLayer | NewChannels]
_Weights = dict[str, Tensor]

_NUM_LAYERS = {
    "decoder": ("num_decoder_layers", "decoder_layers", "num_hidden_layers"),
    "encoder": ("encoder_layers", "num_hidden_layers"),
}
_PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers", "attention_layers")
_MLP_SIZES = ("intermediate_size", "n_inner", "d_ff", "ffn_dim")


def enlarge(base: FrozenBase, model: Any, additions: Sequence[Addition]) -> Any:
    """A model of `model`'s class with the additions as plain layers and channels.

    Args:
        base: Where the additions' sites are.
        model: The base with other changes folded into its weights; its tensors may be used in the answer.
        additions: In the stack's order: layers at one point run first to last.

    Raises:
        ExportError: The architecture has no such larger model.
    """
    config = copy.deepcopy(model.config)
    weights = dict(model.state_dict())
    layers = [
        (site, weights)
        for site, added in additions
        if isinstance(added, NewLayer)
        for weights in (added.weights, *added.further)
    ]
    channels = [(site, added) for site, added in additions if isinstance(added, NewChannels)]
    new = [(site, _as_stored(weights, site, added)) for site, added in layers]
    if channels:
        _widen(base, config, weights, new, channels)
    for stack, blocks in block_stacks(base.model).items():
        here = [(site, block) for site, block in new if site.module.rpartition(".")[0] == stack]
        if here:
            weights = _deepen(config, weights, stack, len(blocks), here)
    return rebuilt(model, config, weights)


def _as_stored(weights: _Weights, site: Site, added: Mapping[str, Tensor]) -> _Weights:
    """The new block's tensors by their names in a block, in the dtypes of the block before it.

    A bias that only the block before has was given to it by merging; the new block's is zero.
    """
    inside = f"{site.module}."
    before = {name.removeprefix(inside): tensor for name, tensor in weights.items() if name.startswith(inside)}
    given = {name: torch.zeros_like(tensor) for name, tensor in before.items() if name.endswith(".bias")}
    return before | given | {name: weight.to(before[name]) for name, weight in added.items()}


def _deepen(
    config: Any, weights: _Weights, stack: str, num_blocks: int, new: Sequence[tuple[Site, _Weights]]
) -> _Weights:
    """All weights by their names in the model whose stack also holds the new blocks."""
    order: list[tuple[int, _Weights | None]] = []
    for depth in range(num_blocks):
        order += [(depth, None), *((depth, block) for site, block in new if site.depth == depth)]
    renamed = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{stack}.")}
    for index, (depth, block) in enumerate(order):
        inside = f"{stack}.{depth}."
        there = block or {n.removeprefix(inside): tensor for n, tensor in weights.items() if n.startswith(inside)}
        renamed |= {f"{stack}.{index}.{name}": tensor for name, tensor in there.items()}
    count_layers(config, new[0][0].stream, [depth for depth, _ in order])
    return renamed


def count_layers(config: Any, stream: str, depths: Sequence[int]) -> None:
    """Say in the configuration how many blocks there are; what it lists for each is as at the block before."""
    num_before = depths[-1] + 1
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        raise ExportError("this base scales attention by a layer's index, so no layer can be put in; leave it out")
    counted = [name for name in _NUM_LAYERS[stream] if getattr(config, name, None) == num_before]
    if not counted:
        raise ExportError(
            f"the configuration of {config.model_type} has no number of {stream} layers of {num_before} under "
            f"{' or '.join(_NUM_LAYERS[stream])}, so no layer can be put in; leave that graft out with --graft"
        )
    for name in _PER_LAYER:
        listed = getattr(config, name, None)
        if isinstance(listed, (list, tuple)) and len(listed) == num_before:
            setattr(config, name, [listed[depth] for depth in depths])
    setattr(config, counted[0], len(depths))


class _Maps(NamedTuple):
    """The names of an MLP's linear maps."""

    up: str
    gate: str | None
    down: str

    def without(self, prefix: str) -> "_Maps":
        """Their names inside the module whose name is the prefix."""
        gate = None if self.gate is None else self.gate.removeprefix(prefix)
        return _Maps(self.up.removeprefix(prefix), gate, self.down.removeprefix(prefix))


def _widen(
    base: FrozenBase,
    config: Any,
    weights: _Weights,
    new_blocks: Sequence[tuple[Site, _Weights]],
    channels: Sequence[tuple[Site, NewChannels]],
) -> None:
    """Give every MLP as many channels more as the widest needs; those that nobody grew have weights of zero."""
    grown: dict[str, list[NewChannels]] = defaultdict(list)
    for site, more in channels:
        grown[site.module].append(more)
    num_more = max(sum(len(more.up) for more in there) for there in grown.values())
    mlps = [(site, _maps_of(base, site)) for site in base.sites() if site.sort == "mlp"]
    if len(mlps) < sum(map(len, block_stacks(base.model).values())):
        raise ExportError(
            "not every block of this base has an MLP to widen, and a checkpoint has one width; leave it out"
        )
    transposed = isinstance(base.model.get_submodule(mlps[0][1].down), Conv1D)
    num_before = next(site.d_in for site in base.sites() if site.module == mlps[0][1].down)
    for site, maps in mlps:
        more = _padded(grown[site.module], site, num_more, weights[f"{maps.up}.weight"].device)
        _append(weights, maps, more, transposed=transposed)
        for beside, block in new_blocks:
            if site.module.startswith(f"{beside.module}."):
                inside = maps.without(f"{beside.module}.")
                none = _padded((), site, num_more, block[f"{inside.up}.weight"].device)
                _append(block, inside, none, transposed=transposed)
    sized = [name for name in _MLP_SIZES if hasattr(config, name) and getattr(config, name) in (None, num_before)]
    if not sized:
        raise ExportError(
            f"the configuration of {config.model_type} has no MLP size of {num_before}, expected it as one of "
            f"{', '.join(_MLP_SIZES)}; leave grafts of kind width out with --graft"
        )
    setattr(config, sized[0], num_before + num_more)


def _maps_of(base: FrozenBase, site: Site) -> _Maps:
    inside = [other for other in base.sites() if other.module.startswith(f"{site.module}.")]
    maps = {other.role: other.module for other in inside if other.sort == "linear"}
    if "up" not in maps:
        raise ExportError(
            f"{site.module} has its gate and its way up in one projection, and which rows are which is not known; "
            "leave graft kind width out with --graft"
        )
    return _Maps(maps["up"], maps.get("gate"), maps["down"])


def _padded(grown: Sequence[NewChannels], site: Site, num_channels: int, device: torch.device) -> NewChannels:
    """The new channels of one MLP side by side, and then as many of zero as are missing."""
    missing = num_channels - sum(len(more.up) for more in grown)
    up, down = torch.zeros(missing, site.d_in, device=device), torch.zeros(site.d_out, missing, device=device)
    gate = torch.cat([*(more.gate for more in grown if more.gate is not None), up]) if site.gated else None
    ways_up, ways_down = [more.up for more in grown], [more.down for more in grown]
    return NewChannels(up=torch.cat([*ways_up, up]), gate=gate, down=torch.cat([*ways_down, down], dim=1))


def _append(weights: _Weights, maps: _Maps, more: NewChannels, *, transposed: bool) -> None:
    """Put the channels after those that an MLP's maps have, with biases of zero where the maps have any."""
    for name, way, axis in ((maps.up, more.up, 0), (maps.gate, more.gate, 0), (maps.down, more.down, 1)):
        if name is None or way is None:
            continue
        stored, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        added, dim = (way.T, 1 - axis) if transposed else (way, axis)
        weights[f"{name}.weight"] = torch.cat([stored, added.to(stored)], dim=dim)
        if axis == 0 and bias is not None:
            weights[f"{name}.bias"] = torch.cat([bias, bias.new_zeros(len(way))])


def rebuilt(model: Any, config: Any, weights: _Weights) -> Any:
    """A model of the same class with this configuration and these weights, each in its own dtype."""
    with no_init_weights():
        larger = type(model)(config)
    places = {name: tensor.shape for name, tensor in larger.state_dict().items()}
    wrong = sorted(
        name
        for name in places.keys() | weights.keys()
        if name not in weights or places.get(name) != weights[name].shape
    )
    if wrong:
        raise ExportError(
            f"a larger {type(model).__name__} has no {wrong[0]} as these grafts need it, so they cannot be merged; "
            "leave them out with --graft, or compose them with saint.restore"
        )
    larger.load_state_dict(weights, assign=True)
    larger.tie_weights()
    larger.generation_config = copy.deepcopy(model.generation_config)
    return larger.to(model.device).eval()
