"""Base and text of a plan that compares or studies, made in its output folder unless they are there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from saint.cli._terminal import Terminal
    from saint.data import DataPlan, Splits
    from saint.models import FrozenBase
    from saint.training import BasePlan

_RECIPES = Path(__file__).parent.parent / "recipes"


class _NamesText(Protocol):
    """What such a plan says about its text."""

    @property
    def data(self) -> "DataPlan | None": ...

    @property
    def data_plan(self) -> str: ...


class _NamesMaterials(_NamesText, Protocol):
    """And about its base."""

    @property
    def base(self) -> str: ...


P = TypeVar("P", bound=_NamesMaterials)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources(Generic[P]):
    """A plan with the plans that it names."""

    plan: P
    data: "DataPlan"
    data_root: Path
    base: "BasePlan | None"
    """None for a base that is there already."""
    base_root: Path
    """What the paths in that plan are relative to."""
    base_name: str

    @classmethod
    def of(cls, plan: P, root: Path) -> "Sources[P]":
        from saint import config
        from saint.training import BasePlan

        base_path = root / plan.base
        is_plan = base_path.suffix == ".toml"
        data, data_root = data_of(plan, root)
        return cls(
            plan=plan,
            data=data,
            data_root=data_root,
            base=config.load(base_path, BasePlan) if is_plan else None,
            base_root=base_path.parent,
            base_name=str(base_path) if base_path.is_dir() else plan.base,
        )

    @property
    def digest(self) -> str:
        """Of everything that the plans say."""
        from saint import records

        return records.digest({"plan": self.plan, "data": self.data, "base": self.base})


def data_of(plan: _NamesText, root: Path) -> "tuple[DataPlan, Path]":
    """The plan of its text, and what the paths in that are relative to."""
    from saint import config
    from saint.data import DataPlan

    path = root / plan.data_plan
    return (plan.data, root) if plan.data else (config.load(path, DataPlan), path.parent)


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
    there = read_record(results)
    if there.get("plan_digest") != plan_digest:
        raise ConfigError(
            f"{folder} holds the results of another plan ({there.get('name', 'unnamed')}, "
            f"{there.get('plan_digest', '')[:12]}); give a new folder with --output-dir"
        )


def read_record(file: Path) -> dict[str, Any]:
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
    from saint.data import load_tokenizer, open_splits
    from saint.models import freeze
    from saint.training import untrained

    tokenizer_of = partial(load_tokenizer, sources.base_name) if sources.base is None else None
    data_folder, were_there = prepare_text(sources.data, sources.data_root, folder, progress, tokenizer_of=tokenizer_of)
    if sources.base is None:
        return sources.base_name, data_folder, were_there
    base_folder = folder / "base"
    if base_folder.exists():
        _must_be_made_from(base_folder / "training.json", sources.base)
        were_there = True
    else:
        data = open_splits(data_folder)
        check(freeze(untrained(sources.base, data.tokenizer, root=sources.base_root), tokenizer=data.tokenizer), data)
        progress.note("training the base")
        train_base(sources.base, data_folder, base_folder, progress, root=sources.base_root)
    return str(base_folder), data_folder, were_there


def prepare_text(
    plan: "DataPlan",
    root: Path,
    folder: Path,
    progress: "Terminal",
    *,
    tokenizer_of: Callable[[], Any] | None = None,
) -> tuple[Path, bool]:
    """Text, made unless an earlier run has made it.

    Args:
        root: What the plan's relative paths are relative to.
        tokenizer_of: Reads the base's tokenizer; without it one is trained.

    Returns:
        The text's folder, and whether it was there from an earlier run.
    """
    from saint.data import read_splits, save_splits

    if plan.prepared:
        return root / plan.prepared, False
    data_folder = folder / "data"
    if data_folder.exists():
        _must_be_made_from(data_folder / "manifest.json", plan)
        return data_folder, True
    progress.note("reading the text")
    splits = read_splits(plan, root=root, tokenizer=tokenizer_of() if tokenizer_of else None, progress=progress)
    save_splits(splits, data_folder, plan=plan)
    return data_folder, False


def _must_be_made_from(file: Path, plan: Any) -> None:
    """Refuse text or a base in the output folder that was made from another plan."""
    from saint import records
    from saint.errors import ConfigError

    if records.digest(read_record(file).get("plan")) != records.digest(plan):
        raise ConfigError(f"{file.parent} was made from another plan; give a new folder with --output-dir")
