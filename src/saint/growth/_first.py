"""The first stage of growth by layers: a base of its own, and what the stages after it are told of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saint import records
from saint.data import Splits
from saint.errors import BaseModelError, ConfigError
from saint.folders import write_folder
from saint.growth._head_state import spell
from saint.growth._layers import first_config, first_plan, has_own_head
from saint.growth._layerwise import LAYERS_BEGUN
from saint.growth._plan import Plan
from saint.progress import Progress
from saint.records import ActiveStage
from saint.registry import Registry
from saint.training import draw, train_first_stage

_RECORD, _HEAD_STATE = "training.json", "head_state.safetensors"


def make_first_stage(
    plan: Plan, data: Splits, folder: Path, *, progress: Progress | None = None, root: Path = Path()
) -> dict[str, Any]:
    """Train the base of growth by layers into `folder`, unless it is there; returns what is recorded beside it.

    A run that was stopped or killed goes on from its checkpoint, which lies beside the folder.

    Args:
        root: What the plan's font is relative to.

    Raises:
        ConfigError: The folder holds what another plan has made.
        DataError: The token interface cannot be drawn.
        Interrupted: A stop was asked for through `progress`.
        DivergedError: The loss stopped being a number.
    """
    first = first_plan(plan, data)
    with_interface = plan.layerwise is not None and plan.layerwise.interface_learns
    about = {
        "plan": records.to_plain(first),
        "plan_digest": records.digest(first),
        "text": data.train.digest,
        "tokenizer": data.tokenizer_digest,
        **({"interface_learns": True} if with_interface else {}),
    }
    if folder.exists():
        found = _read(folder)
        if {name: found.get(name) for name in about} != about:
            raise ConfigError(f"{folder} was made by another schedule or from other text; give a new folder")
        return found
    checkpoint = folder.parent / f".{folder.name}.checkpoint.safetensors"
    with_head = has_own_head(first_config(plan, data.tokenizer))  # else the plan's head is frozen from the start
    made = train_first_stage(
        first,
        data.tokenizer,
        data.train,
        with_head=with_head,
        with_interface=with_interface,
        select=data.select[data.grown_domain],
        checkpoint=checkpoint,
        progress=progress,
        root=root,
    )
    record = {**about, "history": records.to_plain(made.history), "select_bpb": made.history.best_bpb}

    def write(draft: Path) -> None:
        made.model.save_pretrained(draft)
        data.tokenizer.save_pretrained(draft)
        (draft / _HEAD_STATE).write_bytes(spell(made.head_moments))
        (draft / _RECORD).write_text(records.to_canonical(record), encoding="utf-8")

    write_folder(folder, write)
    checkpoint.unlink(missing_ok=True)
    return record


def must_be_drawn(plan: Plan, data: Splits, *, root: Path = Path()) -> None:
    """Refuse a token interface that cannot be drawn, before anything is written.

    Args:
        root: What the plan's font is relative to.

    Raises:
        ConfigError: There is nothing to draw with the font.
        DataError: There is no font, or it or the tokenizer does not suffice.
    """
    font = first_plan(plan, data).font
    draw(first_config(plan, data.tokenizer), data.tokenizer, root / font if font else None)


def begin_layers(registry: Registry, folder: Path, stages: Sequence[ActiveStage]) -> None:
    """Let the ledger know what the first stage came to, and what every stage takes, unless it does.

    Args:
        folder: That `make_first_stage` has written.
    """
    if any(event.name == LAYERS_BEGUN for event in registry.state.others):
        return
    head_state = (folder / _HEAD_STATE).read_bytes()
    body = {
        "first": {name: _read(folder)[name] for name in ("plan_digest", "history", "select_bpb")},
        "active": list(stages),
        "head_state": records.file_digest(folder / _HEAD_STATE) if head_state else "",
    }
    registry.write(LAYERS_BEGUN, body, contents=[head_state] if head_state else [])


def _read(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{folder} is no first stage ({error}); remove it, or give a new folder") from error
    return found
