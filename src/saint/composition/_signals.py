"""Second moments of inputs, outputs and gradients at chosen sites, from one pass over some text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from saint.composition._compose import compose
from saint.composition._places import check_sites
from saint.errors import SiteError
from saint.grafts import Graft, Moment, Signals, kind_and_options
from saint.models import FrozenBase, follow_gradients, token_nats
from saint.records import Candidate, Site

_MAX_SIDE = 8192
_NEEDS_GRADIENT = frozenset[Moment](("gg", "gx"))


def wanted_signals(candidate: Candidate) -> dict[Site, frozenset[Moment]]:
    """Site -> the signals that the candidate's kind is born from there; sites that want none are left out."""
    wants = {}
    for site in candidate.sites:
        kind, options = kind_and_options(candidate.kind, candidate.options, site)
        if moments := kind.wants(options):
            wants[site] = moments
    return wants


def measure_signals(
    base: FrozenBase,
    stack: Sequence[Graft],
    wants: Mapping[Site, frozenset[Moment]],
    batches: Sequence[Int[Tensor, "batch seq"]],
) -> dict[str, Signals]:
    """Site key -> the moments asked for, over all tokens of `batches`.

    One forward pass, and one backward pass if a gradient is asked for, whatever the number of sites.

    Args:
        batches: Token ids of training text, as `Corpus.batches` gives them; all of one shape.

    Raises:
        SiteError: The base has no such site, or a moment would be a square matrix of more than 8,192 rows.
    """
    check_sites(base, wants)
    if not wants:
        return {}
    model = compose(base, stack)
    model.requires_grad_(requires_grad=False)
    return observe(model.model, wants, batches)


def observe(
    model: Any, wants: Mapping[Site, frozenset[Moment]], batches: Sequence[Int[Tensor, "batch seq"]]
) -> dict[str, Signals]:
    """Site key -> the moments asked for of a language model as it is, in which nothing is to require a gradient.

    The arguments and errors are those of `measure_signals`; the model gets hooks, which stay.
    """
    for site, moments in wants.items():
        sides = [site.d_in if moment == "xx" else site.d_out for moment in moments - {"gx"}]
        if sides and max(sides) > _MAX_SIDE:
            raise SiteError(
                f"{site.key} is {site.d_out} x {site.d_in}, and signals of up to {_MAX_SIDE} a side are measured; "
                "leave that site out or choose a basis of its weight"
            )
    backward = any(moments & _NEEDS_GRADIENT for moments in wants.values())
    if backward:
        follow_gradients(model)
    collectors = {site.key: _Collector(moments, len(batches)) for site, moments in wants.items()}
    for site in wants:
        module = model.get_submodule(site.module)
        module.register_forward_hook(collectors[site.key].hook(site), with_kwargs=True)
    with torch.set_grad_enabled(backward):
        for tokens in batches:
            loss = token_nats(model, tokens.to(model.device)).mean() / len(batches)
            if backward:
                loss.backward()
    return {key: collector.signals() for key, collector in collectors.items()}


@final
class _Collector:
    """Adds up what one site shows."""

    def __init__(self, moments: frozenset[Moment], num_batches: int) -> None:
        self._moments, self._num_batches = moments, num_batches
        self._num_tokens = 0
        self._sums: dict[Moment, Float[Tensor, "rows columns"]] = {}

    def hook(self, site: Site) -> Callable[..., None]:
        """A forward hook of the site's module."""

        def look(_module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
            y: Tensor = output[0] if isinstance(output, tuple) else output
            x = (y if site.sort in ("block", "insertion") else args[0]).detach().flatten(0, -2).float()
            self._num_tokens += len(x)
            if "xx" in self._moments:
                self._add("xx", x.T @ x)
            if "yy" in self._moments:
                flat = y.detach().flatten(0, -2).float()
                self._add("yy", flat.T @ flat)
            if self._moments & _NEEDS_GRADIENT:
                y.register_hook(lambda gradient: self._see(x, gradient.flatten(0, -2).float()))

        return look

    def signals(self) -> Signals:
        """What was seen, as means."""
        scale = {"gx": 1.0, "gg": float(self._num_tokens)}
        means: dict[str, Any] = {
            moment: (total * scale.get(moment, 1 / self._num_tokens)).cpu() for moment, total in self._sums.items()
        }
        return Signals(num_tokens=self._num_tokens, **means)

    def _see(self, x: Tensor, gradient: Tensor) -> None:
        if "gx" in self._moments:
            self._add("gx", gradient.T @ x)
        if "gg" in self._moments:
            self._add("gg", gradient.T @ gradient)

    def _add(self, moment: Moment, value: Tensor) -> None:
        self._sums[moment] = self._sums[moment] + value if moment in self._sums else value
