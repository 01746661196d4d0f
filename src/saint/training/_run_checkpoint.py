"""Checkpoints of a run: a folder each, there whole or not at all, checked before a run goes on from it."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from saint import records
from saint.errors import CheckpointError, StorageError
from saint.folders import flush_folder
from saint.training._sharding import divided_as

_RECORD = "run.json"
_OPTIMIZER = "optimizer.safetensors"
_DRAFT = ".draft"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoints:
    """The checkpoints of one run: a Hugging Face model, the optimiser's moments, and how many steps were taken."""

    folder: Path
    identity: str
    """Of the plan, the text and the code's view of both; a checkpoint of another run is refused."""
    keep: int

    def newest(self) -> Path | None:
        """The one with the most steps; None where there is none.

        Raises:
            CheckpointError: It is of another run, or a file of it was changed.
        """
        found = self._all()
        if not found:
            return None
        record = self._record(found[-1])
        if record["identity"] != self.identity:
            raise CheckpointError(
                f"{found[-1]} is of a run with other settings or text; give the same ones, or another save_dir"
            )
        for name, sha256 in record["files"].items():
            if not (found[-1] / name).is_file() or records.file_digest(found[-1] / name) != sha256:
                raise CheckpointError(f"{found[-1] / name} is damaged; remove {found[-1]} to go on from the one before")
        return found[-1]

    def restore(self, checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Give the optimiser its moments back; returns the steps taken."""
        moments = load_file(checkpoint / _OPTIMIZER)
        for name, parameter in model.named_parameters():
            optimizer.state[parameter] = {
                moment: divided_as(parameter, moments[f"{moment}.{name}"])
                for moment in _MOMENTS
                if f"{moment}.{name}" in moments
            }
        return int(self._record(checkpoint)["step"])

    def save(
        self, step: int, model: PreTrainedModel, tokenizer: Any, weights: dict[str, Tensor], moments: dict[str, Tensor]
    ) -> None:
        """Write a checkpoint, and remove those beyond the number to keep.

        Args:
            weights: Of the model, whole, by name; a divided model has only parts of them.
            moments: Of the optimiser, whole.

        Raises:
            StorageError: The disk refused; the checkpoints before are there.
        """
        place, draft = self.folder / f"step_{step:08d}", self.folder / _DRAFT
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            model.save_pretrained(draft, state_dict=weights)
            tokenizer.save_pretrained(draft)
            save_file(moments, draft / _OPTIMIZER)
            files = {file.name: records.file_digest(file) for file in sorted(draft.iterdir())}
            record = {"step": step, "identity": self.identity, "files": files}
            (draft / _RECORD).write_text(records.to_canonical(record), encoding="utf-8")
            for file in draft.iterdir():
                _flush(file)
            flush_folder(draft)
            draft.rename(place)
            flush_folder(self.folder)
        except OSError as error:
            raise StorageError(f"{place} was not written ({error}); make room or choose another save_dir") from error
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step_????????"))

    def _record(self, checkpoint: Path) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = json.loads((checkpoint / _RECORD).read_bytes())
            return {"identity": found["identity"], "files": found["files"], "step": found["step"]}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(
                f"{checkpoint} has no {_RECORD} that can be read ({error}); remove it to go on from the one before"
            ) from error


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
