"""Masks before new units, which open while a model learns."""

from typing import Any, final

import torch
from torch import Tensor, nn

from saint.errors import ConfigError
from saint.operators._parts import WRITERS, Parts


@final
class Masks:
    """What new units answer, times a number from 0 to 1: 0 at birth, so that nothing changes, and 1 in the end.

    They are hooks on an ordinary model. What `save_pretrained` writes has no masks, so a model is saved after `fold`.
    """

    def __init__(self, model: Any, parts: Parts, value: float) -> None:
        self._model, self._hooks = model, list[Any]()
        self._inputs: dict[str, Tensor] = dict(parts.masked_inputs)
        self._outputs = [f"{parts.stack}.{place}.{name}" for place in parts.masked_blocks for name in WRITERS]
        self.value = value
        for name, is_new in self._inputs.items():
            self._hooks.append(model.get_submodule(name).register_forward_pre_hook(self._before(is_new)))
        for name in self._outputs:
            self._hooks.append(model.get_submodule(name).register_forward_hook(self._after))

    @property
    def value(self) -> float:
        """What new units are multiplied by."""
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ConfigError(f"a mask is {value:g}; it goes from 0, closed, to 1, open")
        self._value = float(value)

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the masks into the weights and take them away; the model answers as before, to rounding.

        New weights of a mask that is still closed are then zero where they answer.
        """
        for hook in self._hooks:
            hook.remove()
        for name, is_new in self._inputs.items():
            weight: Any = self._model.get_submodule(name).weight
            weight.mul_(self._factor(is_new, weight))
        for name in self._outputs:
            linear: Any = self._model.get_submodule(name)
            linear.weight.mul_(self._value)
            if linear.bias is not None:
                linear.bias.mul_(self._value)
        self._hooks, self._inputs, self._outputs = [], {}, []

    def _before(self, is_new: Tensor) -> Any:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0] * self._factor(is_new, args[0]), *args[1:])

        return hook

    def _after(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output * self._value

    def _factor(self, is_new: Tensor, like: Tensor) -> Tensor:
        """1 at old units and the mask at new ones."""
        new = is_new.to(like)
        return (1 - new) + self._value * new
