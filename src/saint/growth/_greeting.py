"""Who a worker has to be before it is given any work."""

from collections.abc import Mapping
from typing import Any

import torch

from saint.errors import UnfitWorkerError
from saint.growth._environment import environment
from saint.growth._orders import Brief
from saint.search import unpack


def greeted(worker: str, hello: bytes, brief: Brief, first: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a worker works with.

    Args:
        first: The same of the first worker that was one of ours; GPUs of another sort compute other grafts.

    Raises:
        UnfitWorkerError: It has another base or another version of anything that decides results; the message says
            which part.
    """
    header, _ = unpack(hello)
    if header.get("base") != brief.digest:
        raise UnfitWorkerError(
            f"{worker} has base {str(header.get('base'))[:12]}, expected {brief.digest[:12]}; give all workers the "
            "base that the coordinator has"
        )
    ours, theirs = environment(torch.device("cpu")), header.get("environment")
    if not isinstance(theirs, dict):
        raise UnfitWorkerError(f"{worker} does not say what it works with; install one version of saint-g everywhere")
    said = theirs.get("versions")
    versions = said if isinstance(said, dict) else {}
    for package, version in ours["versions"].items():
        if versions.get(package) != version:
            raise UnfitWorkerError(
                f"{worker} has {package} {str(versions.get(package))[:40]}, and the coordinator {version}; install one "
                "version everywhere"
            )
    if theirs.get("code") != ours["code"]:
        raise UnfitWorkerError(
            f"{worker} has other code of saint-g {versions.get('saint-g')} than the coordinator; install the same "
            "everywhere"
        )
    machine = _machine_of(theirs.get("machine"), ours["machine"])
    _must_compute_alike(worker, machine, brief, first)
    return {**ours, "machine": machine}


def _must_compute_alike(worker: str, machine: Mapping[str, Any], brief: Brief, first: Mapping[str, Any] | None) -> None:
    """What a candidate comes to must not depend on which worker trains it."""
    if machine["device"] != (expected := "cuda" if brief.gpus else "cpu"):
        raise UnfitWorkerError(
            f"{worker} computes on {machine['device']}, expected {expected}; install one version of saint-g and "
            "PyTorch everywhere"
        )
    theirs, ours = machine["accelerator"], (first or {"machine": machine})["machine"]["accelerator"]
    if theirs != ours:
        raise UnfitWorkerError(
            f"{worker} computes on {theirs}, and the first worker on {ours}, so that what is grown would depend on who "
            "trains it; have workers on GPUs of one sort"
        )


def _machine_of(told: Any, ours: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker says of its machine, as far as it is of the form that ours is."""
    told = told if isinstance(told, dict) else {}
    return {
        name: told[name] if type(told.get(name)) is type(value) and len(str(told[name])) < 100 else None
        for name, value in ours.items()
    }
