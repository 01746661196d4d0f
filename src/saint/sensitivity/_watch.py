from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from saint.errors import SiteError
from saint.models import FrozenBase, float_weight
from saint.records import Site
from saint.sensitivity._seen import Seen

Show = Callable[[Sequence[Site], Seen], None]


class _Call(NamedTuple):
    """One call of a module; all of shape (batch, tokens, width)."""

    x: Tensor
    y: Tensor
    gradient: list[Tensor]
    """Empty until the gradient has come back."""


@final
class Watch:
    """Shows maps what a module saw in one batch, in one piece however often the model calls it.

    An encoder-decoder's sites are called twice in a batch, and the gradient of a weight is the sum over all calls.
    """

    def __init__(
        self, base: FrozenBase, sites: Sequence[Site], show: Show, make_seen: Callable[..., Seen], *, backward: bool
    ) -> None:
        """Watch one module.

        Args:
            sites: All that see the same there: a linear map, an mlp, or a block with its insertion point.
            make_seen: `Seen` with the settings that are the same at every site.
        """
        self._sites, self._show, self._make_seen = sites, show, make_seen
        self._frozen = base.model.get_submodule(sites[0].module)
        self._backward = backward
        self._calls: list[_Call] = []
        self._num_open = self._num_sequences = 0

    def begin(self, num_sequences: int) -> None:
        """A new batch comes."""
        self._num_sequences = num_sequences

    def see(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook."""
        y: Tensor = output[0] if isinstance(output, tuple) else output
        x: Tensor = y
        if self._sites[0].sort in ("linear", "mlp"):
            x = args[0] if args else next(value for value in kwargs.values() if isinstance(value, Tensor))
        call = _Call(self._in_sequences(x), self._in_sequences(y), [])
        self._calls.append(call)
        if self._backward and y.requires_grad:
            self._num_open += 1
            y.register_hook(lambda gradient: self._gather(call, gradient))

    def finish(self) -> None:
        """The batch is over; what no gradient has come back to does not move the loss."""
        if not self._calls:
            return
        came = [call.gradient[0] if call.gradient else torch.zeros_like(call.y) for call in self._calls]
        seen = self._make_seen(
            x=_in_a_row([call.x for call in self._calls]),
            y=_in_a_row([call.y for call in self._calls]),
            gradient=_in_a_row(came) if self._backward else None,
            read_weight=self._read_weight,
        )
        self._calls.clear()
        self._num_open = 0
        self._show(self._sites, seen)

    def _gather(self, call: _Call, gradient: Tensor) -> None:
        """When the gradient has come back to the last of the calls, nothing has to be kept any longer."""
        call.gradient.append(self._in_sequences(gradient))
        self._num_open -= 1
        if not self._num_open:
            self.finish()

    def _read_weight(self) -> Tensor | None:
        return float_weight(self._frozen) if self._sites[0].sort == "linear" else None

    def _in_sequences(self, values: Tensor) -> Tensor:
        """Of shape (batch, tokens, width); some models call their maps with all tokens in one row."""
        num_rows = values.numel() // values.shape[-1]
        if num_rows % self._num_sequences:
            raise SiteError(
                f"{self._sites[0].key} is called with {num_rows} tokens for {self._num_sequences} sequences, and a map "
                "needs as many of each; sensitivity can be measured where every sequence passes through every map"
            )
        wide = values.detach() if values.dtype == torch.float64 else values.detach().float()
        return wide.reshape(self._num_sequences, -1, values.shape[-1])


def _in_a_row(calls: Sequence[Tensor]) -> Tensor:
    """The calls' values along the token axis; of a single call, as they are."""
    return calls[0] if len(calls) == 1 else torch.cat(list(calls), dim=1)
