import copy
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saint.backbones import MixtureForCausalLM
from saint.composition import place_of
from saint.consolidation._architecture import Addition, enlarge
from saint.consolidation._biases import give_biases
from saint.errors import ExportError
from saint.grafts import Graft, Kind, NewLayer
from saint.models import FrozenBase, dequantize, freeze, weight_of
from saint.records import Site


@torch.no_grad()
def merge(base: FrozenBase, stack: Sequence[Graft]) -> FrozenBase:
    """A new base with every graft folded into its site's weight, in float32; the old one is untouched.

    An output head that is tied to the embeddings is untied first when a graft changes it. New layers and channels of
    MLPs become plain ones of a larger architecture, once all else is folded. A quantised base is first put into plain
    numbers, all of it: folded into few bits, the grafts would be rounded away. Where a graft folds a bias into a site
    that has none, the model gets biases by its configuration's setting for them.

    Raises:
        ExportError: A graft can neither be folded nor become part of a larger architecture, or the base's architecture
            has no place for it or for a bias that it needs, or the weight is also another expert's of a mixture.
    """
    model: Any = copy.deepcopy(base.model)
    dequantize(model)
    folded: dict[str, tuple[Tensor, Tensor | None]] = {}
    additions: list[Addition] = []
    for graft in stack:
        graft.to(device=base.model.device)
        for site in graft.candidate.sites:
            part = graft.parts[site.key]
            part.attach(place_of(base, site))
            if part.changes_layers:
                additions = _with_layers_changed(additions, site, part)
                continue
            if (grown := part.growth()) is not None:
                additions.append((site, grown))
                continue
            if not part.can_fold:
                raise ExportError(
                    f"graft {graft.digest[:12]} of kind {graft.candidate.kind} at {site.key} cannot be folded into "
                    "weights; leave it out with --graft, or compose it with saint.restore"
                )
            linear = model.get_submodule(site.module)
            weight, bias = folded.get(site.module) or (weight_of(linear).float(), linear.bias)
            change = part.fold(weight, bias)
            assert change is not None  # it is foldable
            folded[site.module] = change
    give_biases(model, [module for module, (_, bias) in folded.items() if bias is not None])
    for module, (weight, bias) in folded.items():  # rounded to the base's dtype once, after all grafts
        linear = model.get_submodule(module)
        _must_be_its_own(model, module)
        _untie(model, linear)
        weight_of(linear).copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    merged = freeze(enlarge(base, model, additions) if additions else model, tokenizer=base.tokenizer)
    base.check()
    return merged


def _must_be_its_own(model: Any, module: str) -> None:
    """Refuse a weight that a mixture holds once and reads at several places, all of which would change."""
    if not isinstance(model, MixtureForCausalLM):
        return
    weight, name = model.get_submodule(module).weight, f"{module}.weight"
    for other, parameter in model.named_parameters(remove_duplicate=False):
        if parameter is weight and other != name:
            raise ExportError(
                f"{name} is one tensor with {other} in this mixture, and a graft at {module} would change both; leave "
                "it out with --graft, or compose it with saint.restore"
            )


def _with_layers_changed(additions: Sequence[Addition], site: Site, part: Kind) -> list[Addition]:
    """New layers at a site with a change of them, as a graft above makes one."""
    layers = [
        (place, weights)
        for place, (where, added) in enumerate(additions)
        if where == site and isinstance(added, NewLayer)
        for weights in (added.weights, *added.further)
    ]
    part.must_change(len(layers))
    changed: dict[int, list[dict[str, Tensor]]] = defaultdict(list)
    for (place, _), weights in zip(layers, part.change_layers([weights for _, weights in layers]), strict=True):
        changed[place].append(weights)
    return [
        (where, NewLayer(weights=changed[place][0], further=tuple(changed[place][1:])) if place in changed else added)
        for place, (where, added) in enumerate(additions)
    ]


def _untie(model: Any, linear: Any) -> None:
    """Give `linear` a weight of its own if the embeddings share it."""
    shared = getattr(model.get_input_embeddings(), "weight", None)  # a frozen token interface has none
    if shared is not None and linear.weight is shared:
        linear.weight = nn.Parameter(shared.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
