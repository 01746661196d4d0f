"""Base and text of a plan that compares or studies, made in its output folder unless they are there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from saint.cli._terminal import Terminal
    from saint.data import DataPlan, Splits
    from saint.models import FrozenBase
    from saint.training import BasePlan

_RECIPES = Path(__file__).parent.parent / "recipes"


class _NamesMaterials(Protocol):
    """What such a plan says about its base and text."""

    @property
    def base(self) -> str: ...

    @property
    def data(self) -> "DataPlan | None": ...

    @property
    def data_plan(self) -> str: ...


P = TypeVar("P", bound=_NamesMaterials)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources(Generic[P]):
    """A plan with the plans that it names."""

    plan: P
    data: "DataPlan"
    data_root: Path
    base: "BasePlan | None"
    """None for a base that is there already."""
    base_name: str

    @classmethod
    def of(cls, plan: P, root: Path) -> "Sources[P]":
        from saint import config
        from saint.data import DataPlan
        from saint.training import BasePlan

        data_path, base_path = root / plan.data_plan, root / plan.base
        is_plan = base_path.suffix == ".toml"
        return cls(
            plan=plan,
            data=plan.data or config.load(data_path, DataPlan),
            data_root=root if plan.data else data_path.parent,
            base=config.load(base_path, BasePlan) if is_plan else None,
            base_name=str(base_path) if base_path.is_dir() else plan.base,
        )

    @property
    def digest(self) -> str:
        """Of everything that the plans say."""
        from saint import records

        return records.digest({"plan": self.plan, "data": self.data, "base": self.base})


def find_plan(plan_path: str) -> Path:
    """The plan itself, or the recipe of that name that came with the package."""
    from saint.errors import ConfigError

    path = Path(plan_path)
    recipe = _RECIPES / path.name
    if path.exists() or not (path.parent.name in ("", "recipes") and recipe.exists()):
        if not path.exists():
            there = ", ".join(sorted(file.name for file in _RECIPES.glob("*.toml")))
            raise ConfigError(f"{plan_path} is neither a file nor a recipe of the package; the recipes are {there}")
        return path
    return recipe


def must_be_ours(folder: Path, plan_digest: str) -> None:
    """Refuse an output folder that holds the results of another plan."""
    from saint.errors import ConfigError

    results = folder / "results.json"
    if not results.exists():
        return
    there = _read_table(results)
    if there.get("plan_digest") != plan_digest:
        raise ConfigError(
            f"{folder} holds the results of another plan ({there.get('name', 'unnamed')}, "
            f"{there.get('plan_digest', '')[:12]}); give a new folder with --output-dir"
        )


def _read_table(file: Path) -> dict[str, Any]:
    """What an earlier run has written down."""
    from saint.errors import ConfigError

    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}); remove it, or give a new folder with --output-dir"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no record of a run; remove it, or give a new folder with --output-dir")
    return found


def prepare(
    sources: Sources[Any], folder: Path, progress: "Terminal", *, check: Callable[["FrozenBase", "Splits"], None]
) -> tuple[str, Path, bool]:
    """Text and base, each made unless an earlier run has made it.

    Args:
        check: Refuses a base and text that do not fit the plan; asked before a base is trained.

    Returns:
        The base's name, the text's folder, and whether one of them was there already from an earlier run.
    """
    from saint.cli.base import train_base
    from saint.data import load_tokenizer, open_splits, read_splits, save_splits
    from saint.models import freeze
    from saint.training import untrained

    data_folder, were_there = folder / "data", False
    if sources.data.prepared:
        data_folder = sources.data_root / sources.data.prepared
    elif data_folder.exists():
        _must_be_made_from(data_folder / "manifest.json", sources.data)
        were_there = True
    else:
        progress.note("reading the text")
        tokenizer = load_tokenizer(sources.base_name) if sources.base is None else None
        splits = read_splits(sources.data, root=sources.data_root, tokenizer=tokenizer, progress=progress)
        save_splits(splits, data_folder, plan=sources.data)
    if sources.base is None:
        return sources.base_name, data_folder, were_there
    base_folder = folder / "base"
    if base_folder.exists():
        _must_be_made_from(base_folder / "training.json", sources.base)
        were_there = True
    else:
        data = open_splits(data_folder)
        check(freeze(untrained(sources.base, data.tokenizer), tokenizer=data.tokenizer), data)
        progress.note("training the base")
        train_base(sources.base, data_folder, base_folder, progress)
    return str(base_folder), data_folder, were_there


def _must_be_made_from(file: Path, plan: Any) -> None:
    """Refuse text or a base in the output folder that was made from another plan."""
    from saint import records
    from saint.errors import ConfigError

    if records.digest(_read_table(file).get("plan")) != records.digest(plan):
        raise ConfigError(f"{file.parent} was made from another plan; give a new folder with --output-dir")
