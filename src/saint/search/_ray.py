import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from typing_extensions import override

from saint.errors import RefusedResultError
from saint.search._actors import Labourer, Opening, Shelf
from saint.search._cluster import RayCluster, in_short
from saint.search._executor import Executor, Heard
from saint.search._parcel import Parcel
from saint.search._places import is_pending
from saint.search._processes import understood, unread
from saint.search._queue import Lease

_PATIENCE_S = 20.0  # for a worker to come to the end of a step
_BEAT_S = 1.0  # a worker is heard of at least so often
_PENDING_S = 2.0  # so often Ray is asked who has no process yet
_SMALL_BYTES = 1 << 20  # all that is said but for what came of a job
_THREADS = 3  # of an actor: listening, being given a job, stopping


@final
@dataclass(slots=True, eq=False)
class _Hand:
    name: str
    actor: Any
    said: Any
    """The reference of what it says next."""
    token: int = 0
    """Of the lease that it has; 0 for none yet."""
    at_most_bytes: int | None = _SMALL_BYTES
    has_spoken: bool = False


@final
class RayActors(Executor):
    """Workers that are actors of a Ray cluster: joined, or started on this machine for as long as they are needed.

    Ray places them, and starts machines for them where it may; a worker that died is not started again by it. Whoever
    may give work to the cluster may run code here, too: Ray's answers are pickles.
    """

    def __init__(
        self, cluster: RayCluster, opening: Opening, parcels: Sequence[Parcel] = (), *, copied: bool = False
    ) -> None:
        """Describe them.

        Args:
            cluster: Left when they are closed.
            opening: Called in each worker with the folders of the parcels on its machine.
            parcels: Files that workers need. They are read where a machine has them at the same path, else brought to
                each machine once, in pieces; never as tensors, which workers would share and could write to.
            copied: Whether they are brought to every machine, as where a disk that all see is slow.
        """
        self._cluster, self._ray = cluster, cluster.ray
        self._opening, self._shelf = opening, None
        self._parcels = [replace(parcel, folder="") for parcel in parcels] if copied else list(parcels)
        self._hands: dict[str, _Hand] = {}
        self._num_hired, self._asked = 0, 0.0
        share = cluster.share
        self._labourer = self._ray.remote(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            memory=share.memory_bytes or None,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_THREADS,
        )(Labourer)
        if parcels and (copied or not cluster.is_own):
            self._shelf = self._placed_here(Shelf).remote(list(parcels))

    @override
    def hire(self) -> str:
        self._num_hired += 1
        name = f"worker {self._num_hired}"
        actor = self._labourer.remote(self._opening, self._parcels, self._shelf)
        self._hands[name] = _Hand(name, actor, actor.listen.remote(_BEAT_S))
        return name

    @override
    def hand(self, lease: Lease) -> None:
        hand, most = self._hands[lease.worker], lease.job.at_most_bytes
        hand.token = lease.token
        hand.at_most_bytes = None if most is None else most + _SMALL_BYTES
        hand.actor.do.remote(lease.token, lease.job.body)  # of one that has died, what it says next tells

    @override
    def hear(self, patience_s: float) -> Iterator[Heard]:
        if not self._hands:
            time.sleep(patience_s)
            return
        yield from self._waiting()
        awaited = {hand.said: hand for hand in self._hands.values()}
        if self._ray.wait(list(awaited), timeout=patience_s, fetch_local=False)[0]:
            said, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0, fetch_local=False)
            for reference in said:
                yield from self._heard_from(awaited[reference])

    @override
    def dismiss(self, worker: str) -> None:
        self._ray.kill(self._hands.pop(worker).actor)

    @override
    def close(self) -> None:
        if not self._ray.is_initialized():
            return
        stopping = [hand.actor.stop.remote(_PATIENCE_S) for hand in self._hands.values() if hand.has_spoken]
        if stopping:
            self._ray.wait(stopping, num_returns=len(stopping), timeout=_PATIENCE_S, fetch_local=False)
        for worker in list(self._hands):
            self.dismiss(worker)
        if self._shelf is not None:
            self._ray.kill(self._shelf)
        self._cluster.leave()

    def _waiting(self) -> Iterator[Heard]:
        """Of those who have never spoken, whom Ray has not given a place yet, which may take as long as it takes."""
        if time.monotonic() - self._asked < _PENDING_S:
            return
        self._asked = time.monotonic()
        for hand in [hand for hand in self._hands.values() if not hand.has_spoken]:
            if hand.name in self._hands and is_pending(hand.actor):
                yield Heard(hand.name, "waiting")

    def _heard_from(self, hand: _Hand) -> Iterator[Heard]:
        """What a worker has said, unless it was dismissed meanwhile; the next is listened for."""
        if hand.name not in self._hands:
            return
        try:
            for message in self._read(hand):
                hand.has_spoken = True
                if hand.name in self._hands:
                    yield understood(hand.name, message)
        except self._ray.exceptions.RayError as error:
            yield Heard(hand.name, "gone", value=f"it died ({in_short(error)})")
        except (RefusedResultError, KeyError, ValueError, TypeError) as error:
            yield unread(hand.name, hand.token, f"what it said is no message ({error})")
        else:
            if hand.name in self._hands:
                hand.said = hand.actor.listen.remote(_BEAT_S)

    def _read(self, hand: _Hand) -> list[bytes]:
        """The messages that are there; their length is looked at before they are."""
        from ray.experimental import get_local_object_locations

        length = get_local_object_locations([hand.said])[hand.said].get("object_size") or 0
        if hand.at_most_bytes is not None and length > hand.at_most_bytes:
            raise ValueError(f"it takes {length:,} bytes, at most {hand.at_most_bytes:,} were expected")
        messages: list[bytes] = self._ray.get(hand.said)
        return messages

    def _placed_here(self, kind: type) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        return self._ray.remote(num_cpus=0, max_concurrency=_THREADS, scheduling_strategy=here)(kind)
