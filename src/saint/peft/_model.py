from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from saint.adapters import GRAFT_LAYER, GRAFT_PARTS, GRAFT_TYPE
from saint.errors import AdapterError, ConfigError, SiteError
from saint.grafts import chance_of, kind_and_options
from saint.models import block_stacks, sizes
from saint.peft._internals import BaseTuner, BaseTunerLayer
from saint.peft._layer import GraftLayer
from saint.records import Site

_PARTS = f".{GRAFT_LAYER}.{GRAFT_PARTS}."


@final
class GraftModel(BaseTuner):
    """Puts a `GraftLayer` at every module that a `GraftConfig` names, and keeps the books that PEFT asks for."""

    prefix: str = f"{GRAFT_TYPE.lower()}_"
    tuner_layer_cls = GraftLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT declares it so

    @override
    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put an adapter into the model.

        Raises:
            SiteError: A module is no site of the kind, or too small for its options.
            ConfigError: `at` names a module that is no target.
        """
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        config: Any = self.peft_config[adapter_name]
        keys = {layer.sites[adapter_name].key for layer in _layers(model, adapter_name)}
        if unknown := sorted(set(config.options.get("at", {})) - keys):
            raise ConfigError(f"options name {unknown[0]!r} under 'at', and the targets are {', '.join(sorted(keys))}")

    @override
    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        if peft_config.target_modules is None:
            kind, _ = kind_and_options(peft_config.kind, peft_config.options)
            names: Any = "all-linear" if kind.attaches_to == "linear" else self._blocks(peft_config.layers_to_transform)
            peft_config.target_modules = names
        return peft_config

    def _blocks(self, numbers: Sequence[int] | int | None) -> set[str]:
        wanted = [numbers] if isinstance(numbers, int) else numbers
        return {
            f"{name}.{index}"
            for name, blocks in block_stacks(self.model).items()
            for index in range(len(blocks))
            if not wanted or index in wanted
        }

    @override
    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: Any,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        sort = kind_and_options(peft_config.kind, peft_config.options)[0].attaches_to
        site = self._linear(target, current_key) if sort == "linear" else self._block(current_key)
        kind, options = kind_and_options(peft_config.kind, peft_config.options, site)
        part = kind(site, options)
        part.strength.fill_(peft_config.strength)
        index = sum(1 for _ in _layers(self.model, adapter_name))
        if not hasattr(target, GRAFT_LAYER):
            target.add_module(GRAFT_LAYER, GraftLayer(target))
        layer: GraftLayer = getattr(target, GRAFT_LAYER)
        layer.add(adapter_name, part, site)
        if not peft_config.init_weights or any(parameter.is_meta for parameter in part.parameters()):
            layer.missing[adapter_name] = "has no weights yet; load them, or set init_weights in its configuration"
        elif moments := kind.wants(options):
            layer.wants(adapter_name, moments)
        else:
            layer.bear(adapter_name, chance_of(peft_config.seed, index))
        layer.set_adapter(self.active_adapters, inference_mode=peft_config.inference_mode)

    def _linear(self, target: Any, name: str) -> Site:
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if not isinstance(base, nn.Linear | Conv1D):
            raise SiteError(
                f"{name} is a {type(base).__name__}, and this kind attaches to linear maps; leave it out of "
                "target_modules"
            )
        d_in, d_out = sizes(base)
        return Site(sort="linear", module=name, role="other", depth=-1, d_in=d_in, d_out=d_out)

    def _block(self, name: str) -> Site:
        if name not in (blocks := self._blocks(None)):
            raise SiteError(
                f"{name} is no Transformer block, and this kind attaches to blocks; name some of "
                f"{', '.join(sorted(blocks)) or 'none: the model has no stack of blocks'}"
            )
        width = getattr(getattr(self.model, "config", None), "hidden_size", None)
        if width is None:
            raise SiteError("the model's configuration has no hidden_size, so a block's width is not known")
        return Site(
            sort="block", module=name, role="block", depth=int(name.rpartition(".")[2]), d_in=width, d_out=width
        )

    @override
    def _replace_module(self, parent: nn.Module, child_name: str, new_module: Any, child: nn.Module) -> None:
        if new_module is None:
            delattr(parent, child_name)  # what it was attached to is as it was
        else:
            super()._replace_module(parent, child_name, new_module, child)

    @override
    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        """Fold adapters into the weights, which are kept aside for `unmerge_adapter`.

        Raises:
            ExportError: A kind cannot be folded; nothing was changed.
        """
        self._must_fold(adapter_names)
        super().merge_adapter(adapter_names, safe_merge=safe_merge)

    @override
    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> Any:
        if merge:
            self._must_fold(adapter_names)
        return super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)

    def _must_fold(self, adapter_names: Iterable[str] | None) -> None:
        for name in adapter_names or self.active_adapters:
            for layer in _layers(self.model, name):
                layer.must_fold(name)

    @override
    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        if (ours := f"{_PARTS}{adapter_name}.") in key:  # which may have more to come, for a part with modules in it
            return key.replace(ours, _PARTS, 1)
        return super()._remove_adapter_name_from_key(key, adapter_name)

    @override
    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Put the adapter's name into the keys, and refuse a file that PEFT would load in part with a warning."""
        remapped: dict[str, Tensor] = super()._remap_adapter_state_dict_for_load(
            model=model, config=config, adapter_name=adapter_name, state_dict=state_dict
        )
        wanted = {key: tensor for key, tensor in model.state_dict().items() if f"{_PARTS}{adapter_name}." in key}
        found = {key: tensor for key, tensor in remapped.items() if _PARTS in key}
        if differing := sorted(wanted.keys() ^ found.keys()):
            raise AdapterError(
                f"the adapter's file and its configuration disagree about {differing[0]!r}; save the adapter again"
            )
        for key, tensor in found.items():
            if tensor.shape != wanted[key].shape:
                raise AdapterError(
                    f"{key} is {tuple(tensor.shape)}, expected {tuple(wanted[key].shape)}; this adapter is for another "
                    "base"
                )
            if not torch.isfinite(tensor).all():
                raise AdapterError(f"{key} holds values that are not finite; such an adapter is never loaded")
        for layer in _layers(model, adapter_name):
            layer.filled(adapter_name)
        return remapped


def _layers(model: nn.Module, adapter_name: str) -> Iterator[GraftLayer]:
    """Where the adapter has a part, in the model's order."""
    for module in model.modules():
        if isinstance(module, GraftLayer) and adapter_name in module.saint_graft_parts:
            yield module
