"""An adapter as a graft that says the same of this base, or a sentence about why there is none."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from saint import config, discovery
from saint.adapters._fields import LARGEST
from saint.adapters._files import GRAFT_LAYER, GRAFT_PARTS, GRAFT_SCHEMA, GRAFT_TYPE, Adapter
from saint.adapters._lora import lora_graft
from saint.adapters._sites import sites_of
from saint.errors import AdapterError, GraftFileError, NewerFormatError
from saint.grafts import Graft, Kind, assemble
from saint.models import FrozenBase
from saint.records import Candidate


def to_graft(base: FrozenBase, adapter: Adapter) -> Graft:
    """The adapter as a graft: composed with the base, it answers as PEFT's model does, up to rounding.

    Raises:
        AdapterError: No graft says the same, the adapter is incomplete, or it does not fit this base.
        SiteError, ConfigError: A kind refuses the adapter's sizes or options.
        NewerFormatError: A newer version wrote it.
    """
    if adapter.method not in _READERS:
        raise AdapterError(
            f"{adapter.folder} is a PEFT adapter of type {adapter.method}, which no graft can say; "
            f"{' and '.join(_READERS)} can be taken (PEFT's save_as_lora turns many others into LORA)"
        )
    graft = _READERS[adapter.method](base, adapter)
    return graft.requires_grad_(requires_grad=False).eval()


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    """What an adapter of our own method says about itself."""

    kind: str
    options: Mapping[str, Any]
    seed: int
    strength: float


def _own_graft(base: FrozenBase, adapter: Adapter) -> Graft:
    """A graft that was trained through `saint.peft`, or exported for it."""
    if (version := adapter.config.get("schema_version")) != GRAFT_SCHEMA:
        if isinstance(version, int) and version > GRAFT_SCHEMA:
            raise NewerFormatError(
                f"{adapter.folder} has schema {version}, this version reads {GRAFT_SCHEMA}; update saint-g"
            )
        raise AdapterError(f"{adapter.folder} has schema_version {version!r}, expected {GRAFT_SCHEMA}; save it again")
    if adapter.config.get("modules_to_save"):
        raise AdapterError(
            f"{adapter.folder} also holds whole modules ({adapter.config['modules_to_save']}), which are no part of a "
            "graft; train without modules_to_save"
        )
    said = {key: adapter.config[key] for key in _Settings.__dataclass_fields__ if key in adapter.config}
    settings = config.build(said, _Settings, where=str(adapter.folder))
    if abs(settings.strength) > LARGEST:
        raise AdapterError(
            f"{adapter.folder} has strength {settings.strength:g}, more than 32 bits hold; save it again"
        )
    kind: Any = discovery.find("grafts", settings.kind, Kind)
    state = _state(adapter)
    sites = sites_of(base, kind.attaches_to, state, adapter.folder)
    candidate = Candidate(sites=tuple(sites), kind=settings.kind, options=settings.options, seed=settings.seed)
    keyed = {site.key: state[site.module] for site in sites}
    try:
        return assemble(candidate, keyed, strength=settings.strength)
    except GraftFileError as error:
        raise AdapterError(f"{adapter.folder}: {error}") from error


def _state(adapter: Adapter) -> dict[str, dict[str, Tensor]]:
    """Module -> name in its part's state -> tensor; what PEFT kept in half precision is widened again."""
    state: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in adapter.tensors.items():
        module, found, inner = name.partition(f".{GRAFT_LAYER}.{GRAFT_PARTS}.")
        if not found:
            raise AdapterError(f"{adapter.folder} has a tensor {name!r}, which is no part of a graft; save it again")
        half = tensor.dtype in (torch.bfloat16, torch.float16)
        state[module][inner] = tensor.float() if half else tensor
    return dict(state)


_READERS: Mapping[str, Callable[[FrozenBase, Adapter], Graft]] = {"LORA": lora_graft, GRAFT_TYPE: _own_graft}
