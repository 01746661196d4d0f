from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from saint import discovery
from saint.composition import Composed, compose
from saint.data import Corpus
from saint.errors import ConfigError
from saint.grafts import Graft, Kind
from saint.models import FrozenBase, follow_gradients, token_nats
from saint.progress import Progress, Silent
from saint.records import SensitivityMap, Site
from saint.sensitivity._flops import FlopMeter
from saint.sensitivity._map import Map
from saint.sensitivity._seen import Seen
from saint.sensitivity._watch import Show, Watch


def measure_sensitivity(
    base: FrozenBase,
    text: Corpus,
    *,
    stack: Sequence[Graft] = (),
    method: str = "gradient",
    num_batches: int = 4,
    batch_size: int = 8,
    seq_len: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> SensitivityMap:
    """How much the composed model's loss would answer to a change, for every site at once.

    One forward pass per batch, and one backward pass if the map needs it, whatever the number of sites; no weight
    gradient is kept by the model.

    Args:
        text: Must be the train split: scoring on held-out text would leak it into the choice of sites.
        stack: What stands already: sensitivity is a property of the model that is to be grown now.
        seed: Chooses the windows. Same seed and machine, same map.

    Raises:
        UnknownNameError: No map is called `method`.
        DataError: The text is shorter than a window.
    """
    measured = measure_sensitivities(
        base,
        text,
        [method],
        stack=stack,
        num_batches=num_batches,
        batch_size=batch_size,
        seq_len=seq_len,
        seed=seed,
        progress=progress,
    )
    return measured[method]


def measure_sensitivities(
    base: FrozenBase,
    text: Corpus,
    methods: Iterable[str],
    *,
    stack: Sequence[Graft] = (),
    num_batches: int = 4,
    batch_size: int = 8,
    seq_len: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, SensitivityMap]:
    """Several maps, each with its defaults, from the same passes: name -> map.

    The arguments and errors are those of `measure_sensitivity`. Each map's `num_flops` is that of all of them together,
    for they share the passes and what more than one of them needs; a map's own cost is had by measuring it alone.
    """
    maps = {method: discovery.find("sensitivity", method, Map)() for method in methods}
    found = observe(
        base,
        text,
        maps,
        stack=stack,
        num_batches=num_batches,
        batch_size=batch_size,
        seq_len=seq_len,
        seed=seed,
        progress=progress,
    )
    return {
        name: SensitivityMap(method=name, scores=scores, num_tokens=found.num_tokens, num_flops=found.num_flops)
        for name, scores in found.scores.items()
    }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What came of showing text to maps."""

    scores: Mapping[str, Mapping[str, float]]
    """Map -> site key -> score."""
    num_tokens: int
    num_flops: int
    """Of the passes and of all that the maps made of them: matrix products as PyTorch counts them, decompositions by
    their leading terms; operations on single entries are not counted."""
    pass_flops: int
    """Of these, of the model's passes alone."""


def observe(
    base: FrozenBase,
    text: Corpus,
    maps: Mapping[str, Map],
    *,
    stack: Sequence[Graft] = (),
    num_batches: int = 4,
    batch_size: int = 8,
    seq_len: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Observation:
    """Show the same text to maps that the caller has made, with options or to ask them more than scores afterwards.

    The other arguments and errors are those of `measure_sensitivity`.
    """
    if not maps:
        raise ConfigError("no map was named; name at least one of those that `saint map --help` lists")
    meter = FlopMeter()
    backward = any(type(one).needs_gradient for one in maps.values())
    batches = text.batches(batch_size=batch_size, seq_len=seq_len, seed=seed)
    model = compose(base, stack)
    model.requires_grad_(requires_grad=False)
    if backward:
        follow_gradients(model.model)
    watches = _watch(base, model, _show_to(maps, meter), list(maps.values()), num_batches)
    num_tokens = num_batches * batch_size * seq_len
    with (
        (progress or Silent()).task("sensitivity", total=num_tokens, unit="tokens") as task,
        torch.set_grad_enabled(backward),
    ):
        for step in range(num_batches):
            with meter.batch(step, num_batches):
                _run(model, batches[step].to(base.model.device), watches, backward=backward)
            task.advance(batch_size * seq_len)
    with meter.counting(), meter.for_maps(), torch.no_grad():
        scores = {name: one.scores() for name, one in maps.items()}
    unseen = sum(module.uncounted_flops for module in model.modules() if isinstance(module, Kind))
    unseen *= num_tokens * (2 if backward else 1)
    num_flops = meter.num_flops + unseen
    return Observation(
        scores=scores, num_tokens=num_tokens, num_flops=num_flops, pass_flops=num_flops - meter.num_of_maps
    )


def _run(model: Composed, tokens: Tensor, watches: Sequence[Watch], *, backward: bool) -> None:
    """One batch: forward, and backward if a map reads gradients."""
    for watch in watches:
        watch.begin(len(tokens))
    loss = token_nats(model, tokens).mean()
    if backward:
        loss.backward()
    for watch in watches:
        watch.finish()


def _show_to(maps: Mapping[str, Map], meter: FlopMeter) -> Show:
    @torch.no_grad()
    def show(sites: Sequence[Site], seen: Seen) -> None:
        with meter.for_maps():
            for site in sites:
                for one in maps.values():
                    if one.scores_site(site):
                        one.observe(site, seen)

    return show


def _watch(base: FrozenBase, model: Composed, show: Show, maps: Sequence[Map], num_batches: int) -> list[Watch]:
    """A watch at every module with sites that a map scores; a block and its insertion point see the same."""
    groups: dict[tuple[str, bool], list[Site]] = defaultdict(list)
    for site in base.sites():
        if any(one.scores_site(site) for one in maps):
            groups[site.module, site.sort in ("block", "insertion")].append(site)
    backward = any(type(one).needs_gradient for one in maps)
    make_seen = partial(Seen, keep_apart=any(type(one).needs_sequences for one in maps), num_batches=num_batches)
    watches = []
    for (module, _), sites in groups.items():
        watch = Watch(base, sites, show, make_seen, backward=backward)
        model.model.get_submodule(module).register_forward_hook(watch.see, with_kwargs=True)
        watches.append(watch)
    return watches
