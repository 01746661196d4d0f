"""Controlled, modular, auditable growth of Transformers.

The names below are the whole front door; everything else is reached through its room (`saint.gates`,
`saint.grafts`, ...). Names load on first use, so that reading a ledger does not import PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saint.candidates import propose as propose
    from saint.composition import Modes as Modes, compose as compose, restore as restore
    from saint.consolidation import merge as merge
    from saint.evaluation import Sealed as Sealed, evaluate as evaluate
    from saint.growth import grow as grow
    from saint.judging import Policy as Policy, judge as judge, set_policy as set_policy
    from saint.models import freeze as freeze
    from saint.records import Budget as Budget
    from saint.registry import Registry as Registry
    from saint.sensitivity import measure_sensitivity as measure_sensitivity
    from saint.training import train as train

_ROOMS = {
    "Budget": "records",
    "Modes": "composition",
    "Policy": "judging",
    "Registry": "registry",
    "Sealed": "evaluation",
    "compose": "composition",
    "evaluate": "evaluation",
    "freeze": "models",
    "grow": "growth",
    "judge": "judging",
    "measure_sensitivity": "sensitivity",
    "merge": "consolidation",
    "propose": "candidates",
    "restore": "composition",
    "set_policy": "judging",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'saint' has no attribute {name!r}")
    return getattr(import_module(f"saint.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_ROOMS)
