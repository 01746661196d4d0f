"""Growth by layers from a plan alone: text, the budget of every stage, a base, and a registry on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saint.cli._materials import find_plan, prepare_text, read_record
from saint.cli._opening import open_all
from saint.cli._terminal import say

if TYPE_CHECKING:
    from saint.cli._terminal import Terminal
    from saint.data import Splits
    from saint.growth import Plan
    from saint.models import FrozenBase
    from saint.registry import Registry


def begin_by_layers(
    plan_path: str, output_dir: str | None, overrides: tuple[str, ...], progress: "Terminal"
) -> "tuple[Registry, FrozenBase, Plan, Splits]":
    """Do what comes before the second stage, as far as an earlier run has not.

    Raises:
        ConfigError: The plan is for other growth, or the folder is of another one.
        BudgetError: A stage goes beyond the budget; nothing was trained.
        DataError: The token interface cannot be drawn; nothing was trained.
    """
    from saint import config
    from saint.data import open_splits
    from saint.growth import Plan, active_stages, begin_layers, first_config, make_first_stage, must_be_drawn, start
    from saint.models import freeze
    from saint.registry import Registry
    from saint.report import active_table

    path = find_plan(plan_path)
    plan = config.load(path, Plan, overrides=overrides)
    folder = Path(output_dir or f"saint-grow-{plan.name}")
    _must_be_ours(folder, plan)
    text_folder, _ = prepare_text(plan.data, path.parent, folder, progress)
    data = open_splits(text_folder)
    stages = active_stages(plan, first_config(plan, data.tokenizer))
    say([active_table(stages)])
    if not (folder / "base").exists():
        must_be_drawn(plan, data, root=path.parent)
    _remember(folder, plan)
    make_first_stage(plan, data, folder / "base", progress=progress, root=path.parent)
    if Registry.can_begin(folder / "registry"):
        base = freeze(folder / "base")
        text = path.read_text(encoding="utf-8") + "".join(f"\n# --set {override}" for override in overrides)
        start(folder / "registry", base, plan, root=path.parent, plan_text=text, progress=progress)
    registry, base, plan, data = open_all(str(folder / "registry"), None, progress)
    begin_layers(registry, folder / "base", stages)
    return registry, base, plan, data


def _must_be_ours(folder: Path, plan: "Plan") -> None:
    """Refuse a folder in which another schedule was begun."""
    from saint import records
    from saint.errors import ConfigError

    file = folder / "plan.json"
    if not file.exists():
        if folder.exists() and any(one.name not in ("data",) for one in folder.iterdir()):
            raise ConfigError(f"{folder} holds something else; give a new folder with --output-dir")
        return
    there, now = read_record(file), records.to_plain(plan)
    if changed := _changed(there, now):
        raise ConfigError(
            f"{folder} was begun with another schedule: {changed}; grow on with that one, or give a new folder with "
            "--output-dir"
        )


def _changed(there: Any, now: Any, where: str = "") -> str:
    """The first difference between two plans, for people; "" for none."""
    if isinstance(there, dict) and isinstance(now, dict):
        for key in sorted(there.keys() | now.keys()):
            if found := _changed(there.get(key), now.get(key), f"{where}.{key}" if where else key):
                return found
        return ""
    if isinstance(there, list) and isinstance(now, list) and len(there) == len(now):
        pairs = enumerate(zip(there, now, strict=True))
        return next((found for i, (a, b) in pairs if (found := _changed(a, b, f"{where}[{i}]"))), "")
    return "" if there == now else f"{where} is {now!r:.60}, and was {there!r:.60}"


def _remember(folder: Path, plan: "Plan") -> None:
    from saint import records
    from saint.folders import write_file

    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "plan.json", [records.to_canonical(plan).encode()])
