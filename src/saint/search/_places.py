"""Which workers a Ray cluster has places for, on the machines that it has and on those that it may start."""

import json
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from saint.search._share import Share

_UNMANAGED = "node_"  # what Ray calls the sorts of machines that no autoscaler started


def places_on(machines: Sequence[Mapping[str, float]], share: Share) -> int:
    """How many workers fit, whatever else the machines do now.

    Args:
        machines: What each has, as Ray calls it: `CPU`, `GPU`, `memory` in bytes.
    """
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": float(share.memory_bytes)}
    return sum(
        min(int(machine.get(what, 0.0) / amount + 1e-9) for what, amount in wanted.items() if amount)
        for machine in machines
    )


def most_places(share: Share) -> float:
    """How many workers fit on all machines that the autoscaler of the joined cluster may have at once.

    0 without an autoscaler, infinite where it does not say how many it may start.
    """
    from ray._private.state import state

    if (config := state.get_cluster_config()) is not None and config.node_group_configs:
        return _places_of(config, share)
    return inf if _is_scaled() else 0


def _places_of(config: Any, share: Share) -> float:
    """Of a configuration that was reported to Ray; -1 of anything there is no limit."""
    total = 0.0
    for group in config.node_group_configs:
        machine = {what: inf if amount == -1 else float(amount) for what, amount in group.resources.items()}
        each = places_on([{what: min(amount, 1e15) for what, amount in machine.items()}], share)
        if each:
            total += inf if group.max_count == -1 else each * group.max_count
    limits = {"CPU": share.cpus, "GPU": share.gpus, "memory": float(share.memory_bytes)}
    for what, amount in limits.items():
        if amount and what in config.max_resources:
            total = min(total, config.max_resources[what] // amount)
    return total


def _is_scaled() -> bool:
    """Whether an autoscaler says that it has machines; one that only looks on knows sorts of its own making."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    told = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report = json.loads(told).get("autoscaler_report") if told else None
    sorts = [*report["active_nodes"], *report["pending_launches"]] if report else []
    return any(not sort.startswith(_UNMANAGED) for sort in sorts)


def is_pending(actor: Any) -> bool:
    """Whether an actor has no process yet, for want of a machine or of time."""
    from ray._private.state import actors

    found = actors(actor_id=actor._actor_id.hex())
    return found.get("State") in ("DEPENDENCIES_UNREADY", "PENDING_CREATION")
