"""The blocks of a decoder from some block on, fed with what the frozen blocks below give."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from saint.composition._compose import Composed, compose, compose_beside
from saint.composition._probe import probe_logits
from saint.grafts import Graft
from saint.models import FrozenBase, block_stacks, share_weights
from saint.records import Site

_ON_THE_STREAM = ("block", "insertion")


def boundary_of(base: FrozenBase, stack: Sequence[Graft], sites: Iterable[Site]) -> int:
    """How many of the base's blocks lie wholly below changes at `sites`, so that what they give stays what it is.

    None do in an encoder-decoder, whose decoder reads all of the encoder, nor below a linear map outside the blocks,
    but for the output head.

    Args:
        stack: Below the sites. What a standing graft does to a block's output is part of what the block gives.
    """
    sites = list(sites)
    names = blocks_of(base)
    if not names:
        return 0
    standing: set[str] = set()
    if next(base.model.parameters()).dtype != torch.float32:  # else nothing is rounded between two grafts at a block
        standing = {site.module for graft in stack for site in graft.candidate.sites if site.sort in _ON_THE_STREAM}

    def below(site: Site) -> int:
        if site.sort in _ON_THE_STREAM:
            return site.depth + (site.module not in standing)  # there both change one value, without rounding between
        if site.depth < 0:
            return len(names) if site.role == "head" else 0
        return site.depth

    return min(map(below, sites), default=len(names))


def blocks_of(base: FrozenBase) -> tuple[str, ...]:
    """The modules of a decoder's blocks, first to last; none where the model has more than one stack of them."""
    stacks = block_stacks(base.model)
    if len(stacks) != 1 or getattr(base.model.config, "is_encoder_decoder", False):
        return ()
    [(name, modules)] = stacks.items()
    return tuple(f"{name}.{index}" for index in range(len(modules)))


@final
class Below:
    """What base and stack give after some of their blocks; no more of the model is computed than that takes."""

    def __init__(self, base: FrozenBase, stack: Sequence[Graft], boundaries: Iterable[int]) -> None:
        """Prepare for reading after so many blocks; each at least 1."""
        self._model = compose(base, stack)
        self._names = blocks_of(base)
        self._wanted = sorted(set(boundaries))
        self._found: dict[int, Tensor] = {}
        for boundary in self._wanted:
            block = self._model.model.get_submodule(self._names[boundary - 1])
            block.register_forward_hook(self._keep(boundary))  # after the stack's own hook

    @torch.no_grad()
    def read(
        self, tokens: Int[Tensor, "batch seq"], *, up_to: int | None = None
    ) -> dict[int, Float[Tensor, "batch seq d"]]:
        """Boundary -> the residual stream there.

        Args:
            up_to: The last boundary that is wanted; all by default.
        """
        self._found, self._last = {}, self._wanted[-1] if up_to is None else up_to
        try:
            self._model(input_ids=tokens, use_cache=False)
        except _Enough:
            found, self._found = self._found, {}
            return found
        raise AssertionError("every block is on the way")

    def _keep(self, boundary: int) -> Any:
        def keep(_module: Any, _args: Any, output: Any) -> None:
            self._found[boundary] = output[0] if isinstance(output, tuple) else output
            if boundary == self._last:
                raise _Enough

        return keep


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """The model need not be run any further."""


@final
class Above(nn.Module):
    """Base and stack with one or several grafts, from the first block on that these can change.

    Called with token ids, it answers as the whole model does, to the bit, if what it reads is what the blocks below
    give. Only what is above is ever computed, forward and backward.
    """

    def __init__(
        self,
        base: FrozenBase,
        stack: Sequence[Graft],
        grafts: Sequence[Graft],
        boundary: int,
        read: Callable[[Tensor], Tensor],
        *,
        stacked: bool = False,
        recompute: bool = False,
    ) -> None:
        """Leave out the blocks below.

        Args:
            grafts: Side by side, each with its own rows; see `compose_beside`.
            boundary: At most `boundary_of` all of their sites; 0 leaves nothing out.
            read: Token ids (B, T) -> the residual stream (B, T, d) after `boundary` blocks; not asked when that is 0.
            stacked: See `compose_beside`.
            recompute: Whether the backward pass computes what is inside a block again instead of keeping it.
        """
        super().__init__()
        names = blocks_of(base)
        below, above = names[:boundary], names[boundary:]
        self.model: Composed = compose_beside(base, stack, grafts, below=below, stacked=stacked)
        self._read, self._boundary = read, boundary
        self._hidden: Tensor | None = None
        self._in_tuple = bool(below) and _answers_in_a_tuple(base, names[0])
        for name in below:
            block: Any = self.model.model.get_submodule(name)
            block.forward = self._pass_on  # the module stays, for what a model asks its blocks about themselves
        for name in above if recompute else ():
            block = self.model.model.get_submodule(name)
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    @property
    def config(self) -> Any:
        """The base's Hugging Face configuration."""
        return self.model.config

    @override
    def forward(self, *, input_ids: Int[Tensor, "rows seq"], **kwargs: Any) -> Any:
        self._hidden = self._read(input_ids) if self._boundary else None
        try:
            return self.model(input_ids=input_ids, **kwargs)
        finally:
            self._hidden = None

    def _pass_on(self, *_args: Any, **_kwargs: Any) -> Any:
        assert self._hidden is not None  # it is set as long as the model runs
        return (self._hidden,) if self._in_tuple else self._hidden


def _answers_in_a_tuple(base: FrozenBase, block: str) -> bool:
    """Whether a block gives the residual stream as the first of several things."""
    copy, seen = share_weights(base.model), []

    def see(_module: Any, _args: Any, output: Any) -> None:
        seen.append(isinstance(output, tuple))
        raise _Enough

    copy.get_submodule(block).register_forward_hook(see)
    with suppress(_Enough):
        probe_logits(copy)
    return seen[0]
