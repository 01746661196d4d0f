import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from saint.adapters._files import (
    CONFIG_NAME,
    GRAFT_LAYER,
    GRAFT_PARTS,
    GRAFT_SCHEMA,
    GRAFT_TYPE,
    PREFIX,
    WEIGHTS_NAME,
)
from saint.errors import ExportError
from saint.folders import write_folder
from saint.grafts import Graft
from saint.models import FrozenBase


@torch.no_grad()
def export_graft(base: FrozenBase, stack: Sequence[Graft], folder: Path) -> None:
    """Write a stack of one graft, at linear or block sites, as an adapter that PEFT loads with `saint.peft`.

    Raises:
        ExportError: The stack is not one such graft, or `folder` exists.
        StorageError: The disk refused.
    """
    if len(stack) != 1:
        raise ExportError(f"{len(stack)} grafts stand, and an adapter of this format is one; name it with --graft")
    [graft] = stack
    for site in graft.candidate.sites:
        if site.sort not in ("linear", "block"):
            raise ExportError(f"{site.key} is an {site.sort} site, which this format has no place for; leave it out")
    tensors = {
        f"{PREFIX}{site.module}.{GRAFT_LAYER}.{GRAFT_PARTS}.{name}": tensor.detach().cpu().contiguous()
        for site in graft.candidate.sites
        for name, tensor in graft.parts[site.key].state_dict().items()
    }
    config = _config(base, graft)

    def write(partial: Path) -> None:
        save_file(tensors, partial / WEIGHTS_NAME, metadata={"format": "pt"})
        (partial / CONFIG_NAME).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")

    if folder.exists():
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    write_folder(folder, write)


def _config(base: FrozenBase, graft: Graft) -> dict[str, Any]:
    candidate = graft.candidate
    seq2seq = getattr(base.model.config, "is_encoder_decoder", False)
    return {
        "peft_type": GRAFT_TYPE,
        "task_type": "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
        "base_model_name_or_path": base.source,
        "revision": base.revision,
        "target_modules": sorted(site.module for site in candidate.sites),
        "kind": candidate.kind,
        "options": _by_key(graft),
        "seed": candidate.seed,
        "strength": graft.strength,
        "schema_version": GRAFT_SCHEMA,
        "init_weights": False,
        "inference_mode": True,
    }


def _by_key(graft: Graft) -> dict[str, Any]:
    """The graft's options with every `at` by site: PEFT does not know the roles of modules."""
    options = dict(graft.candidate.options)
    elsewhere = options.pop("at", {})
    at = {}
    for site in graft.candidate.sites:
        if chosen := {**elsewhere.get(site.role, {}), **elsewhere.get(site.key, {})}:
            at[site.key] = chosen
    return {**options, **({"at": at} if at else {})}
