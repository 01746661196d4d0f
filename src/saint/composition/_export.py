"""Stacks as adapters that PEFT and inference servers load without us."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from saint.composition._compose import compose
from saint.composition._probe import probe_logits
from saint.errors import ExportError
from saint.folders import write_folder
from saint.grafts import Graft
from saint.models import FrozenBase, share_weights


def export_peft(base: FrozenBase, stack: Sequence[Graft], folder: Path) -> None:
    """Write the stack as one PEFT LoRA adapter in which every module has just the rank it needs.

    Lossless: W + up down with the stack's own factors, those of several grafts at one module side by side.

    Raises:
        ExportError: A graft is not a low-rank change of a weight, or `folder` exists.
        StorageError: The disk refused.
    """
    factors = _factors(stack)
    ranks = {module: down.shape[0] for module, (_, down) in factors.items()}
    _save(base, factors, folder, r=max(ranks.values()), rank_pattern=ranks, alpha_pattern=ranks)


def export_lora(base: FrozenBase, stack: Sequence[Graft], folder: Path) -> None:
    """Write the stack as one LoRA adapter of a single rank, filled up with zeros.

    This is what servers read that know no rank patterns; it says the same as `export_peft` in a larger file.

    Raises:
        ExportError: A graft is not a low-rank change of a weight, or `folder` exists.
        StorageError: The disk refused.
    """
    factors = _factors(stack)
    rank = max(down.shape[0] for _, down in factors.values())
    padded = {module: (_pad(up, 1, rank), _pad(down, 0, rank)) for module, (up, down) in factors.items()}
    _save(base, padded, folder, r=rank, rank_pattern={}, alpha_pattern={})


@torch.inference_mode()
def exported_difference(base: FrozenBase, stack: Sequence[Graft], folder: Path) -> float:
    """The largest difference of a probe logit between the stack and what an exported adapter's file says."""
    adapter = load_file(folder / "adapter_model.safetensors")
    model = share_weights(base.model)
    for key, down in adapter.items():
        name, _, matrix = key.removeprefix("base_model.model.").rpartition(".lora_")
        if matrix == "A.weight":
            up = adapter[key.replace(".lora_A.", ".lora_B.")]
            model.get_submodule(name).register_forward_hook(_add_product(up, down))
    return float((probe_logits(model) - probe_logits(compose(base, stack))).abs().max())


def _add_product(up: Tensor, down: Tensor) -> Callable[..., Tensor]:
    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + (args[0].float() @ down.T @ up.T).to(output.dtype)

    return hook


@torch.no_grad()
def _factors(stack: Sequence[Graft]) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name -> (up (d_out, rank), down (rank, d_in)) of all grafts there together."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for graft in stack:
        for site in graft.candidate.sites:
            if (factors := graft.parts[site.key].factors()) is None:
                raise ExportError(
                    f"graft {graft.digest[:12]} of kind {graft.candidate.kind} is not a low-rank change of a weight, "
                    "so no LoRA says the same; export other grafts with --graft, or compose it with saint.restore"
                )
            found[site.module].append(factors)
    if not found:
        raise ExportError("no graft stands, so there is nothing to export; grow the registry first")
    return {
        module: (torch.cat([up for up, _ in there], dim=1), torch.cat([down for _, down in there], dim=0))
        for module, there in found.items()
    }


def _pad(tensor: Tensor, dim: int, size: int) -> Tensor:
    missing = [*tensor.shape]
    missing[dim] = size - tensor.shape[dim]
    return torch.cat([tensor, tensor.new_zeros(missing)], dim=dim)


def _save(base: FrozenBase, factors: dict[str, tuple[Tensor, Tensor]], folder: Path, **ranks: Any) -> None:
    modules = sorted(factors)
    seq2seq = getattr(base.model.config, "is_encoder_decoder", False)
    adapter = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
        "base_model_name_or_path": base.source,
        "revision": base.revision,
        "target_modules": modules,
        "lora_alpha": ranks["r"],
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(isinstance(base.model.get_submodule(module), Conv1D) for module in modules),
        "inference_mode": True,
        **ranks,
    }
    tensors = {}
    for module, (up, down) in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = down.detach().float().cpu().contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = up.detach().float().cpu().contiguous()

    def write(partial: Path) -> None:
        save_file(tensors, partial / "adapter_model.safetensors", metadata={"format": "pt"})
        (partial / "adapter_config.json").write_text(json.dumps(adapter, indent=2, sort_keys=True), encoding="utf-8")

    if folder.exists():
        raise ExportError(f"{folder} exists already; give the path of a new folder")
    write_folder(folder, write)
