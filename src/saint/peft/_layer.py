from collections.abc import Iterable
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from saint.adapters import GRAFT_PARTS
from saint.composition import apply_parts
from saint.errors import ConfigError, ExportError
from saint.grafts import Kind, Moment, Place, Signals
from saint.models import float_weight, weight_of
from saint.peft._internals import BaseTunerLayer, check_adapters_to_merge
from saint.records import Site


@final
class GraftLayer(nn.Module, BaseTunerLayer):
    """The parts of all adapters at one module, as its child: a forward hook lets the active ones change its output.

    Nothing is wrapped or replaced, so names, classes and other people's hooks stay as they are, and one mechanism
    serves linear maps and whole blocks. Parts stay in float32, in which they compute.
    """

    adapter_layer_names = (GRAFT_PARTS,)
    other_param_names = ()

    def __init__(self, host: nn.Module) -> None:
        super().__init__()
        self.saint_graft_parts: Any = nn.ModuleDict()
        self.sites: dict[str, Site] = {}
        """Adapter -> what its part is told about the module."""
        self.missing: dict[str, str] = {}
        """Adapter -> why its part cannot be used yet."""
        self.merged_adapters: list[str] = []
        self._attached: set[str] = set()
        self._unmerged: tuple[Any, Any] | None = None
        object.__setattr__(self, "_host", host)  # a child must not own its parent
        self._handle = host.register_forward_hook(self._change, prepend=True, with_kwargs=True)

    def add(self, adapter: str, part: Kind, site: Site) -> None:
        """Put a part here that is not born yet."""
        self.saint_graft_parts[adapter] = part
        self.sites[adapter] = site
        self._move_adapter_to_device_of_base_layer(adapter)

    def bear(self, adapter: str, chance: torch.Generator, signals: Signals | None = None) -> None:
        """Give the part of a newborn adapter its start from what is here."""
        self.saint_graft_parts[adapter].cpu()  # where chance is
        self.saint_graft_parts[adapter].bear(replace(self._place(adapter), signals=signals), chance)
        self._move_adapter_to_device_of_base_layer(adapter)
        self.missing.pop(adapter, None)

    def begin(self, adapter: str, signals: Signals) -> None:
        """Let the part take its first step in closed form, if its kind takes one."""
        self.saint_graft_parts[adapter].begin(replace(self._place(adapter), signals=signals))

    def wants(self, adapter: str, moments: Iterable[Moment]) -> None:
        """Note that the part is to be born from signals of text."""
        self.missing[adapter] = (
            f"is born from signals of text ({', '.join(sorted(moments))}); call saint.peft.initialise(model, batches)"
        )

    def filled(self, adapter: str) -> None:
        """Note that stored weights are put into the part."""
        self.missing.pop(adapter, None)
        self._attached.discard(adapter)

    @override
    def get_base_layer(self) -> nn.Module:
        """The module that was there first, under whatever else wraps it."""
        host: Any = self._host
        return host.get_base_layer() if isinstance(host, BaseTunerLayer) else host

    @override
    def delete_adapter(self, adapter_name: str) -> None:
        """Forget one adapter."""
        super().delete_adapter(adapter_name)
        self.sites.pop(adapter_name, None)
        self.filled(adapter_name)

    def must_fold(self, adapter: str) -> None:
        """Refuse what cannot be folded into the module's weight, before anything is.

        Raises:
            ExportError: The kind changes no weight, or the weight is quantised.
        """
        if not self.saint_graft_parts[adapter].can_fold:
            raise ExportError(
                f"adapter {adapter!r} changes {self.sites[adapter].key} in a way that is no change of a weight and "
                "cannot be merged; keep it as an adapter"
            )
        try:
            weight_of(self.get_base_layer())
        except TypeError as error:
            raise ExportError(
                f"{self.sites[adapter].key} is quantised, and a change folded into few bits is rounded away; merge "
                "into the model in full precision"
            ) from error

    @torch.no_grad()
    @override
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold adapters into the module's weight, in float32 and rounded once; the weight itself is kept aside.

        Raises:
            ExportError: The folded weight is not finite.
        """
        wanted = check_adapters_to_merge(self, adapter_names)
        names = [name for name in wanted if name in self.saint_graft_parts]
        if not names:
            return
        linear: Any = self.get_base_layer()
        weight, bias = weight_of(linear).float(), linear.bias
        for name in names:
            folded = self._ready(name).fold(weight, bias)
            assert folded is not None  # the model has asked all layers
            weight, bias = folded
        if safe_merge and not weight.isfinite().all():
            raise ExportError(f"{self.sites[names[0]].key}: the folded weight is not finite; leave it unmerged")
        self._unmerged = self._unmerged or (linear.weight, linear.bias)
        dtype = linear.weight.dtype  # a new parameter rather than new numbers in it: embeddings may share the old one
        linear.weight = _frozen(weight.T if isinstance(linear, Conv1D) else weight, dtype)
        linear.bias = None if bias is None else _frozen(bias, dtype)
        self.merged_adapters.extend(names)

    @override
    def unmerge(self) -> None:
        """Put the module's own weight back, to the bit."""
        if self._unmerged is not None:
            linear: Any = self.get_base_layer()
            linear.weight, linear.bias = self._unmerged
        self._unmerged = None
        self.merged_adapters.clear()

    def unload_and_optionally_merge_module(
        self,
        merge: bool,  # noqa: FBT001 - PEFT calls it so
        safe_merge: bool,  # noqa: FBT001
        adapter_names: list[str] | None,
    ) -> None:
        """Fold if asked to and let go of the module; there is nothing to put in its place."""
        if merge:
            self.merge(safe_merge=safe_merge, adapter_names=adapter_names)
        self._handle.remove()

    def _change(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The forward hook: what the module answers, changed by the active adapters; None leaves it as it is."""
        if self.disable_adapters or self.merged:
            return None
        parts = [self._ready(name) for name in self.active_adapters if name in self.saint_graft_parts]
        return apply_parts(parts, args, kwargs, output) if parts else None

    def _ready(self, adapter: str) -> Kind:
        """The part, born or loaded, once it has seen the module."""
        if adapter in self.missing and self._is_blank(adapter):
            raise ConfigError(f"adapter {adapter!r} at {self.sites[adapter].key} {self.missing[adapter]}")
        self.missing.pop(adapter, None)  # transformers loads weights without telling
        part: Kind = self.saint_graft_parts[adapter]
        if adapter not in self._attached:
            part.attach(self._place(adapter))
            self._move_adapter_to_device_of_base_layer(adapter)
            self._attached.add(adapter)
        return part

    def _is_blank(self, adapter: str) -> bool:
        """Whether the part is all zeros, as it was made."""
        return not any(bool(tensor.any()) for tensor in self.saint_graft_parts[adapter].state_dict().values())

    def _place(self, adapter: str) -> Place:
        module = self.get_base_layer()
        is_linear = self.sites[adapter].sort == "linear"

        def read_weight() -> Tensor | None:
            return float_weight(module) if is_linear else None

        return Place(module=module, read_weight=read_weight)

    @override
    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """To where the module is, but in the part's own dtype."""
        if adapter_name not in self.saint_graft_parts:
            return
        part = self.saint_graft_parts[adapter_name]
        there = device or next((tensor.device for tensor in self.get_base_layer().parameters()), None)
        if there is not None and not any(tensor.is_meta for tensor in part.parameters()):
            part.to(there)


def _frozen(tensor: Tensor, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(tensor.to(dtype).contiguous(), requires_grad=False)
